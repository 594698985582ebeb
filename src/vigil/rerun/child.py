"""The process of a rerun on this machine: `python -m vigil.rerun.child FOLDER`. It begins its run once, ever."""

import fcntl
import json
import sys
import time
from pathlib import Path
from typing import TextIO

from vigil.errors import VigilError
from vigil.logs import configure_logging
from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.local import LocalRequest, run_local
from vigil.orchestration.runs import LocalRun
from vigil.rerun.here import LOCK, REQUEST, STARTED

_TRIES, _PAUSE = 20, 0.1


def main(folder: Path) -> int:
    """Run what the folder asks for unless that has been begun before, and return the exit status."""
    with (folder / LOCK).open("a") as lock:
        if not _locked(lock) or (folder / STARTED).exists():
            return 0
        request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
        wanted = LocalRequest(load_pipeline(Path(request["pipeline"])), request["arguments"], Path(request["runs"]))
        run_local(wanted, watch=_Beginning(folder))
    return 0


def _locked(lock: TextIO) -> bool:
    """Return whether this process has the lock; whoever only looks whether it is held lets go of it at once."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)
        else:
            return True
    return False


class _Beginning:
    """Notes where the run lies when it is first seen."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STARTED

    def __call__(self, run: LocalRun) -> None:
        if not self._path.exists():
            draft = self._path.with_suffix(".tmp")
            draft.write_text(json.dumps({"folder": str(run.folder)}), encoding="utf-8")
            draft.replace(self._path)


if __name__ == "__main__":
    configure_logging("INFO")
    try:
        sys.exit(main(Path(sys.argv[1])))
    except VigilError as error:
        sys.exit(str(error))
