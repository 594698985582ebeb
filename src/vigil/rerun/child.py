"""The process of a rerun on this machine: `python -m vigil.rerun.child FOLDER`. It begins its run once, ever."""

import json
import sys
from pathlib import Path

from vigil.errors import VigilError
from vigil.files import alone, replace_file
from vigil.logs import configure_logging
from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.local import LocalRequest, run_local
from vigil.orchestration.runs import LocalRun
from vigil.rerun.here import LOCK, REQUEST, STARTED

_TRIES = 40
"""Whoever only looks whether the lock is held lets go of it at once."""


def main(folder: Path) -> int:
    """Run what the folder asks for unless that has been begun before, and return the exit status."""
    with alone(folder / LOCK, attempts=_TRIES) as mine:
        if not mine or (folder / STARTED).exists():
            return 0
        request = json.loads((folder / REQUEST).read_text(encoding="utf-8"))
        wanted = LocalRequest(load_pipeline(Path(request["pipeline"])), request["arguments"], Path(request["runs"]))
        run_local(wanted, watch=_Beginning(folder))
    return 0


class _Beginning:
    """Notes where the run lies when it is first seen."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / STARTED

    def __call__(self, run: LocalRun) -> None:
        if not self._path.exists():
            replace_file(self._path, json.dumps({"folder": str(run.folder)}).encode(), durable=False)


if __name__ == "__main__":
    configure_logging("INFO")
    try:
        sys.exit(main(Path(sys.argv[1])))
    except VigilError as error:
        sys.exit(str(error))
