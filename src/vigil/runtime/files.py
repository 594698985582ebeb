"""The folder of the runtime: what a supervisor leaves for the next one, and for whoever looks for it."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError

from vigil.errors import ContractError
from vigil.files import alone, is_held, replace_file
from vigil.runtime.status import Desired, ProcessMark

_SOCKET_PATH_BYTES = 100
"""Systems allow 104 to 108."""

_SAME_START_SECONDS = 2.0


class Running(BaseModel):
    """The pid file: the supervisor and its children."""

    supervisor: ProcessMark
    endpoint: str
    children: dict[str, ProcessMark] = {}


class RuntimeFolder:
    """The paths in `VIGIL_HOME/runtime`."""

    def __init__(self, home: Path) -> None:
        self.path = home.absolute() / "runtime"
        self.state = self.path / "state.json"
        self.pid = self.path / "supervisor.pid"
        self.lock = self.path / "lock"
        self.supervisor_log = self.path / "supervisor.log"

    @property
    def socket(self) -> Path:
        """The admin socket: in the folder, or elsewhere where its path would be too long for a socket."""
        path = self.path / "admin.sock"
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            return path
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"vigil-{os.getuid()}" / f"{name}.sock"

    def logs(self, revision: str) -> Path:
        """Return the folder of a revision's logs."""
        return self.path / "logs" / revision

    def create(self) -> None:
        """Make the folders, for this user only."""
        for folder in {self.path, self.socket.parent}:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self.socket.parent.stat().st_uid != os.getuid():
            raise ContractError(f"{self.socket.parent} belongs to another user: set TMPDIR to a folder of your own")

    def load(self) -> Desired:
        """Return what the last supervisor was to serve."""
        if not self.state.exists():
            return Desired()
        try:
            return Desired.model_validate_json(self.state.read_bytes())
        except ValidationError as error:
            cure = f"restore it, or begin anew by `vigil down --force`; {error.errors()[0]['msg']}"
            raise ContractError(f"{self.state} is no state of a runtime: {cure}") from error

    def save(self, desired: Desired) -> None:
        """Keep what is wanted: the file is the old one or the new one, whenever the power fails."""
        replace_file(self.state, desired.model_dump_json(indent=2).encode())

    def note(self, running: Running) -> None:
        """Write the pid file."""
        replace_file(self.pid, running.model_dump_json(indent=2).encode(), durable=False)

    def noted(self) -> Running | None:
        """Return what the pid file says, whether it is true or not; None without one."""
        try:
            return Running.model_validate_json(self.pid.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def is_locked(self) -> bool:
        """Return whether a supervisor lives: the lock goes with its process, however that ends."""
        return is_held(self.lock)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, or raise ContractError where another supervisor does."""
        self.create()
        with alone(self.lock) as mine:
            if not mine:
                raise ContractError(running_already(self.noted()))
            yield

    def clear(self) -> None:
        """Remove the pid file and the socket."""
        self.pid.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def orphans(self) -> dict[str, ProcessMark]:
        """Return the processes of a dead supervisor that live still."""
        noted = self.noted()
        if noted is None or self.is_locked():
            return {}
        return {name: mark for name, mark in noted.children.items() if lives(mark)}


def running_already(running: Running | None) -> str:
    """Return the sentence for whoever wants to start a second supervisor."""
    where = f" (pid {running.supervisor.pid}, {running.endpoint})" if running else ""
    return f"a runtime is running already{where}: use it, or end it first by `vigil down`"


def mark_of(pid: int) -> ProcessMark:
    """Return the mark of a living process."""
    return ProcessMark(pid=pid, started=psutil.Process(pid).create_time())


def lives(mark: ProcessMark) -> bool:
    """Return whether this very process lives: a later one that got its pid is another."""
    try:
        process = psutil.Process(mark.pid)
        same = abs(process.create_time() - mark.started) < _SAME_START_SECONDS
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
