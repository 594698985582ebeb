"""The watches over all served revisions: rows go in by revision, changes of mind come out as events."""

import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from vigil.clock import SECOND, Clock
from vigil.contracts.cloud_events import CloudEvent, new_event
from vigil.errors import ContractError, VigilError
from vigil.monitoring.cause import Fact
from vigil.monitoring.samples import LabelBatch, PairCounts, ScoredBatch, Served
from vigil.monitoring.service.bundles import Bundles, KnownBundle
from vigil.monitoring.service.payloads import FIELDS, Judgement, Row, Silence
from vigil.monitoring.service.port import MakeWatch, WatchOver
from vigil.monitoring.service.settings import ServiceSettings
from vigil.monitoring.verdicts import DRIFT_ENDED_EVENT, DRIFT_EVENT, DriftVerdict, State, WatchStatus

_log = logging.getLogger(__name__)
SOURCE = "vigil/monitor"
_UNDRAWN = (VigilError, ImportError, OSError, ValueError, ArithmeticError, RuntimeError)
"""Why a picture may not come about; the verdict is told without it."""


@dataclass(eq=False)
class _Watched:
    watch: WatchOver
    told: DriftVerdict | None = None
    """The change that sinks have been told of and that has not ended."""
    event_time: int = 0
    """Of the latest decision, in microseconds."""
    arrived: float = 0.0
    """When that came."""


