"""Runs one step of a local run, `python -m vigil.orchestration.step FOLDER KEY COMMAND...`, and notes how it ended.

What the step writes goes to a file of its own: a process that it leaves running, such as a server, would otherwise keep
kfp waiting for the end of a pipe.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from vigil.clock import system_clock

EVENTS = "events.jsonl"
LOGS = "logs"


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status; a signal becomes 128 and its number, as in a shell."""
    folder, key, *command = Path(arguments[0]), *arguments[1:]
    output = _output_file(command)
    _forget_last_attempt(folder, output)
    event = {"step": key, "output": str(output) if output else None}
    _note(folder, {**event, "event": "started"})
    with (folder / LOGS / f"{key}.log").open("ab") as log:
        code = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
    _note(folder, {**event, "event": "ended", "code": code})
    return code if code >= 0 else 128 - code


def _output_file(command: Sequence[str]) -> Path | None:
    """Return where kfp's executor is to write the outputs."""
    if "--executor_input" not in command:
        return None
    given = json.loads(command[command.index("--executor_input") + 1])
    path = given.get("outputs", {}).get("outputFile")
    return Path(path) if path else None


def _forget_last_attempt(folder: Path, output: Path | None) -> None:
    """Remove what a failed attempt left: kfp gives all attempts of a step the same folder."""
    if output is not None and folder in output.parents:
        shutil.rmtree(output.parent, ignore_errors=True)


def _note(folder: Path, event: dict[str, object]) -> None:
    line = json.dumps({**event, "at": system_clock().isoformat()}) + "\n"
    descriptor = os.open(folder / EVENTS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        # One write, so that steps of a loop, which run side by side, never mix their lines.
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
