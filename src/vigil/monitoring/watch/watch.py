"""The watch: rows in, windows judged, one verdict out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vigil.clock import DAY, from_micros
from vigil.errors import ContractError
from vigil.monitoring.cause import Fact, Findings, Signal, find_cause
from vigil.monitoring.samples import LabelBatch, PairCounts, ScoredBatch, Served
from vigil.monitoring.verdicts import ANSWERS, DriftVerdict, State, WatchStatus
from vigil.monitoring.watch.alarm import Alarm
from vigil.monitoring.watch.baseline import fit_baseline
from vigil.monitoring.watch.columns import Columns
from vigil.monitoring.watch.lessons import Fields, LearnedColumns, Lesson
from vigil.monitoring.watch.levels import YEAR_DAYS
from vigil.monitoring.watch.memory import Memory
from vigil.monitoring.watch.outcomes import Flagged, Precision
from vigil.monitoring.watch.rows import FloatArray, Queue, Rows, read_batch
from vigil.monitoring.watch.settings import WatchSettings
from vigil.monitoring.watch.signals import Bar, Readings, judge, standing
from vigil.monitoring.watch.sites import Sites
from vigil.monitoring.watch.units import Units

VERSION = 2
MIXED = 0.5
"""Share of one value from which a column is not looked at site by site, but for what is missing."""
SCORE = "score"
SHARES = {"columns": 0.35, "shapes": 0.05, "learned": 0.1, "fields": 0.1, "outcomes": 0.2, "sites": 0.2}
"""Which part of the false alarms each group of detectors may raise."""


class Watch:
    """Watches one revision against the reference of its bundle.

    Batches may come in any order of event time; the same batches in the same order always give the same state.
    """

    def __init__(self, served: Served, reference: pa.Table, settings: WatchSettings | None = None) -> None:
        self.served, self.settings = served, settings or WatchSettings()
        features, values, time = _read_reference(reference)
        self.features = features
        self._watched = _watched(features, self.settings)
        self.watched = tuple(features[k] for k in self._watched)
        values = values[:, [*self._watched, -1]]
        self._before, self._score_before = values[:, :-1], values[:, -1]
        kinds = (*("input" for _ in self.watched), "score")
        columns = dict(zip((*self.watched, SCORE), values.T, strict=True))
        baseline = fit_baseline(columns, time, self.settings.day_effects(kinds))
        self.columns = Columns(baseline, kinds, self.settings)
        self.columns.calibrate(values, time)
        self.learned, self.fields = LearnedColumns(self.settings), Fields()
        self.lesson = Lesson(self.settings)
        self.flagged, self.precision = Flagged(self.settings), Precision(self.settings)
        self.sites = Sites(self.watched, baseline.mode_share[:-1] < MIXED, self.settings)
        self.queue, self.memory = Queue(self.settings), Memory(self.settings)
        self.units = Units()
        self.alarm: Alarm | None = None
        self.rows, self.windows, self.last_time, self.pace = 0, 0, 0, 0.0
        self.pairs: PairCounts | None = None
        self.facts: tuple[Fact, ...] = ()

    def add(self, batch: ScoredBatch) -> None:
        """Take decisions, and judge the windows that are complete with them; each event id once."""
        if batch.served.revision != self.served.revision:
            raise ContractError(f"decisions of {batch.served.revision} given to the watch over {self.served.revision}")
        self.queue.add(read_batch(batch, self.features))
        self._judge_windows()

    def add_labels(self, batch: LabelBatch) -> None:
        """Take verdicts; those on decisions that were flagged here tell the precision."""
        self.precision.update(batch)

    def advance(self, now: int) -> None:
        """Judge the windows that are complete because it is `now`, in microseconds, though no decision came."""
        self.queue.advance(now)
        self._judge_windows()

    def compare(self, pairs: PairCounts | None) -> None:
        """Know how this revision and the previous version judged the same events since the change."""
        self.pairs = pairs

    def note(self, facts: Sequence[Fact]) -> None:
        """Know what others have found about the data; it replaces what was noted before."""
        self.facts = tuple(facts)

    def status(self) -> WatchStatus:
        """Return where the watch stands."""
        served = self.served
        drifting = self.alarm is not None
        is_warm = self.rows >= self.settings.warm_rows
        return WatchStatus(
            model=served.model,
            revision=served.revision,
            version=served.version,
            bundle=served.bundle,
            state=State.DRIFTING if drifting else State.STEADY if is_warm else State.WARMING,
            verdict=None if self.alarm is None else self.alarm.verdict,
            rows=self.rows,
            windows=self.windows,
            watermark=from_micros(self.last_time) if self.windows else None,
            anomaly_rate=float(self.flagged.limit.share()[0]) if self.windows else None,
            precision=self.precision.value,
            features=self._strengths(),
        )

    def signals(self) -> list[Signal]:
        """Return all evidence, strongest first."""
        found: list[Signal] = []
        least = float(np.log(max(self.pace / YEAR_DAYS, 1e-9)))
        for group, detectors, readings in self._groups(least):
            bar = Bar(self.settings.false_alarms_per_year, SHARES[group], detectors, self.pace / YEAR_DAYS)
            found += judge(readings, bar)
        found += self.units.signals()
        return sorted(found, key=lambda signal: (-signal.is_alarm, -signal.strength, signal.key))

    def findings(self, signals: Sequence[Signal] = ()) -> Findings:
        """Return what the cause is found from: the signals, and the rows since the change."""
        kept = self.memory.since()
        first = self.last_time if self.alarm is None else self.alarm.first_seen
        rows = self.memory.since(first) if self.alarm is not None else kept and kept.slice(0, 0)
        scores = np.zeros(0) if rows is None else rows.score
        names, before, after = self._inputs(rows)
        return Findings(
            signals=signals,
            names=names,
            before=before,
            after=after,
            sites=[] if rows is None else rows.sites,
            latest=self._inputs(kept)[2],
            latest_sites=[] if kept is None else kept.sites,
            raw=self.settings.raw if names == self.watched else names,
            site_levels=self.sites.levels() if names == self.watched else {},
            score_before=self._score_before,
            score_after=scores,
            usual_sites={name: site.rows / max(self.sites.rows, 1) for name, site in self.sites.sites.items()},
            fields={} if rows is None else rows.fields,
            known=self.fields.known,
            path=tuple(self.memory.path),
            first_seen=first,
            at=self.last_time,
            rows=self.memory.rows_since(first),
        )

    def draw(self, path: Path) -> bool:
        """Write a picture of the evidence for the verdict; return whether there is one."""
        if self.alarm is None or self.alarm.verdict is None:
            return False
        from vigil.monitoring.cause.plot import draw_evidence

        draw_evidence(self.findings(self.signals()), self.alarm.verdict.summary, path)
        return True

    def _inputs(self, rows: Rows | None) -> tuple[tuple[str, ...], FloatArray, FloatArray]:
        """Return the columns that are watched, their reference and their values in some rows."""
        if rows is None or rows.values.shape[1]:
            after = np.zeros((0, len(self.watched))) if rows is None else rows.values[:, self._watched]
            return self.watched, self._before, after
        return self.learned.inputs(rows)

    def _judge_windows(self) -> None:
        for window in self.queue.windows():
            self._judge(window)

    def _judge(self, window: Rows) -> None:
        moment = int(np.median(window.time))
        span = int(window.time[-1] - window.time[0])
        days = max(moment - self.last_time, 0) / DAY if self.windows else span / DAY
        if not self.windows:
            self.columns.begin(max(moment - self.columns.baseline.ends, 0) / DAY)
        self._update(window, days)
        self.rows, self.windows = self.rows + len(window), self.windows + 1
        self.last_time = max(self.last_time, moment)
        self.pace += (days - self.pace) / min(self.windows, 200)
        self.memory.add(window, self.rows)
        self.units.update(self.findings(), self.last_time)
        signals = self.signals()
        self.memory.follow(max((signal.strength for signal in signals), default=0.0))
        self._raise_or_end(signals, len(window))

    def _update(self, window: Rows, days: float) -> None:
        is_bare = not window.values.shape[1]
        features = np.full((len(window), len(self.watched)), np.nan) if is_bare else window.values[:, self._watched]
        together = np.column_stack([features, window.score])
        level = self.columns.update(together, window.time, days)
        self.sites.update(window.sites, features, level[:, :-1], window.time)
        if self.alarm is None:
            self.sites.learn_levels(window.sites, level[:, :-1])
        self.learned.update(window, days)
        self.fields.update(window, days)
        self.flagged.update(window, days)
        self.precision.remember(window)
        self._learn(window)

    def _learn(self, window: Rows) -> None:
        if (lesson := self.lesson.add(window)) is not None:
            self.learned.learn(lesson)
            self.fields.learn(lesson)
            self.flagged.learn(lesson)
            self.sites.learn()
            self.columns.thin(self.sites.alike)

    def _groups(self, least: float = -np.inf) -> list[tuple[str, int, Readings]]:
        """Return group, number of detectors in it, and readings; of sites only those with that much evidence."""
        found = [("columns", len(one := self.columns.readings()), one)]
        if self.learned.columns is not None:
            found.append(("learned", len(one := self.learned.columns.readings()), one))
        if self.columns.shapes is not None:
            one = self.columns.shapes.readings(self.sites.alike)
            found.append(("shapes", len(one), one))
        if (fields := self.fields.readings()) is not None:
            found.append(("fields", len(fields), fields))
        outcomes = (self.flagged.readings(), self.precision.readings())
        found += [("outcomes", 3, one) for one in outcomes if one is not None]
        found += [("sites", self.sites.detectors, one) for one in self.sites.readings(least)]
        return found

    def _raise_or_end(self, signals: list[Signal], rows: int) -> None:
        alarms = [signal for signal in signals if signal.is_alarm]
        if self.alarm is None and alarms and self.rows >= self.settings.warm_rows:
            self.alarm = Alarm(first_seen=min(signal.since for signal in alarms))
        if self.alarm is None:
            return
        self.alarm.hear(alarms)
        standings: dict[str, tuple[float, float]] = {}
        for _, _, readings in self._groups():
            standings |= standing(readings)
        found = self.findings(signals)
        if self.alarm.is_over(standings, found, rows, self.settings.recovery_rows):
            self._end()
        elif alarms:
            self.alarm.settle(self._verdict(found))

    def _end(self) -> None:
        self.alarm = None
        for group in (self.columns, self.fields, self.flagged, self.precision, self.sites, self.units):
            group.restart()
        if self.learned.columns is not None:
            self.learned.columns.restart()

    def _verdict(self, found: Findings) -> DriftVerdict:
        decision = find_cause(found, self.pairs, self.facts)
        served = self.served
        return DriftVerdict(
            model=served.model,
            revision=served.revision,
            version=served.version,
            bundle=served.bundle,
            cause=decision.cause,
            answer=ANSWERS[decision.cause],
            summary=decision.summary,
            evidence=decision.evidence,
            first_seen=from_micros(found.first_seen),
            at=from_micros(found.at),
            rows=found.rows,
            sites=decision.sites,
        )

    def _strengths(self) -> dict[str, float]:
        strongest: dict[str, float] = {}
        for signal in self.signals():
            if signal.subject in self.features:
                strongest[signal.subject] = max(strongest.get(signal.subject, 0.0), signal.strength)
        ordered = sorted(strongest.items(), key=lambda item: (-item[1], item[0]))
        return dict(ordered[:20])

    def snapshot(self) -> dict[str, Any]:
        """Return the state as a JSON document."""
        parts = {name: getattr(self, name).snapshot() for name in _PARTS}
        plain = {name: getattr(self, name) for name in _PLAIN}
        return {
            "version": VERSION,
            "bundle": self.served.bundle,
            **parts,
            **plain,
            "alarm": None if self.alarm is None else self.alarm.snapshot(),
            "pairs": None if self.pairs is None else self.pairs.model_dump(mode="json"),
            "facts": [fact.model_dump(mode="json") for fact in self.facts],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a snapshot of the same bundle; another one's is refused."""
        if state.get("version") != VERSION or state.get("bundle") != self.served.bundle:
            raise ContractError(
                f"the snapshot is not of {self.served.bundle} in format {VERSION}: start the watch anew"
            )
        for name in _PARTS:
            getattr(self, name).restore(state[name])
        for name in _PLAIN:
            setattr(self, name, state[name])
        if self.sites.learned:
            self.columns.thin(self.sites.alike)
        self.alarm = None if state["alarm"] is None else Alarm.restored(state["alarm"])
        self.pairs = None if state["pairs"] is None else PairCounts.model_validate(state["pairs"])
        self.facts = tuple(Fact.model_validate(fact) for fact in state["facts"])


