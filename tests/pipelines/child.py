"""Runs a compiled pipeline with kfp.local: kfp takes over logging and print, so it does in a process of its own.

    python -m tests.pipelines.child PIPELINE.yaml ARGUMENTS.json ROOT
"""

import json
import sys
from pathlib import Path

from kfp import components, local


def main(pipeline: str, arguments: str, root: str) -> None:
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True)
    components.load_component_from_file(pipeline)(**json.loads(Path(arguments).read_text()))


if __name__ == "__main__":
    main(*sys.argv[1:])
