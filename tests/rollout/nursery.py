"""A process without threads whose forks start at once: others may have imported JAX, and a fork of theirs may hang."""

import os
import pickle
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any, Self


class Nursery:
    """Starts processes, and waits for them."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.rollout.nursery"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)

    def start(self, work: Callable[..., None], *arguments: Any) -> int:
        """Start a process that does this work, a function of a module, and return its id."""
        return self._ask(work, arguments)

    def wait(self, pid: int) -> int:
        """Return the status of a process at its end, as `os.waitpid` gives it."""
        return self._ask(None, (pid,))

    def _ask(self, work: Callable[..., None] | None, arguments: tuple[Any, ...]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((work, arguments), self._process.stdin)
        self._process.stdin.flush()
        return int(pickle.load(self._process.stdout))


def main() -> None:
    """Answer until nobody asks any more."""
    while True:
        try:
            work, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer = os.waitpid(arguments[0], 0)[1] if work is None else _fork(work, arguments)
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def _fork(work: Callable[..., None], arguments: tuple[Any, ...]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.dup2(2, 1)  # what the work prints is no answer
        work(*arguments)
        status = 0
    except Exception:  # noqa: BLE001 - whatever it was, the status says that the work failed
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
