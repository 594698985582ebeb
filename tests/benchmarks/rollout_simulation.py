"""A rollout from its first mirrored request to the end of its watch: the real machine, a simulated place of serving."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache

from tests.benchmarks.rollout_traces import CANDIDATE, HOUR, PRODUCTION, START, Kind, Split, Trace
from vigil.contracts.keys import ContentHash, ModelVersion, hash_json
from vigil.monitoring.samples import Slot
from vigil.rollout.beginning import begin
from vigil.rollout.evidence import Verdict
from vigil.rollout.intents import Intent, Log, Promote, RollBack, Serve, Tell
from vigil.rollout.machine import tick
from vigil.rollout.observation import LogSeen, Observation, RegistrySeen, RevisionSeen, ServingSeen
from vigil.rollout.spec import Arm, Patience, Spec
from vigil.rollout.status import Phase, Status

LONGEST_STEP = 24 * HOUR
"""A step that lasts longer is left to a person."""

SLOT_SECONDS = 30.0
WATCH_SLOTS = ((30 * HOUR, 0.5 * HOUR), (float("inf"), 6 * HOUR))
"""Until when, and how long the slots of the watch are: few verdicts come late."""

_HASH = hash_json("log")


@dataclass(frozen=True)
class Ending:
    """How a rollout ended."""

    kind: Kind
    seed: int
    phase: Phase
    signals: tuple[str, ...]
    """Those that spoke against the candidate."""
    seconds: float
    """From the start."""
    exposed_seconds: float
    """From the first answer of the candidate to a client to the moment when production has all traffic again."""
    served: int
    """Answers of the candidate to clients."""
    where: Phase
    """The phase that it was in before the rollback, or at its end."""


@dataclass
class Place:
    """What serves, holds the registry and keeps the log: every intent is executed at once."""

    mirrors: bool = True
    """Whether requests can be mirrored, as on the local runtime; KServe cannot."""
    split: Split = field(default_factory=lambda: Split(0))
    production: str = "1"
    logged: int = 0
    told: set[str] = field(default_factory=set)

    def seen(self, slots: list[Slot]) -> Observation:
        """Return what a controller observes."""
        percent, shadow = self.split.percent, self.split.shadow
        return Observation(
            serving=ServingSeen(
                candidate=RevisionSeen(CANDIDATE, percent, ready=True, shadow=shadow == "candidate"),
                production=RevisionSeen(PRODUCTION, 100 - percent, ready=True, shadow=shadow == "production"),
                can_shadow=self.mirrors,
            ),
            slots=tuple(slots),
            watch=(),
            registry=RegistrySeen(ModelVersion(self.production)),
            log=LogSeen(self.logged, _HASH if self.logged else None),
            told=frozenset(self.told),
        )

    def execute(self, intent: Intent) -> None:
        """Do what the machine wants."""
        match intent:
            case Serve(wish):
                self.split = Split(wish.percent, wish.shadow if self.mirrors else "none")
            case Log(acts):
                self.logged = acts[-1].number
            case Promote(version):
                self.production = version
            case RollBack():
                self.production = "1"
            case Tell(told):
                self.told.add(told)


@cache
def spec() -> Spec:
    """Return a rollout with every default but the patience, which allows the long slots of the watch."""
    return Spec(
        id="simulated",
        model="m",
        candidate=_arm("2"),
        production=_arm("1"),
        patience=Patience(gap=7 * HOUR, silence=12 * HOUR, split=12 * HOUR),
        created=datetime.fromtimestamp(START, UTC),
        actor="person:simulation",
        reason="benchmark",
    )


def _arm(version: str) -> Arm:
    return Arm(version=ModelVersion(version), bundle=ContentHash(hash_json(version)), uri=f"file:///m/{version}")


def _is_stuck(status: Status, now: float) -> bool:
    return status.phase is not Phase.WATCHING and now - status.since.timestamp() > LONGEST_STEP


def _slot_seconds(status: Status, now: float) -> float:
    if status.phase is not Phase.WATCHING:
        return SLOT_SECONDS
    return next(seconds for until, seconds in WATCH_SLOTS if now - START < until)


def roll_out(trace: Trace, mirrors: bool = True) -> Ending:
    """Return the ending of a rollout over the trace."""
    wanted, place = spec(), Place(mirrors)
    status = begin(wanted).status
    now, exposed, served, number = START, None, 0, int(START // SLOT_SECONDS)
    where = status.phase
    while not status.over and not _is_stuck(status, now):
        seconds = _slot_seconds(status, now)
        slots = trace.slot(int(now // SLOT_SECONDS), now, seconds, place.split)
        answers = slots[0].arms[CANDIDATE].requests if place.split.percent and CANDIDATE in slots[0].arms else 0
        exposed = now if answers and exposed is None else exposed
        served, now, number = served + answers, now + seconds, number + 1
        if status.phase is not Phase.ROLLING_BACK:
            where = status.phase
        decision = tick(wanted, status, place.seen(slots), datetime.fromtimestamp(now, UTC))
        status = decision.status
        for intent in decision.intents:
            place.execute(intent)
    blamed = (
        {test.signal for test in status.judgement.tests if test.verdict is Verdict.WORSE} if status.judgement else ()
    )
    return Ending(
        kind=trace.kind,
        seed=trace.seed,
        phase=status.phase,
        signals=tuple(sorted(blamed)),
        seconds=now - START,
        exposed_seconds=now - exposed if exposed else 0.0,
        served=served,
        where=where,
    )
