"""python -m vigil.serving.prestop [SECONDS] [PID]: what a container's preStop hook may run.

Makes the server (process 1, or PID) unready and waits, so that no request is on its way to it when SIGTERM comes. The
servers do the same by themselves after SIGTERM; the hook is for those who want the order of things in the manifest.
"""

import os
import signal
import sys
import time


def main(seconds: float = 5.0, process: int = 1) -> None:
    """Send SIGUSR1 to the process and return after `seconds`."""
    os.kill(process, signal.SIGUSR1)
    time.sleep(seconds)


if __name__ == "__main__":
    main(*(kind(value) for kind, value in zip((float, int), sys.argv[1:], strict=False)))