class Watches:
    """The watches, by what is served. `counts` holds the rows that could not be watched, by reason.

    A shadow that gets traffic is watched on: it is the same model over the same kind of events.
    """

    def __init__(self, settings: ServiceSettings, bundles: Bundles, make: MakeWatch, clock: Clock, plots: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._settings, self._bundles, self._make, self._clock = settings, bundles, make, clock
        self._plots = plots
        self._watched: OrderedDict[Served, _Watched] = OrderedDict()
        self._left: dict[str, dict[str, Any]] = {}
        """States of a service before this one, by key, until their revision is served again."""
        self._ended: list[CloudEvent] = []
        """Of watches that were dropped since the last review."""
        self._facts: dict[str, dict[tuple[str, str], tuple[float, Fact]]] = {}
        """Silent feeds by model, site and metric, and when they were told."""

    def names(self, served: Served) -> tuple[str, ...]:
        """Return the names of the features, empty while the bundle is unknown."""
        known = self._bundles.find(served.bundle, self._now())
        return known.names if known is not None and known.schema == served.feature_schema else ()

    def take(self, served: Served, rows: Sequence[Row]) -> None:
        """Hand rows to the watch of their revision."""
        known = self._bundles.find(served.bundle, self._now())
        if known is None:
            self.counts["unknown_bundle"] += len(rows)
            return
        if known.schema != served.feature_schema:
            self.counts["wrong_schema"] += len(rows)
            return
        try:
            watched = self._of(replace(served, shadow=False), known)
            watched.watch.add(scored_batch(served, rows, known.names))
        except ContractError as error:
            self.counts["refused"] += len(rows)
            _log.warning("decisions not watched", extra={"revision": served.revision, "cause": str(error)})
            return
        watched.event_time = max(watched.event_time, *(row.event_time for row in rows))
        watched.arrived = self._now()

    def advance(self) -> None:
        """Let event time pass for every revision as the clock does since its last decision."""
        for watched in self._watched.values():
            if watched.event_time:
                elapsed = max(self._now() - watched.arrived, 0.0)
                watched.watch.advance(watched.event_time + int(elapsed * SECOND))

    def compare(self, model: str, pairs: Mapping[str, PairCounts]) -> None:
        """Tell the watches of a model how an earlier version judged the same events; `pairs` are by `ONE|OTHER`.

        A later one says nothing of a version: it may be a bad candidate that was rolled back.
        """
        versions = {one.revision: one.version for one in self._watched if one.model == model}
        for served, watched in self._watched.items():
            if served.model == model:
                before = f"{served.revision}|"
                others = {
                    name.removeprefix(before): counts for name, counts in pairs.items() if name.startswith(before)
                }
                own = [
                    counts for other, counts in others.items() if not _is_later(versions.get(other, ""), served.version)
                ]
                watched.watch.compare(max(own, key=lambda counts: counts.pairs, default=None))

    def note(self, model: str, silences: Sequence[Silence]) -> None:
        """Tell the watches of a model which feeds are silent; each is remembered for a while."""
        now, facts = self._now(), self._facts.setdefault(model, {})
        for silence in silences:
            hours = silence.seconds / 3600
            statement = f"nothing came from {silence.metric} of {silence.site} for {hours:.1f} hours"
            fact = Fact(kind="silent", subject=silence.metric, statement=statement, site=silence.site)
            facts[silence.site, silence.metric] = (now, fact)
        oldest = now - 3600 * self._settings.silence_hours
        self._facts[model] = {key: told for key, told in facts.items() if told[0] >= oldest}
        for served, watched in self._watched.items():
            if served.model == model:
                watched.watch.note(self._noted(model))

    def labels(self, model: str, judgements: Sequence[Judgement]) -> None:
        """Hand verdicts to all watches of a model."""
        batch = LabelBatch(
            model=model,
            event_ids=[judgement.event_id for judgement in judgements],
            known_at=np.array([judgement.known_at for judgement in judgements], dtype=np.int64),
            is_fraud=np.array([judgement.is_fraud for judgement in judgements], dtype=np.bool_),
        )
        for served, watched in self._watched.items():
            if served.model == model:
                watched.watch.add_labels(batch)

    def review(self) -> tuple[list[WatchStatus], list[CloudEvent]]:
        """Return how the revisions stand, and an event for each change that began or ended since the last review."""
        self._forget()
        statuses, events, self._ended = [], self._ended, []
        for served in sorted(self._watched, key=lambda served: (served.model, served.revision)):
            watched = self._watched[served]
            status = watched.watch.status()
            verdict = status.verdict if status.state is State.DRIFTING else None
            if verdict is not None and (watched.told is None or watched.told.id != verdict.id):
                watched.told = self._drawn(watched.watch, verdict)
                events.append(self._event(DRIFT_EVENT, watched.told, verdict.id))
            elif watched.told is not None and status.state is State.STEADY:
                events.append(self._event(DRIFT_ENDED_EVENT, watched.told, f"{watched.told.id}-ended"))
                watched.told = None
            if verdict is not None and watched.told is not None:
                verdict = verdict.model_copy(update={"plot": watched.told.plot})
                status = status.model_copy(update={"verdict": verdict})
            statuses.append(status)
        return statuses, events

    def _drawn(self, watch: WatchOver, verdict: DriftVerdict) -> DriftVerdict:
        """Return the verdict with a picture of its evidence; without one if none can be drawn."""
        path = self._plots / f"{verdict.id}.png"
        try:
            is_drawn = watch.draw(path)
        except _UNDRAWN as error:
            _log.warning("evidence not drawn", extra={"verdict": verdict.id, "cause": str(error)})
            return verdict
        return verdict.model_copy(update={"plot": str(path)}) if is_drawn else verdict

    def _forget(self) -> None:
        """Watch no more what is served no more."""
        oldest = self._now() - 3600 * self._settings.forgotten_hours
        for served in [served for served, watched in self._watched.items() if watched.arrived < oldest]:
            self._drop(served)

    def state(self) -> dict[str, Any]:
        """Return everything that is needed to go on."""
        now = {
            _key(served): {
                "watch": watched.watch.snapshot(),
                "told": watched.told.model_dump(mode="json") if watched.told else None,
                "event_time": watched.event_time,
                "arrived": watched.arrived,
            }
            for served, watched in self._watched.items()
        }
        return {**self._left, **now}

    def restore(self, state: Mapping[str, dict[str, Any]]) -> None:
        """Go on from a state. A revision whose bundle is unknown now takes up its own when it is served again."""
        self._left = dict(list(state.items())[-self._settings.watched_revisions :])
        for key in list(self._left):
            served = Served(*orjson.loads(key))
            if (known := self._bundles.find(served.bundle, self._now())) is not None:
                try:
                    self._of(served, known)
                except ContractError as error:
                    _log.warning("not watched", extra={"revision": served.revision, "cause": str(error)})

    def _of(self, served: Served, known: KnownBundle) -> _Watched:
        if served in self._watched:
            self._watched.move_to_end(served)
            return self._watched[served]
        made = self._make(served, known.bundle, self._settings.watch_of(served.model))
        watched = _Watched(made, arrived=self._now())
        if (left := self._left.pop(_key(served), None)) is not None:
            self._take_up(watched, left, served)
        if facts := self._noted(served.model):
            watched.watch.note(facts)
        for other in [one for one in self._watched if (one.model, one.revision) == (served.model, served.revision)]:
            self._drop(other)  # a name that was given to another bundle
        self._watched[served] = watched
        if len(self._watched) > self._settings.watched_revisions:
            self._drop(next(iter(self._watched)))
        return watched

    def _drop(self, served: Served) -> None:
        """Watch a revision no more, and tell that its change has ended."""
        if (verdict := self._watched.pop(served).told) is not None:
            self._ended.append(self._event(DRIFT_ENDED_EVENT, verdict, f"{verdict.id}-ended"))

    def _noted(self, model: str) -> list[Fact]:
        return [fact for _, fact in self._facts.get(model, {}).values()]

    @staticmethod
    def _take_up(watched: _Watched, left: dict[str, Any], served: Served) -> None:
        try:
            watched.watch.restore(left["watch"])
            watched.told = None if left["told"] is None else DriftVerdict.model_validate(left["told"])
            watched.event_time, watched.arrived = left["event_time"], left["arrived"]
        except (ContractError, ValueError, KeyError) as error:
            _log.warning("a watch begins anew", extra={"revision": served.revision, "cause": str(error)})

    def _event(self, kind: str, verdict: DriftVerdict, identity: str) -> CloudEvent:
        return new_event(kind, SOURCE, verdict.model_dump(mode="json"), self._clock(), identity, verdict.model)

    def _now(self) -> float:
        return self._clock().timestamp()


def _key(served: Served) -> str:
    return orjson.dumps(astuple(served)).decode()


def scored_batch(served: Served, rows: Sequence[Row], names: tuple[str, ...]) -> ScoredBatch:
    """Return the rows as columns; vectors only if all of them have one of the right length."""
    whole = all(row.vector is not None and len(row.vector) == 4 * len(names) for row in rows)
    values = np.frombuffer(b"".join(row.vector or b"" for row in rows), dtype="<f4") if whole else np.empty(0, "<f4")
    return ScoredBatch(
        served=served,
        event_ids=[row.event_id for row in rows],
        event_time=np.array([row.event_time for row in rows], dtype=np.int64),
        sites=[row.site for row in rows],
        names=names if whole else (),
        values=values.astype(np.float32).reshape(len(rows), -1 if whole else 0),
        fields={name: [row.fields.get(name) for row in rows] for name in FIELDS},
        score=np.array([row.score for row in rows], dtype=np.float64),
        levels={
            name: np.array([row.levels[name] for row in rows], dtype=np.float64)
            for name in rows[0].levels
            if all(name in row.levels for row in rows)
        },
        flagged=np.array([row.flagged for row in rows], dtype=np.bool_),
    )


def _is_later(version: str, than: str) -> bool:
    return version.isdigit() and than.isdigit() and int(version) > int(than)
