"""The latest decisions and the path of the evidence: what a cause and its picture are made from."""

from typing import Any

from vigil.monitoring.watch.rows import Rows, join
from vigil.monitoring.watch.settings import WatchSettings

_PATH = 500


class Memory:
    """Windows, as many as hold the rows that are kept, and the strongest evidence after each of the last windows."""

    def __init__(self, settings: WatchSettings) -> None:
        self._rows = settings.memory_rows
        self._windows: list[Rows] = []
        self.path: list[tuple[int, float]] = []
        self._counts: list[tuple[int, int]] = []
        """Event time of the first row, and rows up to the window's end, by window."""

    def add(self, window: Rows, rows: int) -> None:
        """Keep a window, and the number of rows up to its end."""
        self._windows.append(window)
        while sum(len(one) for one in self._windows) - len(self._windows[0]) >= self._rows:
            del self._windows[0]
        self._counts = [*self._counts[-_PATH + 1 :], (int(window.time[0]), rows)]

    def follow(self, strength: float) -> None:
        """Keep the strongest evidence after the last window."""
        self.path = [*self.path[-_PATH + 1 :], (int(self._windows[-1].time[-1]), strength)]

    def since(self, first: int = 0) -> Rows | None:
        """Return the kept rows from a moment on; from the first one on if none is given."""
        chosen = [one for one in self._windows if int(one.time[0]) >= first]
        return join(chosen) if chosen else None

    def rows_since(self, first: int) -> int:
        """Return how many rows were judged from a moment on, as far as the memory reaches."""
        later = [k for k, (time, _) in enumerate(self._counts) if time >= first]
        if not later:
            return 0
        before = self._counts[later[0] - 1][1] if later[0] else 0
        return self._counts[-1][1] - before

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        windows = [window.snapshot() for window in self._windows]
        return {"windows": windows, "path": [list(one) for one in self.path], "counts": [list(c) for c in self._counts]}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self._windows = [Rows.restored(window) for window in state["windows"]]
        self.path = [(int(time), float(strength)) for time, strength in state["path"]]
        self._counts = [(int(time), int(rows)) for time, rows in state["counts"]]
