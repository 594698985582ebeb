"""The supervisor: keeps the wanted revisions running and the traffic where it is wanted."""

import asyncio
import logging
import shutil
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError
from vigil.runtime.child import RestartPolicy
from vigil.runtime.commands import CommandBuilder, server_command, server_environment
from vigil.runtime.files import RuntimeFolder
from vigil.runtime.monitor import NAME as MONITOR
from vigil.runtime.monitor import Monitor, Watching
from vigil.runtime.ports import address
from vigil.runtime.reporting import revision_status
from vigil.runtime.revision import Making, Revision
from vigil.runtime.splitter.buckets import check_percents, from_ranges, move, percents_of, to_ranges
from vigil.runtime.splitter.counts import Row, exposition
from vigil.runtime.splitter.routes import Routes
from vigil.runtime.splitter.splitter import Splitter
from vigil.runtime.status import DeployRequest, Desired, RevisionSpec, RevisionStatus, State
from vigil.settings import Settings

_log = logging.getLogger(__name__)

KEPT_STOPPED = 2
"""Stopped revisions of a model that stay on the list, for a rollback."""


@dataclass(frozen=True)
class RuntimeConfig:
    """How a runtime is run."""

    settings: Settings = field(default_factory=Settings)
    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int | None = 8081
    grace_seconds: float = 30.0
    """How long a revision without traffic stays warm before it is stopped."""
    drain_seconds: float = 30.0
    """How long requests that are on the way may take when a revision, or all, are stopped."""
    policy: RestartPolicy = field(default_factory=RestartPolicy)
    monitor: bool = True
    """Whether the detector service runs beside the revisions."""
    monitor_config: str | None = None
    """Its configuration file."""


def _nothing() -> None:
    return


