"""What the step `misbehave` of the sample pipelines can do."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from vigil.errors import Bug, ContractError, Unavailable


def do(how: str, where: str) -> str:
    print(f"about to {how}")
    return globals()[f"_{how}"](where)


def _contract(where: str) -> str:
    raise ContractError("column amount is missing: name it in the mapping")


def _unavailable(where: str) -> str:
    raise Unavailable("the store gs://nowhere does not answer")


def _bug(where: str) -> str:
    raise Bug("one and one are three")


def _value(where: str) -> str:
    raise ValueError("17 is no date\nand it has a second line")


def _killed(where: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def _exit(where: str) -> str:
    sys.exit(7)


def _third_time(where: str) -> str:
    """Fail twice, and leave something in the folder of the outputs each time."""
    log = Path(where)
    attempts = len(log.read_text().splitlines()) if log.exists() else 0
    log.open("a").write("attempt\n")
    if attempts < 2:
        raise Unavailable("not yet")
    return "at last"


def _sleep(where: str) -> str:
    """Say by which process this is done, and one that it started; then take very long."""
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    path = Path(where)
    path.with_suffix(".part").write_text(f"{os.getpid()} {helper.pid}")
    path.with_suffix(".part").rename(path)
    time.sleep(600)
    return ""


def _until_seen(where: str) -> str:
    """Be at work until somebody leaves a file, so that no reader of states can be too slow for it."""
    for _ in range(6000):
        if Path(where).exists():
            return "seen"
        time.sleep(0.02)
    raise Bug("nobody saw this step at work")


def _stubborn(where: str) -> str:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return _sleep(where)


def _server(where: str) -> str:
    """Leave a process running that keeps standard output open, as a server would."""
    server = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    Path(where).write_text(str(server.pid))
    return "served"


def _where(where: str) -> str:
    """Say which interpreter and which folders a step sees."""
    import tempfile

    Path(where).write_text(f"{sys.executable}\n{tempfile.gettempdir()}\n{Path.cwd()}")
    return where


def _not_finite(where: str) -> str:
    """End well, and let kfp fail at the outputs: what the step writes is no JSON that it accepts."""
    return "\ud800"
