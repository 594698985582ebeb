"""The runtime as a process: in the foreground, or as a daemon that `vigil up` leaves behind."""

import asyncio
import contextlib
import logging
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import orjson
import psutil  # type: ignore[import-untyped]
import uvloop

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError, Unavailable
from vigil.runtime.admin import Admin
from vigil.runtime.child import RestartPolicy
from vigil.runtime.commands import CommandBuilder, leave_behind, server_command, server_environment
from vigil.runtime.files import Running, RuntimeFolder, mark_of, running_already
from vigil.runtime.logfile import tail
from vigil.runtime.ports import address, check_free
from vigil.runtime.splitter.rpc import RpcSplitter
from vigil.runtime.status import RuntimeStatus
from vigil.runtime.supervisor import RuntimeConfig, Supervisor
from vigil.settings import Settings

_log = logging.getLogger(__name__)

_UP_SECONDS = 60.0


def run(config: RuntimeConfig, *, commands: CommandBuilder = server_command, clock: Clock = system_clock) -> None:
    """Run until SIGTERM, SIGINT or `vigil down`; then drain and end all processes."""
    folder = RuntimeFolder(config.settings.home)
    check_start(config, folder)
    with folder.locked():
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if soft < hard else soft, hard))
        try:
            uvloop.run(_Daemon(config, folder, commands, clock).main())
        finally:
            folder.clear()


def check_start(config: RuntimeConfig, folder: RuntimeFolder) -> None:
    """Raise ContractError, with the cure, where a runtime cannot be started."""
    if folder.is_locked():
        raise ContractError(running_already(folder.noted()))
    if orphans := folder.orphans():
        pids = ", ".join(f"{name} (pid {mark.pid})" for name, mark in orphans.items())
        raise ContractError(f"a runtime was killed and left processes behind: {pids}; run `vigil down --force` first")
    check_free(config.host, config.port, "--port")
    if config.grpc_port is not None:
        check_free(config.host, config.grpc_port, "--grpc-port")
    folder.load()


def start(config: RuntimeConfig) -> None:
    """Start a runtime that outlives this process, and return once it answers."""
    folder = RuntimeFolder(config.settings.home)
    check_start(config, folder)
    folder.create()
    command = [sys.executable, "-m", "vigil.runtime", config_to_json(config)]
    process = leave_behind(command, folder.supervisor_log, server_environment(config.settings))
    end = time.monotonic() + _UP_SECONDS
    while time.monotonic() < end:
        if (running := folder.noted()) is not None and running.supervisor.pid == process.pid:
            return
        if process.poll() is not None:
            lines = "\n".join(tail(folder.supervisor_log, 12))
            raise Unavailable(f"the runtime ended with status {process.returncode}:\n{lines}")
        time.sleep(0.05)
    process.terminate()
    raise Unavailable(f"the runtime did not start within {_UP_SECONDS:g} seconds: see {folder.supervisor_log}")


def config_to_json(config: RuntimeConfig) -> str:
    """Return the configuration as the daemon's only argument."""
    plain = asdict(config) | {"settings": config.settings.model_dump(mode="json")}
    return orjson.dumps(plain).decode()


def config_from_json(text: str) -> RuntimeConfig:
    """Return the configuration that `config_to_json` wrote."""
    plain: dict[str, Any] = orjson.loads(text)
    settings = Settings.model_validate(plain.pop("settings"))
    return RuntimeConfig(settings=settings, policy=RestartPolicy(**plain.pop("policy")), **plain)


class _Daemon:
    def __init__(self, config: RuntimeConfig, folder: RuntimeFolder, commands: CommandBuilder, clock: Clock) -> None:
        self._config, self._folder, self._commands, self._clock = config, folder, commands, clock
        self._since = clock()
        self._supervisor: Supervisor
        self._draining = False

    async def main(self) -> None:
        self._supervisor = supervisor = Supervisor(self._config, commands=self._commands, clock=self._clock)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await supervisor.splitter.start(self._config.host, self._config.port)
        async with self._rpc(), self._admin(stop):
            supervisor.on_processes = self._note
            supervisor.recover()
            self._note()
            _log.info("runtime is up", extra={"endpoint": self._endpoint})
            await stop.wait()
            self._draining = True
            _log.info("runtime drains")
            await supervisor.stop()
        _log.info("runtime is down")

    @asynccontextmanager
    async def _rpc(self) -> AsyncIterator[None]:
        """Serve gRPC where it is wanted, and drain it before the revisions stop."""
        if self._config.grpc_port is None:
            yield
            return
        rpc = RpcSplitter(self._supervisor.routes)
        await rpc.start(self._config.host, self._config.grpc_port)
        self._supervisor.on_drain.append(rpc.drain)
        yield

    @asynccontextmanager
    async def _admin(self, stop: asyncio.Event) -> AsyncIterator[None]:
        admin = Admin(self._supervisor, self._status, stop)
        await admin.start(self._folder.socket)
        try:
            yield
        finally:
            await admin.close()

    @property
    def _endpoint(self) -> str:
        return f"http://{address(self._config.host, self._config.port)}"

    def _note(self) -> None:
        """Keep the pid file true: it is how the next supervisor finds what this one left."""
        children = {}
        for name, pid in self._supervisor.pids().items():
            with contextlib.suppress(psutil.NoSuchProcess):
                children[name] = mark_of(pid)
        self._folder.note(Running(supervisor=mark_of(_own_pid()), endpoint=self._endpoint, children=children))

    def _status(self) -> RuntimeStatus:
        config = self._config
        return RuntimeStatus(
            pid=_own_pid(),
            since=self._since,
            host=config.host,
            port=config.port,
            grpc_port=config.grpc_port,
            endpoint=self._endpoint,
            grpc_endpoint=None if config.grpc_port is None else address(config.host, config.grpc_port),
            draining=self._draining,
            revisions=self._supervisor.revisions(),
            monitor=self._supervisor.monitor.status() if self._supervisor.monitor else None,
        )


def _own_pid() -> int:
    return int(psutil.Process().pid)
