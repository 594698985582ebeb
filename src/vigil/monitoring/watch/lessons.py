"""What the reference lacks and traffic has to teach: members' levels, raw fields, and their categories."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.monitoring.watch.baseline import fit_baseline
from vigil.monitoring.watch.columns import Columns
from vigil.monitoring.watch.packing import pack, unpack
from vigil.monitoring.watch.rates import Range, Rates, usual_range
from vigil.monitoring.watch.rows import Rows, join
from vigil.monitoring.watch.settings import WatchSettings
from vigil.monitoring.watch.signals import Readings

FloatArray = NDArray[np.float64]

MANY = 60
"""Different values from which a field names entities and has no categories."""


class LearnedColumns:
    """Levels of members, and numeric fields of requests whose answers carry no vectors."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self._lesson: tuple[list[str], FloatArray, NDArray[np.int64]] | None = None
        self.columns: Columns | None = None

    def learn(self, lesson: Rows) -> None:
        """Take the first decisions as the reference."""
        columns = {f"member:{name}": level for name, level in lesson.members.items()}
        if not lesson.values.shape[1]:
            columns |= {
                f"input:{name}": _numbers(entries) for name, entries in lesson.fields.items() if _is_numeric(entries)
            }
        if columns:
            self._set(list(columns), np.column_stack(list(columns.values())), lesson.time)

    def _set(self, names: list[str], values: FloatArray, time: NDArray[np.int64]) -> None:
        self._lesson = (names, values, time)
        plain = {name.split(":", 1)[1]: values[:, k] for k, name in enumerate(names)}
        kinds = tuple(name.split(":", 1)[0] for name in names)
        baseline = fit_baseline(plain, time, self._settings.day_effects(kinds))
        self.columns = Columns(baseline, kinds, self._settings)
        self.columns.calibrate(values, time)

    def update(self, window: Rows, days: float) -> None:
        """Judge a window."""
        if self.columns is not None:
            chosen = list(zip(self.columns.kinds, self.columns.baseline.names, strict=True))
            self.columns.update(_matrix(window, chosen), window.time, days)

    def inputs(self, rows: Rows | None) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
        """Return the fields that stand in for features, their values in the lesson, and those in other rows."""
        names, before, _ = self._lesson or ([], np.zeros((0, 0)), None)
        chosen = [k for k, name in enumerate(names) if name.startswith("input:")]
        plain = [("input", names[k].split(":", 1)[1]) for k in chosen]
        after = np.zeros((0, len(plain))) if rows is None or not plain else _matrix(rows, plain)
        return tuple(name for _, name in plain), before[:, chosen], after

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        if self._lesson is None or self.columns is None:
            return {}
        names, values, time = self._lesson
        return {"names": names, "values": pack(values), "time": pack(time), "columns": self.columns.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        if state and (columns := self._restored(state)):
            columns.restore(state["columns"])

    def _restored(self, state: dict[str, Any]) -> Columns | None:
        self._set(state["names"], unpack(state["values"]), unpack(state["time"]))
        return self.columns


class Fields:
    """Raw fields: how often each is missing or has a value that it never had."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.known: dict[str, list[str]] = {}
        """Categories by field; a field of numbers or entities has none."""
        self.usual = np.zeros(0)
        self.rates: Rates | None = None

    def learn(self, lesson: Rows) -> None:
        """Take the first decisions as what is usual."""
        self.names = sorted(lesson.fields)
        for name in self.names:
            counts = Counter(entry for entry in lesson.fields[name] if isinstance(entry, str))
            if counts and len(counts) <= min(MANY, len(lesson) // 10):
                self.known[name] = sorted(counts)
        if not self.names:
            return
        yes, _ = self._count(lesson)
        first = len(lesson) // 2
        unknown = self._new_in(lesson, first)
        shares = np.concatenate([yes[: len(self.names)] / len(lesson), unknown])
        usual = usual_range(shares, len(lesson) - first, 0.01)
        self.usual = shares
        # Fewer missing values than usual tell that a field changed; fewer values that nobody knew tell nothing.
        is_missing = np.arange(len(shares)) < len(self.names)
        low = np.where((shares > 0.2) & is_missing, usual.low, 0.0)
        self.rates = Rates(Range(low, usual.high, usual.power))

    def _new_in(self, lesson: Rows, first: int) -> FloatArray:
        """Return the share of categories in the second part of a lesson that its first part had not."""
        shares = []
        for name in self.known:
            before = set(lesson.fields[name][:first])
            shares.append(np.mean([entry not in before for entry in lesson.fields[name][first:]]))
        return np.array(shares, dtype=np.float64)

    def _count(self, rows: Rows) -> tuple[FloatArray, FloatArray]:
        nothing: Sequence[Any] = [None] * len(rows)
        missing = [sum(entry is None for entry in rows.fields.get(name, nothing)) for name in self.names]
        present = [rows.fields.get(name, nothing) for name in self.known]
        known = [set(self.known[name]) for name in self.known]
        unknown = [sum(e is not None and e not in some for e in es) for es, some in zip(present, known, strict=True)]
        seen = [sum(entry is not None for entry in entries) for entries in present]
        return np.array([*missing, *unknown], np.float64), np.array([len(rows)] * len(missing) + seen, np.float64)

    def update(self, window: Rows, days: float) -> None:
        """Judge a window."""
        if self.rates is not None:
            self.rates.update(*self._count(window), days, int(window.time[0]))

    def readings(self) -> Readings | None:
        """Return the evidence of all fields."""
        if self.rates is None:
            return None
        labels = [("missingness", name, "missing") for name in self.names]
        labels += [("category", name, "unknown") for name in self.known]
        share = self.rates.share()
        return Readings(labels, self.rates.log_years(), self.rates.since(), share, self.usual, share)

    def restart(self) -> None:
        """Forget what was told."""
        if self.rates is not None:
            self.rates.restart()

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        rates = None if self.rates is None else self.rates.snapshot()
        return {"names": self.names, "known": self.known, "usual": pack(self.usual), "rates": rates}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.names, self.known, self.usual = state["names"], state["known"], unpack(state["usual"])
        self.rates = None if state["rates"] is None else Rates.restored(state["rates"])


class Lesson:
    """The first decisions, until there are enough of them."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self.rows: Rows | None = None
        self.is_over = False

    def add(self, window: Rows) -> Rows | None:
        """Return all first decisions once, when there are enough of them."""
        if self.is_over:
            return None
        self.rows = window if self.rows is None else join([self.rows, window])
        if len(self.rows) < self._settings.learning_rows:
            return None
        self.is_over, learned = True, self.rows
        self.rows = None
        return learned

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        return {"over": self.is_over, "rows": None if self.rows is None else self.rows.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot."""
        self.is_over = state["over"]
        self.rows = None if state["rows"] is None else Rows.restored(state["rows"])


def _matrix(rows: Rows, chosen: Sequence[tuple[str, str]]) -> FloatArray:
    """Return members' levels and numeric fields as columns, NaN where a row has none."""
    nothing: Sequence[Any] = [None] * len(rows)
    missing = np.full(len(rows), np.nan)
    members, fields = rows.members, rows.fields
    columns = [members.get(n, missing) if kind == "member" else _numbers(fields.get(n, nothing)) for kind, n in chosen]
    return np.column_stack(columns)


def _numbers(entries: Sequence[Any]) -> FloatArray:
    return np.array([float(e) if isinstance(e, int | float) else np.nan for e in entries], dtype=np.float64)


def _is_numeric(entries: Sequence[Any]) -> bool:
    present = [entry for entry in entries if entry is not None]
    return bool(present) and all(isinstance(entry, int | float) and not isinstance(entry, bool) for entry in present)
