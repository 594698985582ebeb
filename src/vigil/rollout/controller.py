"""The loop around the tick: observe, decide, keep what was decided, do it."""

import logging
import time
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from vigil.clock import Clock, system_clock
from vigil.contracts.cloud_events import CloudEvent, new_event
from vigil.errors import ContractError, Unavailable
from vigil.rollout import intents
from vigil.rollout.machine import tick
from vigil.rollout.observation import Observation
from vigil.rollout.ports import Kept, Log, Records, Sinks, Surroundings
from vigil.rollout.spec import Spec
from vigil.rollout.status import HoldKind, Record, Status
from vigil.rollout.stores import Changed

_log = logging.getLogger(__name__)

_Seen = TypeVar("_Seen")

Connect = Callable[[Spec], Surroundings]

_SOURCE = "vigil/rollout"


class Controller:
    """Runs the rollouts of all models of a home or a namespace. All it has to know is in the records."""

    def __init__(
        self, records: Records, log: Log, sinks: Sinks, connect: Connect, *, clock: Clock = system_clock
    ) -> None:
        self._records, self._log, self._sinks, self._connect, self._clock = records, log, sinks, connect, clock
        self._told: set[str] = set()
        self._refused: dict[str, dict[HoldKind, str]] = {}

    def run(
        self, seconds: float, *, is_over: Callable[[bool], bool], sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Tick every so many seconds, as the one controller, until `is_over` says so of whether any rollout goes on."""
        with self._records.locked() as keep:
            while True:
                keep()
                if is_over(self.tick_all()):
                    return
                sleep(seconds)

    def tick_all(self) -> bool:
        """Give every model a tick, and return whether any rollout is not settled."""
        running = False
        for model in self._models():
            try:
                status = self.tick(model)
            except (ContractError, Unavailable) as error:
                _log.warning("no tick", extra={"model": model, "cause": str(error)})
                running = True
            else:
                running = running or not status.settled
        return running

    def tick(self, model: str) -> Status:
        """Observe, decide, keep and do once for one model; return its status."""
        kept = self._records.load(model)
        if kept is None:
            raise ContractError(f"there is no rollout of {model}")
        spec, status = kept.record.spec, kept.record.status
        if status.settled:
            return status
        place = self._connect(spec)
        now = self._clock()
        decision = tick(spec, status, self._observe(kept.record, place), now)
        try:
            self._records.save(Record(spec=spec, status=decision.status), kept)
        except Changed:
            return status  # a person asked something meanwhile: the next tick takes it
        _tell_log(kept, decision.status)
        self._refused[model] = {}
        for intent in decision.intents:
            self._do(intent, Record(spec=spec, status=decision.status), place, now)
        return decision.status

    def has_work(self) -> bool:
        """Return whether any rollout is not settled."""
        found = [self._records.load(model) for model in self._models()]
        return any(kept is not None and not kept.record.status.settled for kept in found)

    def _models(self) -> list[str]:
        try:
            return self._records.models()
        except Unavailable as error:
            _log.warning("the records cannot be read", extra={"cause": str(error)})
            return []

    def _observe(self, record: Record, place: Surroundings) -> Observation:
        """Return what can be seen. What was refused last is told along with it."""
        spec, status = record.spec, record.status
        gone = dict(self._refused.get(spec.model, {}))
        slots = _look(gone, HoldKind.TRAFFIC, lambda: tuple(place.traffic.slots(spec, status))) or ()
        watch = None
        if spec.detector:
            after = status.cursors.get("decisions", -1)
            decided = _look(gone, HoldKind.DECISIONS, lambda: tuple(place.detector.slots(spec.model, after)))
            slots = (*slots, *(decided or ()))
            watch = _look(gone, HoldKind.WATCH, lambda: tuple(place.detector.watch(spec.model)))
        return Observation(
            serving=_look(gone, HoldKind.SERVING, lambda: place.serving.see(spec)),
            slots=slots,
            watch=watch,
            registry=_look(gone, HoldKind.REGISTRY, lambda: place.stages.production(spec.model)),
            log=_look(gone, HoldKind.AUDIT, lambda: self._log.see(spec.model)),
            requests=record.requests,
            told=frozenset(self._told),
            gone=gone,
        )

    def _do(self, intent: intents.Intent, record: Record, place: Surroundings, now: datetime) -> None:
        """Execute an intent; what is refused is tried again by the next tick, which is told why."""
        spec = record.spec
        try:
            match intent:
                case intents.Serve(wish):
                    place.serving.serve(spec, wish)
                case intents.Log(acts):
                    self._log.append(spec.model, acts)
                case intents.Promote():
                    place.stages.promote(spec.model, intent)
                case intents.RollBack():
                    place.stages.roll_back(spec.model, intent)
                case intents.Tell(told):
                    self._sinks.send(finished(record, told, now))
                    self._told.add(told)
        except (ContractError, Unavailable) as error:
            kind = _KINDS.get(type(intent))
            _log.warning("not done yet", extra={"model": spec.model, "intent": type(intent).__name__, "cause": error})
            if kind is not None:
                self._refused[spec.model][kind] = str(error)


_KINDS: dict[type, HoldKind] = {
    intents.Serve: HoldKind.SERVING,
    intents.Log: HoldKind.AUDIT,
    intents.Promote: HoldKind.REGISTRY,
    intents.RollBack: HoldKind.REGISTRY,
}


def finished(record: Record, identity: str, now: datetime) -> CloudEvent:
    """Return the CloudEvent that tells how a rollout ended."""
    spec, status = record.spec, record.status
    content = {
        "rollout": spec.id,
        "model": spec.model,
        "candidate": spec.candidate.version,
        "production": spec.production.version,
        "outcome": str(status.phase),
        "cause": status.cause,
        "served": status.served,
        "evidence": status.judgement.model_dump(mode="json") if status.judgement else None,
        "started": spec.created.isoformat(),
        "ended": status.ended.isoformat() if status.ended else None,
        "actor": spec.actor,
        "reason": spec.reason,
        "audit": {"entries": status.acts, "head": status.head},
    }
    return new_event(intents.FINISHED_EVENT, _SOURCE, content, status.ended or now, identity, spec.model)


def _look(gone: dict[HoldKind, str], kind: HoldKind, look: Callable[[], _Seen]) -> _Seen | None:
    """Return what is seen, or None and note why nothing is."""
    try:
        return look()
    except (ContractError, Unavailable) as error:
        gone[kind] = str(error)
        return None


def _tell_log(kept: Kept, status: Status) -> None:
    """Log each act once, when it is decided."""
    for act in status.outbox:
        if act.number > kept.record.status.acts:
            extra = {"model": kept.record.spec.model, "actor": act.actor, "reason": act.reason, "percent": act.percent}
            _log.info(f"rollout {act.kind}", extra=extra)
