"""Records of rollouts in a folder, each an atomic file; and the errors that every kind of store raises."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from vigil.contracts.keys import hash_bytes
from vigil.errors import ContractError, Unavailable
from vigil.files import alone, is_held, replace_file
from vigil.rollout.ports import Kept
from vigil.rollout.status import Record

_ATTEMPTS = 20
"""Who only asks whether there is a controller holds its lock for a moment, so that once is not enough."""


class Changed(Unavailable):
    """Someone else changed the record first: read it again and decide anew."""


class Busy(ContractError):
    """Another controller is at work here."""


class FolderRecords:
    """The records in `VIGIL_HOME/rollouts`."""

    def __init__(self, home: Path) -> None:
        self.root = home.absolute() / "rollouts"
        self.lock = self.root / "controller.lock"

    def models(self) -> list[str]:
        """Return the models that have a record."""
        return sorted(path.parent.name for path in self.root.glob("*/rollout.json"))

    def load(self, model: str) -> Kept | None:
        """Return the record of a model, None without one."""
        path = self._path(model)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"cannot read {path}: {error.strerror}") from error
        return parse(content, str(path))

    def save(self, record: Record, before: Kept | None) -> Kept:
        """Replace `before`: the file is the old one or the new one, whenever the power fails."""
        path = self._path(record.spec.model)
        content = record.model_dump_json(indent=1).encode()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with (path.parent / "door").open("wb") as door:
                fcntl.flock(door, fcntl.LOCK_EX)
                present = self.load(record.spec.model)
                if (present and present.mark) != (before and before.mark):
                    raise Changed(f"the rollout of {record.spec.model} was changed meanwhile")
                replace_file(path, content)
        except OSError as error:
            raise Unavailable(f"cannot write {path}: {error.strerror}") from error
        return Kept(record, hash_bytes(content))

    @contextmanager
    def locked(self) -> Iterator[Callable[[], None]]:
        """Hold the lock of the one controller of this home: it goes with its process, however that ends."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(self.lock, attempts=_ATTEMPTS) as mine:
            if not mine:
                raise Busy(f"another controller runs the rollouts of {self.root}: use that one")
            yield lambda: None

    def is_locked(self) -> bool:
        """Return whether a controller is at work."""
        return is_held(self.lock)

    def _path(self, model: str) -> Path:
        return self.root / model / "rollout.json"


def parse(content: bytes, where: str) -> Kept:
    """Return a record from JSON, or raise ContractError saying where it is broken."""
    try:
        return Kept(Record.model_validate_json(content), hash_bytes(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ContractError(
            f"{where} is no record of a rollout ({place}: {first['msg']}): restore it, or remove it and start again"
        ) from error