class Supervisor:
    """All revisions and their traffic. Every change is in the state file before it is in force."""

    def __init__(
        self, config: RuntimeConfig, *, commands: CommandBuilder = server_command, clock: Clock = system_clock
    ) -> None:
        self.config = config
        self.folder = RuntimeFolder(config.settings.home)
        self.routes = Routes()
        self.on_processes: Callable[[], None] = _nothing
        self.on_drain: list[Callable[[float], Awaitable[None]]] = []
        """Other endpoints that are to be drained with the splitter."""
        self._specs: dict[str, RevisionSpec] = {}
        self._running: dict[str, Revision] = {}
        environment = server_environment(config.settings)
        self._making = Making(self.folder, environment, config.policy, commands, clock, config.monitor)
        source = f"http://{address(config.host, config.port)}/"
        watching = Watching(self.folder, environment, config.policy, source, config.monitor_config, clock)
        self.monitor = Monitor(watching, self._processes_changed) if config.monitor else None
        payloads = self.monitor.payloads if self.monitor else None
        self.splitter = Splitter(self.routes, self._metrics, payloads=payloads)
        self._clock = clock
        self._jobs: set[asyncio.Task[None]] = set()

    def recover(self) -> None:
        """Start what the last supervisor served."""
        desired = self.folder.load()
        self._specs = {spec.name: spec for spec in desired.revisions}
        for model, ranges in desired.tables.items():
            self.routes.set_table(model, from_ranges(ranges))
        for spec in self._specs.values():
            if not spec.stopped:
                self._start(spec)
        if self.monitor is not None:
            self.monitor.start()

    def deploy(self, request: DeployRequest) -> str:
        """Start a revision, or take up the one that there is, and return its name; traffic follows once it is ready."""
        spec = self._specs.get(request.revision)
        if request.revision == MONITOR:
            raise ContractError(f"a revision cannot be called {MONITOR}, as the detector service is: give another name")
        if spec is not None and spec.bundle != request.bundle:
            raise ContractError(
                f"revision {spec.name} serves another bundle, {spec.bundle}: remove it, or deploy under another name"
            )
        awaits = None if request.shadow else request.traffic
        if spec is None:
            spec = RevisionSpec(
                name=request.revision,
                model=request.model,
                version=request.version,
                bundle=request.bundle,
                uri=request.uri,
                feature_state=request.feature_state,
                created=self._clock(),
            )
        spec = spec.model_copy(update={"shadow": request.shadow, "awaits": awaits, "stopped": False})
        self._keep(spec)
        self._launch(spec)
        return spec.name

    def set_traffic(self, percents: Mapping[str, float]) -> None:
        """Put these weights of one model's revisions in force, all at once."""
        check_percents(percents)
        specs = [self._spec(name) for name in percents]
        if len(models := {spec.model for spec in specs}) > 1:
            raise ContractError(f"traffic is split within one model, not over {', '.join(sorted(models))}")
        model = specs[0].model
        before = percents_of(self.routes.table(model))
        for name, percent in percents.items():
            if percent > before.get(name, 0) and self._state(name) is not State.READY:
                raise ContractError(
                    f"revision {name} is {self._state(name)} and cannot take more traffic: deploy it (again) and wait "
                    "until it is ready"
                )
        self._shift(model, percents)

    def set_shadow(self, name: str, on: bool) -> None:
        """Send a revision copies of the live requests, or no longer."""
        spec = self._spec(name)
        if on and percents_of(self.routes.table(spec.model)).get(name):
            raise ContractError(f"revision {name} has traffic of its own: take that away before it can be a shadow")
        self._keep(spec.model_copy(update={"shadow": on}))
        self._mirror(name, on)
        self._retire_later(spec.model)

    async def remove(self, name: str) -> None:
        """Stop a revision and forget it; one that shares traffic with others is refused."""
        spec = self._spec(name)
        percents = percents_of(self.routes.table(spec.model))
        if 0 < percents.get(name, 0) < 100:
            raise ContractError(f"revision {name} has {percents[name]:g} % of the traffic: give that to another first")
        if name in percents:
            self.routes.set_table(spec.model, ())
        del self._specs[name]
        self._save()
        await self._halt(name)
        shutil.rmtree(self.folder.logs(name), ignore_errors=True)

    async def stop(self) -> None:
        """Drain the splitter and end all processes."""
        for job in self._jobs:
            job.cancel()
        seconds = self.config.drain_seconds
        await asyncio.gather(self.splitter.drain(seconds), *(drain(seconds) for drain in self.on_drain))
        monitor = [self.monitor.stop()] if self.monitor else []
        await asyncio.gather(*(revision.stop() for revision in self._running.values()), *monitor)

    def revisions(self) -> list[RevisionStatus]:
        """Return all revisions as they are, by model and age."""
        specs = sorted(self._specs.values(), key=lambda spec: (spec.model, spec.created))
        tables = {spec.model: percents_of(self.routes.table(spec.model)) for spec in specs}
        return [
            revision_status(spec, self._running.get(spec.name), tables[spec.model].get(spec.name, 0.0))
            for spec in specs
        ]

    def pids(self) -> dict[str, int]:
        """Return all child processes by `revision/role`."""
        found = {
            f"{name}/{role}": pid for name, running in self._running.items() for role, pid in running.pids().items()
        }
        if self.monitor is not None and self.monitor.pid is not None:
            found[MONITOR] = self.monitor.pid
        return found

    def _spec(self, name: str) -> RevisionSpec:
        if name not in self._specs:
            known = ", ".join(self._specs) or "none"
            raise ContractError(f"there is no revision {name}; there are: {known}")
        return self._specs[name]

    def _state(self, name: str) -> State:
        return self._running[name].state if name in self._running else State.STOPPED

    def _launch(self, spec: RevisionSpec) -> None:
        """Start a revision that is not running, or give one that is what it was deployed for."""
        running = self._running.get(spec.name)
        if running is None or running.state in (State.FAILED, State.DRAINING):
            self._start(spec)
        elif running.state is State.READY:
            self._on_ready(spec.name)

    def _start(self, spec: RevisionSpec) -> None:
        if old := self._running.pop(spec.name, None):
            self.splitter.stop_mirror(spec.name)
            self._do(old.stop())
        revision = Revision(spec, self._making, self._on_ready, self._processes_changed)
        if old is not None:
            revision.target.counts = old.target.counts
        self._running[spec.name] = revision
        self.routes.targets[spec.name] = revision.target
        revision.start()
        _log.info("revision starts", extra={"revision": spec.name, "bundle": spec.bundle})

    def _on_ready(self, name: str) -> None:
        """Give a revision the traffic, or the copies, that it was deployed for."""
        spec = self._specs[name]
        _log.info("revision ready", extra={"revision": name})
        self._mirror(name, spec.shadow)
        if spec.awaits is not None:
            self._keep(spec.model_copy(update={"awaits": None}))
            self._shift(spec.model, self._with_share(spec, spec.awaits))

    def _with_share(self, spec: RevisionSpec, percent: float) -> dict[str, float]:
        """Return the weights with `percent` for one revision; the others keep the rest in their proportion."""
        others = percents_of(self.routes.table(spec.model))
        others.pop(spec.name, None)
        total = sum(others.values())
        if not total:
            return {spec.name: 100.0}
        return {name: share * (100 - percent) / total for name, share in others.items()} | {spec.name: percent}

    def _shift(self, model: str, percents: Mapping[str, float]) -> None:
        table = move(self.routes.table(model), percents)
        self.routes.set_table(model, table)
        for name in set(table):
            if self._specs[name].shadow:
                self._keep(self._specs[name].model_copy(update={"shadow": False}))
                self._mirror(name, False)
        self._save()
        _log.info("traffic", extra={"model": model, **percents_of(table)})
        self._retire_later(model)

    def _mirror(self, name: str, on: bool) -> None:
        running = self._running.get(name)
        if on and running is not None:
            self.splitter.start_mirror(running.target)
        elif not on:
            self.splitter.stop_mirror(name)

    def _retire_later(self, model: str) -> None:
        """Stop what nobody needs any more, once the grace time is over."""
        for name in self._idle(model):
            self._do(self._retire(name))

    def _idle(self, model: str) -> list[str]:
        """Return the running revisions of a model that have neither traffic nor hope for it."""
        percents = percents_of(self.routes.table(model))
        if len(percents) != 1:
            return []
        return [
            name
            for name, spec in self._specs.items()
            if spec.model == model and name in self._running and name not in percents
            if not spec.shadow and spec.awaits is None and self._state(name) is not State.DRAINING
        ]

    async def _retire(self, name: str) -> None:
        await asyncio.sleep(self.config.grace_seconds)
        if name not in self._specs or name not in self._idle(self._specs[name].model):
            return
        await self._halt(name)
        spec = self._specs.get(name)
        if spec is None or name in self._running:
            return
        self._keep(spec.model_copy(update={"stopped": True}))
        _log.info("revision stopped", extra={"revision": name})
        stopped = sorted(
            (one for one in self._specs.values() if one.stopped and one.model == spec.model),
            key=lambda one: one.created,
        )
        for old in stopped[:-KEPT_STOPPED]:
            await self.remove(old.name)

    async def _halt(self, name: str) -> None:
        """Let a revision finish what it serves, and end its processes."""
        self.splitter.stop_mirror(name)
        running = self._running.get(name)
        if running is None:
            return
        running.draining = True
        running.target.ready = False
        await self.routes.drained(running.target, self.config.drain_seconds)
        await running.stop()
        if self._running.get(name) is running:
            del self._running[name], self.routes.targets[name]
        self.on_processes()

    def _processes_changed(self) -> None:
        self.on_processes()

    def _keep(self, spec: RevisionSpec) -> None:
        self._specs[spec.name] = spec
        self._save()

    def _save(self) -> None:
        models = {spec.model for spec in self._specs.values()}
        tables = {model: to_ranges(self.routes.table(model)) for model in sorted(models)}
        self.folder.save(Desired(revisions=list(self._specs.values()), tables=tables))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)

    def _metrics(self, own: Counter[str]) -> bytes:
        rows = [
            Row(one.model, one.name, one.state is State.READY, one.traffic, one.restarts, running.target.counts)
            for one in self.revisions()
            if (running := self._running.get(one.name)) is not None
        ]
        return exposition(rows, own, self.monitor.payloads.counts if self.monitor else None)
