"""One child process: dies with the supervisor, comes back after a crash, is given up after too many."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass

from vigil.runtime.logfile import LogFile, tail

_PR_SET_PDEATHSIG = 1
_CONFIGURATION = 78
"""Exit status of a server that refuses what it was given: starting it again would change nothing."""

SHOWN_LINES = 12
"""Last lines of a log that an error shows."""


@dataclass(frozen=True)
class RestartPolicy:
    """When a crashed process is started again, and when a revision is given up."""

    first_seconds: float = 0.5
    factor: float = 2.0
    max_seconds: float = 30.0
    crashes: int = 6
    """In a row, without `stable_seconds` between them, after which a revision is given up."""
    crashes_before_ready: int = 2
    """The same for a revision that was never ready: what fails at the start fails again."""
    stable_seconds: float = 60.0
    start_seconds: float = 180.0
    """In which a revision must become ready."""
    stop_seconds: float = 35.0
    """From SIGTERM to SIGKILL; KServe drains for 30 seconds."""

    def pause(self, crashes: int) -> float:
        """Return the seconds before the next start after this many crashes in a row."""
        return float(min(self.first_seconds * self.factor ** max(crashes - 1, 0), self.max_seconds))


@dataclass
class Plan:
    """What to run."""

    command: list[str]
    environment: dict[str, str]
    log: LogFile


class Child:
    """One process that is kept running."""

    def __init__(self, plan: Plan, policy: RestartPolicy, on_change: Callable[[], None]) -> None:
        self.pid: int | None = None
        self.crashes = 0
        self.restarts = 0
        self.failure: str | None = None
        self.waiting = False
        self.was_ready = False
        self._plan, self._policy, self._on_change = plan, policy, on_change
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the process and keep it running."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL if that takes too long."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while self.failure is None:
            started = loop.time()
            try:
                code = await self._run()
            except OSError as error:
                self.failure = f"the {self._plan.log.path.stem} cannot be started: {error}"
                self._on_change()
                return
            if loop.time() - started > self._policy.stable_seconds:
                self.crashes = 0
            self.crashes += 1
            limit = self._policy.crashes if self.was_ready else self._policy.crashes_before_ready
            if self.crashes >= limit or code == _CONFIGURATION:
                self.failure = self._describe(code)
                self._on_change()
                return
            self.waiting = True
            self._on_change()
            await asyncio.sleep(self._policy.pause(self.crashes))
            self.waiting = False
            self.restarts += 1

    async def _run(self) -> int:
        """Run the process once and return its exit status; end it if this is cancelled."""
        process = await asyncio.create_subprocess_exec(
            *self._plan.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._plan.environment,
            start_new_session=True,
            preexec_fn=_die_with_parent(os.getpid()),
        )
        self.pid = process.pid
        self._on_change()
        copying = asyncio.ensure_future(self._copy(process))
        try:
            code = await process.wait()
        except asyncio.CancelledError:
            await self._end(process)
            raise
        finally:
            self.pid = None
            await asyncio.wait([copying], timeout=1)
            copying.cancel()
        return code

    async def _copy(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        while content := await process.stdout.read(1 << 16):
            self._plan.log.write(content)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._policy.stop_seconds):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    def _describe(self, code: int) -> str:
        end = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        lines = "\n".join(f"    {line}" for line in tail(self._plan.log.path, SHOWN_LINES)) or "    (it said nothing)"
        times = f"{self.crashes} times in a row" if self.crashes > 1 else "at its start"
        return f"the {self._plan.log.path.stem} {end} {times}; its last lines:\n{lines}"


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what a child does first on Linux: ask to be killed when the supervisor is gone, however that ends."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
