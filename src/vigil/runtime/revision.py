"""One revision: predictor and transformer as child processes, and whether they can serve."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from vigil.clock import Clock, system_clock
from vigil.runtime.child import SHOWN_LINES, Child, Plan, RestartPolicy
from vigil.runtime.commands import HOST, CommandBuilder, Launch, Ports, Role, server_command
from vigil.runtime.files import RuntimeFolder
from vigil.runtime.logfile import LogFile, tail
from vigil.runtime.ports import free_ports
from vigil.runtime.splitter.http import Channel, Request
from vigil.runtime.splitter.routes import Target
from vigil.runtime.splitter.upstream import Broken, NotSent, Upstream
from vigil.runtime.status import ProcessStatus, RevisionSpec, State

_PROBE_SECONDS = 2.0
_WHILE_STARTING, _WHILE_READY = 0.1, 1.0
"""Seconds between two probes."""

_FAILED_PROBES = 3
"""In a row, after which a ready revision gets no more traffic."""


@dataclass(frozen=True)
class Making:
    """How revisions are made; the same for all of them."""

    folder: RuntimeFolder
    environment: dict[str, str]
    policy: RestartPolicy
    commands: CommandBuilder = server_command
    clock: Clock = system_clock
    vectors: bool = False
    """Whether the answers carry the vectors."""


class Revision:
    """A running revision. `on_ready` is called each time it becomes ready, `on_change` when its processes change."""

    def __init__(
        self, spec: RevisionSpec, making: Making, on_ready: Callable[[str], None], on_change: Callable[[], None]
    ) -> None:
        numbers = free_ports(HOST, 4)
        self.launch = Launch(
            revision=spec.name,
            model=spec.model,
            version=spec.version,
            uri=spec.uri,
            bundle=spec.bundle,
            predictor=Ports(numbers[0], numbers[1]),
            transformer=Ports(numbers[2], numbers[3]),
            feature_state=spec.feature_state,
            vectors=making.vectors,
        )
        upstream = Upstream(HOST, self.launch.transformer.http)
        self.target = Target(spec.name, spec.model, upstream, self.launch.transformer.grpc)
        self.draining = False
        self.ready_since: datetime | None = None
        self.why: str | None = None
        self._making, self._on_ready, self._on_change = making, on_ready, on_change
        self._look = asyncio.Event()
        self.target.on_failure = self._look.set
        self._logs = {role: LogFile(making.folder.logs(spec.name) / f"{role}.log") for role in Role}
        self._children = {role: self._child(role) for role in Role}
        self._watcher: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start both processes and watch them."""
        for child in self._children.values():
            child.start()
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        """End both processes, the transformer first: it needs the predictor for what it still has to answer."""
        self.target.ready = False
        if self._watcher is not None:
            self._watcher.cancel()
        await self._stop_children()
        self.target.upstream.close()
        for log in self._logs.values():
            log.close()

    @property
    def state(self) -> State:
        """Where it is in its life."""
        if self.why is not None:
            return State.FAILED
        if self.draining:
            return State.DRAINING
        if self.target.ready:
            return State.READY
        if any(child.waiting for child in self._children.values()):
            return State.RESTARTING
        return State.STARTING if self.ready_since is None else State.UNREADY

    @property
    def restarts(self) -> int:
        """How often a process was started again."""
        return sum(child.restarts for child in self._children.values())

    def pids(self) -> dict[str, int]:
        """Return the living processes by role."""
        return {role: child.pid for role, child in self._children.items() if child.pid is not None}

    def processes(self) -> list[ProcessStatus]:
        """Return both processes."""
        ports = {Role.PREDICTOR: self.launch.predictor, Role.TRANSFORMER: self.launch.transformer}
        return [
            ProcessStatus(
                role=role,
                pid=child.pid,
                http_port=ports[role].http,
                grpc_port=ports[role].grpc,
                restarts=child.restarts,
            )
            for role, child in self._children.items()
        ]

    def _child(self, role: Role) -> Child:
        command = self._making.commands(role, self.launch)
        plan = Plan(command, self._making.environment, self._logs[role])
        return Child(plan, self._making.policy, self._changed)

    def _changed(self) -> None:
        if len(self.pids()) < len(self._children):
            self.target.ready = False
        self._look.set()
        self._on_change()

    async def _watch(self) -> None:
        """Probe until the revision is stopped or given up."""
        deadline = asyncio.get_running_loop().time() + self._making.policy.start_seconds
        failed = 0
        while self.why is None:
            self._look.clear()
            answers = await self._probe()
            failed = 0 if answers else failed + 1
            if answers and not self.target.ready:
                self._become_ready()
            elif failed >= _FAILED_PROBES or len(self.pids()) < len(self._children):
                self.target.ready = False
            await self._judge(deadline)
            await self._pause()

    async def _pause(self) -> None:
        seconds = _WHILE_READY if self.target.ready else _WHILE_STARTING
        try:
            async with asyncio.timeout(seconds):
                await self._look.wait()
        except TimeoutError:
            return
        await asyncio.sleep(0.02)  # a crash is seen a moment after the connection broke

    def _become_ready(self) -> None:
        self.target.ready = True
        self.ready_since = self._making.clock()
        for child in self._children.values():
            child.was_ready = True
        self._on_ready(self.target.name)

    async def _judge(self, deadline: float) -> None:
        """Give the revision up where there is no hope."""
        failures = [child.failure for child in self._children.values() if child.failure]
        late = self.ready_since is None and asyncio.get_running_loop().time() > deadline
        if not failures and not late:
            return
        self.target.ready = False
        await self._stop_children()
        self.why = "\n".join(failures) or self._describe_lateness()
        self._on_change()

    async def _stop_children(self) -> None:
        for role in (Role.TRANSFORMER, Role.PREDICTOR):
            await self._children[role].stop()

    def _describe_lateness(self) -> str:
        parts = [f"it was not ready within {self._making.policy.start_seconds:g} seconds"]
        for role, log in self._logs.items():
            lines = "\n".join(f"    {line}" for line in tail(log.path, SHOWN_LINES // 2)) or "    (nothing)"
            parts.append(f"the last lines of the {role}:\n{lines}")
        return "; ".join(parts)

    async def _probe(self) -> bool:
        """Return whether the transformer says that it is ready, which includes the predictor."""
        if len(self.pids()) < len(self._children):
            return False
        request = Request(Channel(_NO_SOCKET), b"GET", f"/v2/models/{self.launch.model}/ready".encode())
        request.headers, request.body = [(b"host", HOST.encode())], b""
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                connection, answer = await self.target.upstream.exchange(request, [])
        except (TimeoutError, NotSent, Broken):
            return False
        self.target.upstream.release(connection)
        return answer.status == 200


_NO_SOCKET = asyncio.Transport()
"""A probe has no body that could fill up."""