_PARTS = ("columns", "learned", "fields", "lesson", "flagged", "precision", "sites", "units", "queue", "memory")
_PLAIN = ("rows", "windows", "last_time", "pace")


def _watched(features: tuple[str, ...], settings: WatchSettings) -> list[int]:
    """Return the places of the features that may raise an alarm."""
    unknown = sorted(set(settings.features or ()) - set(features))
    if unknown:
        raise ContractError(f"the reference has no feature {unknown[0]!r}: take it out of the watch's `features`")
    chosen = features if settings.features is None else settings.features
    return [k for k, name in enumerate(features) if name in chosen and name not in settings.ignore]


def _read_reference(table: pa.Table) -> tuple[tuple[str, ...], np.ndarray[Any, np.dtype[np.float64]], Any]:
    """Return the features' names, values with the score as the last column, and event times in microseconds."""
    lacking = {"event_time", SCORE} - set(table.column_names)
    if lacking:
        raise ContractError(f"the reference has no column {sorted(lacking)[0]!r}: write it with the bundle")
    names = tuple(name for name in table.column_names if name not in ("event_time", SCORE))
    columns = [table[name].cast(pa.float64()).to_numpy(zero_copy_only=False) for name in (*names, SCORE)]
    time = table["event_time"]
    if pa.types.is_timestamp(time.type):
        time = time.cast(pa.timestamp("us", time.type.tz)).cast(pa.int64())
    return names, np.column_stack(columns), time.cast(pa.int64()).to_numpy().astype(np.int64)
