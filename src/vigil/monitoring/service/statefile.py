"""The state on the disk: written whole or not at all, and a counter that outlives even SIGKILL."""

import logging
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from vigil.errors import Unavailable
from vigil.files import alone, replace_file

_log = logging.getLogger(__name__)
_LAYOUT = 1
_COUNTER_BYTES = 8


class StateFile:
    """The last snapshot. One that is damaged or of another version is put aside, and the service begins anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    def save(self, state: dict[str, Any]) -> None:
        """Replace the snapshot."""
        replace_file(self._path, orjson.dumps({"layout": _LAYOUT, **state}, option=orjson.OPT_SERIALIZE_NUMPY))

    def load(self) -> dict[str, Any] | None:
        """Return the snapshot, None without one."""
        try:
            state = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError as error:
            self._put_aside(str(error))
            return None
        if not isinstance(state, dict) or state.get("layout") != _LAYOUT:
            self._put_aside("it is of another version")
            return None
        return state

    def _put_aside(self, cause: str) -> None:
        aside = self._path.with_suffix(".damaged")
        self._path.replace(aside)
        _log.error("the state cannot be read, and is begun anew", extra={"put_aside": str(aside), "cause": cause})


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Hold the folder for one service, or raise Unavailable where another has it; the hold ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder / "lock") as mine:
        if not mine:
            cure = "end it, or give this one another VIGIL_HOME"
            raise Unavailable(f"another detector service works in {folder}: {cure}")
        yield


class DurableCounter:
    """A number in a file that is mapped into memory: the kernel keeps it however the process ends."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.truncate(_COUNTER_BYTES)
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _COUNTER_BYTES)
        self.value = int.from_bytes(self._map[:], "little")

    def add(self) -> None:
        """Count one."""
        self.value += 1
        self._map[:] = self.value.to_bytes(_COUNTER_BYTES, "little")
