"""The child process of a local run, `python -m vigil.orchestration.child RUN_FOLDER`: kfp.local lives and dies in here.

kfp takes over logging and print and keeps its configuration in a global. Standard input is a pipe whose other end the
parent holds: when it closes, the parent is dead, and the whole process group ends.
"""

import json
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

ARGUMENTS = "arguments.json"
PIPELINE = "pipeline.yaml"
RESULT = "result.json"
ARTIFACTS = "artifacts"


def main(folder: Path) -> int:
    """Run the pipeline of the folder, write its result there, and return the exit status."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # kfp replaces "python3" by sys.executable all over a command, in paths and in values of parameters too.
    # The word itself is harmless: the parent has put this interpreter under that name first on the PATH.
    sys.executable = "python3"
    arguments = json.loads((folder / ARGUMENTS).read_text(encoding="utf-8"))
    try:
        _run(folder, arguments)
    except Exception as error:  # noqa: BLE001 - whatever kfp raises is the result of this process
        result = {"error": f"{type(error).__name__}: {error}"}
    else:
        result = {}
    (folder / RESULT).write_text(json.dumps(result), encoding="utf-8")
    return 1 if result else 0


def _end_with_parent() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


def _run(folder: Path, arguments: dict[str, Any]) -> None:
    # Limits of CPU and memory have no effect here, and kfp warns of each.
    warnings.filterwarnings("ignore", module="kfp")
    from kfp import components, local

    pipeline = components.load_component_from_file(str(folder / PIPELINE))
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / ARTIFACTS), raise_on_error=True)
    pipeline(**arguments)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
