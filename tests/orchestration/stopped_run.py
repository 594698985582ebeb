"""A process that runs one sample pipeline: `python -m tests.orchestration.stopped_run PIPELINE RUNS HOW WHERE`."""

import signal
import sys
from pathlib import Path

from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.local import LocalRequest, run_local

if __name__ == "__main__":
    # A shell in the background lets its children ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    pipeline, runs, how, where = sys.argv[1:]
    try:
        run_local(LocalRequest(load_pipeline(Path(pipeline)), {"how": how, "where": where}, Path(runs)))
    except KeyboardInterrupt:
        sys.exit(130)
