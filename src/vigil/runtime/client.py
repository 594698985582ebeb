"""The runtime as seen by programs: the command line, the rollout, the deployment."""

import http.client
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import orjson

from vigil.contracts.keys import ModelName, ModelVersion
from vigil.errors import ContractError, Unavailable
from vigil.registry.registry import IN_PRODUCTION, Registry
from vigil.registry.store import open_store
from vigil.runtime.files import RuntimeFolder, lives
from vigil.runtime.leftovers import end, forget
from vigil.runtime.status import DeployRequest, RevisionStatus, RuntimeStatus, State
from vigil.settings import Settings

Progress = Callable[[RevisionStatus], None]

READY_SECONDS = 300.0
_CALL_SECONDS = 90.0
_DOWN_SECONDS = 120.0


def resolve(settings: Settings, model: str, version: str = IN_PRODUCTION, **wanted: object) -> DeployRequest:
    """Return the request that deploys a registered version; without a number, the one in production."""
    store = open_store(settings.store_uri)
    registry = Registry(store)
    found = registry.state(ModelName(model)).version(ModelVersion(version))
    bundle = registry.bundle_of(found)
    facts = {"model": model, "version": found.version, "bundle": bundle.hash, "uri": bundle.uri}
    return DeployRequest.model_validate(facts | wanted)


class RuntimeClient:
    """Speaks to the runtime of `settings.home`. Where none is running, every call says how to start one."""

    def __init__(self, settings: Settings) -> None:
        self.folder = RuntimeFolder(settings.home)

    def is_running(self) -> bool:
        """Return whether a runtime is running."""
        return self.folder.is_locked()

    def status(self) -> RuntimeStatus:
        """Return the runtime as it is."""
        return RuntimeStatus.model_validate(self._call("GET", "/status"))

    def deploy(
        self,
        request: DeployRequest,
        *,
        wait: bool = True,
        timeout: float = READY_SECONDS,
        on_progress: Progress | None = None,
    ) -> RevisionStatus:
        """Start a revision, wait until it is ready and has its traffic, and return it.

        A revision that fails gets no traffic and is a ContractError with the last lines of its log.
        """
        answer = self._call("POST", "/deploy", request.model_dump(mode="json"))
        name = str(answer["revision"])  # type: ignore[index]  # the admin API is ours
        return self.wait_ready(name, timeout=timeout, on_progress=on_progress) if wait else self.revision(name)

    def revision(self, name: str) -> RevisionStatus:
        """Return one revision, or raise ContractError listing those that there are."""
        status = self.status()
        if (found := status.revision(name)) is None:
            known = ", ".join(one.name for one in status.revisions) or "none"
            raise ContractError(f"there is no revision {name}; there are: {known}")
        return found

    def wait_ready(
        self, name: str, *, timeout: float = READY_SECONDS, on_progress: Progress | None = None
    ) -> RevisionStatus:
        """Return the revision once it is ready and has the traffic that it was deployed for."""
        limit = time.monotonic() + timeout
        while True:
            found = self.revision(name)
            if on_progress is not None:
                on_progress(found)
            if found.state is State.READY and found.awaits is None:
                return found
            if found.state is State.FAILED:
                raise ContractError(f"revision {name} failed and gets no traffic: {found.why}")
            if time.monotonic() > limit:
                cure = f"`vigil logs {name}` shows why; it gets its traffic as soon as it is ready"
                raise Unavailable(f"revision {name} is {found.state} after {timeout:g} seconds: {cure}")
            time.sleep(0.2)

    def set_traffic(self, percents: Mapping[str, float]) -> RuntimeStatus:
        """Put these weights of one model's revisions in force, all at once; they sum to 100."""
        return RuntimeStatus.model_validate(self._call("POST", "/traffic", {"percents": dict(percents)}))

    def set_shadow(self, revision: str, on: bool) -> RuntimeStatus:
        """Send a revision copies of the live requests, or no longer."""
        path = f"/revisions/{quote(revision, safe='')}/shadow"
        return RuntimeStatus.model_validate(self._call("POST", path, {"on": on}))

    def remove(self, revision: str) -> RuntimeStatus:
        """Drain and stop a revision and forget it; one that shares traffic with others is refused."""
        return RuntimeStatus.model_validate(self._call("DELETE", f"/revisions/{quote(revision, safe='')}"))

    def down(self, *, force: bool = False, keep: bool = False) -> bool:
        """Stop everything and return whether anything was running; unless `keep`, nothing is left behind.

        `force` ends the processes whatever they do, and those that a killed runtime has left.
        """
        was_running = self.is_running()
        if was_running and not force:
            self._call("POST", "/down")
            self._wait_until_down()
        noted = self.folder.noted()
        if was_running and force and noted is not None:
            end({"supervisor": noted.supervisor} if lives(noted.supervisor) else {}, 10)
            self._wait_until_down()
        orphans = self.folder.orphans()
        if orphans and not force:
            raise ContractError("a killed runtime left processes behind: run `vigil down --force`")
        end(orphans, 10)
        self.folder.clear()
        if not keep:
            forget(self.folder)
        return was_running or bool(orphans)

    def _wait_until_down(self) -> None:
        limit = time.monotonic() + _DOWN_SECONDS
        while self.is_running():
            if time.monotonic() > limit:
                raise Unavailable(f"the runtime still runs after {_DOWN_SECONDS:g} seconds: `vigil down --force`")
            time.sleep(0.05)

    def _call(self, method: str, path: str, document: object = None) -> object:
        """Return the answer of the admin API, or raise the error that it reports."""
        if not self.is_running():
            raise Unavailable("no runtime is running: start one by `vigil up`")
        connection = _UnixConnection(self.folder.socket)
        try:
            connection.request(method, path, body=orjson.dumps(document))
            response = connection.getresponse()
            answer = orjson.loads(response.read())
        except (OSError, http.client.HTTPException, orjson.JSONDecodeError) as error:
            raise Unavailable(f"the runtime does not answer ({error}): try again, or `vigil down --force`") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise (Unavailable if response.status == 503 else ContractError)(answer["error"])
        return answer


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("runtime", timeout=_CALL_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
