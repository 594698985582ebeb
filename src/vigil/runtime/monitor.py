"""The detector service as a child process of the runtime: kept running, told of every answer, never in the way."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from vigil.clock import Clock, system_clock
from vigil.runtime.child import Child, Plan, RestartPolicy
from vigil.runtime.commands import HOST
from vigil.runtime.files import RuntimeFolder
from vigil.runtime.logfile import LogFile
from vigil.runtime.ports import address, free_ports
from vigil.runtime.splitter.payloads import PayloadLogger
from vigil.runtime.status import MonitorStatus

NAME = "monitor"
"""In the list of processes, of `vigil logs`, and of the folder in VIGIL_HOME."""

_FOR_EVER = 1 << 30


@dataclass(frozen=True)
class Watching:
    """How the service is run."""

    folder: RuntimeFolder
    environment: Mapping[str, str]
    policy: RestartPolicy
    source: str
    """The address that clients use: the source of the events."""
    config: str | None = None
    clock: Clock = system_clock


def monitor_command(port: int, config: str | None) -> list[str]:
    """Return the command that starts the service; it leaves the processor to the servers where that is short."""
    command = [sys.executable, "-m", "vigil.monitoring.service", "--host", HOST, "--port", str(port), "--nice", "5"]
    return [*command, "--config", config] if config else command


class Monitor:
    """The service's process and the logger that feeds it."""

    def __init__(self, watching: Watching, on_change: Callable[[], None]) -> None:
        (port,) = free_ports(HOST, 1)
        self.url = f"http://{address(HOST, port)}"
        self.payloads = PayloadLogger(HOST, port, watching.source, watching.clock)
        self._log = LogFile(watching.folder.logs(NAME) / f"{NAME}.log")
        plan = Plan(monitor_command(port, watching.config), dict(watching.environment), self._log)
        # Serving goes on without it, so it is never given up, unless it says that its configuration is wrong.
        policy = replace(watching.policy, crashes=_FOR_EVER, crashes_before_ready=_FOR_EVER)
        self._child = Child(plan, policy, on_change)

    def start(self) -> None:
        """Start the process and keep it running."""
        self._child.start()

    async def stop(self) -> None:
        """Let it work off its queue and write its state, and end it."""
        await self._child.stop()
        self._log.close()

    @property
    def pid(self) -> int | None:
        """The living process."""
        return self._child.pid

    def status(self) -> MonitorStatus:
        """Return how it stands."""
        return MonitorStatus(
            url=self.url,
            pid=self._child.pid,
            restarts=self._child.restarts,
            payloads=dict(sorted(self.payloads.counts.items())),
            why=self._child.failure,
        )
