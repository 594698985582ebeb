"""A place of serving in memory, in which a rollout is stepped tick by tick."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from vigil.contracts.keys import ContentHash, ModelVersion, hash_bytes
from vigil.monitoring.samples import LATENCY_BOUNDS, SCORE_BINS, ArmCounts, Slot
from vigil.monitoring.verdicts import ANSWERS, Cause, DriftVerdict, Evidence, State, WatchStatus
from vigil.rollout.beginning import begin
from vigil.rollout.intents import Intent, Log, Promote, RollBack, Serve, Tell
from vigil.rollout.machine import tick
from vigil.rollout.observation import LogSeen, Observation, RegistrySeen, RevisionSeen, ServingSeen
from vigil.rollout.spec import Arm, Patience, Spec, Step
from vigil.rollout.status import Act, HoldKind, Phase, Request, Status

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
SLOT = 10.0
OLD, NEW = "m-v1", "m-v2"
STEPS = tuple(Step(percent=percent, bake_seconds=60, minimum_samples=100) for percent in (0, 25, 50, 100))


def arm(version: str) -> Arm:
    return Arm(version=ModelVersion(version), bundle=hash_bytes(version.encode()), uri=f"/bundles/{version}")


def spec(**changes: Any) -> Spec:
    wanted = {
        "id": "r1",
        "model": "m",
        "candidate": arm("2"),
        "production": arm("1"),
        "steps": STEPS,
        "watch_seconds": 300,
        "patience": Patience(ready=300, evidence=600, silence=60, split=60, gap=60),
        "created": START,
        "actor": "person:ada",
        "reason": "better on June",
    }
    return Spec(**(wanted | changes))


def counts(requests: int, errors: float = 0.0, bucket: int = 5, flagged: float = 0.02) -> ArmCounts:
    """What a healthy revision does, or one that is worse in some way."""
    latency = [0] * (len(LATENCY_BOUNDS) + 1)
    latency[bucket + 1], latency[bucket + 3] = round(requests * 0.3), round(requests * 0.02)
    latency[bucket] = requests - sum(latency)
    scores = [0] * SCORE_BINS
    scores[3], scores[45] = requests - round(requests * flagged), round(requests * flagged)
    return ArmCounts(
        requests=requests,
        errors=round(requests * errors),
        latency=tuple(latency),
        scored=requests,
        flagged=round(requests * flagged),
        scores=tuple(scores),
    )


def drift(cause: Cause, version: str = "2", number: int = 1) -> WatchStatus:
    """A verdict of the watch over a version."""
    told = {"model": "m", "revision": f"m-v{version}", "version": version, "bundle": hash_bytes(version.encode())}
    verdict = DriftVerdict(
        **told,
        cause=cause,
        answer=ANSWERS[cause],
        summary=f"it drifts: {cause}",
        evidence=(Evidence(kind="score", subject="score", statement="it moved", strength=5),),
        first_seen=START + timedelta(hours=number),
        at=START + timedelta(hours=number + 1),
        rows=1000,
    )
    return WatchStatus(**told, state=State.DRIFTING, verdict=verdict, rows=1000, windows=5)


def _as_counted(arm: ArmCounts, live: bool) -> ArmCounts:
    """What a splitter knows: no scores, and of a shadow not how long it took."""
    latency = arm.latency if live else ()
    return ArmCounts(requests=arm.requests, errors=arm.errors, latency=latency)


@dataclass
class Scene:
    """What serves, what is registered, what was logged; `run` lets time go by."""

    spec: Spec = field(default_factory=spec)
    now: datetime = START
    percent: int = 0
    shadow: str = "none"
    deployed: bool = False
    ready: bool = True
    failed: str | None = None
    lacks: str | None = None
    production: str = "1"
    log: list[Act] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    watch: list[WatchStatus] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    behaviour: dict[str, Any] = field(default_factory=dict)
    """Of the candidate: arguments of `counts`."""
    load: int = 2000
    """Requests in a slot."""
    gone: set[HoldKind] = field(default_factory=set)
    strangers: dict[str, float] = field(default_factory=dict)
    can_shadow: bool = True
    obeys: bool = True
    """Whether an asked split comes into force."""
    routed: float | None = None
    """Share of the requests that the candidate really gets, if not the asked one."""
    status: Status = field(init=False)
    intents: tuple[Intent, ...] = ()
    slots: int = 0
    sent: int = 0
    """Requests of clients that the candidate has answered."""

    def __post_init__(self) -> None:
        self.status = begin(self.spec).status

    def run(self, ticks: int = 1, seconds: float = SLOT) -> "Scene":
        """Let so many ticks pass."""
        for _ in range(ticks):
            self.now += timedelta(seconds=seconds)
            self.slots += 1
            self.tick()
        return self

    def until(self, *phases: Phase, ticks: int = 400) -> "Scene":
        """Let time pass until the rollout is in one of the phases; fail if it never is."""
        for _ in range(ticks):
            if self.status.phase in phases and (not self.status.over or self.status.settled):
                return self
            self.run()
        raise AssertionError(f"it is {self.status.phase} still: {self.status.message}")

    def tick(self) -> None:
        seen, self.requests = self.observe(), []
        decision = tick(self.spec, self.status, seen, self.now)
        self.status = Status.model_validate_json(decision.status.model_dump_json())
        self.intents = decision.intents
        for intent in decision.intents:
            self.execute(intent)

    def observe(self) -> Observation:
        seen = Observation(
            serving=self.serving(),
            slots=tuple(self.observe_slots()),
            watch=tuple(self.watch),
            registry=RegistrySeen(ModelVersion(self.production), "person:eve"),
            log=LogSeen(len(self.log), None),
            requests=tuple(self.requests),
            told=frozenset(self.told),
            gone={kind: "connection refused" for kind in self.gone},
        )
        parts = {"serving": HoldKind.SERVING, "watch": HoldKind.WATCH, "registry": HoldKind.REGISTRY}
        parts["log"] = HoldKind.AUDIT
        return replace(seen, **{name: None for name, kind in parts.items() if kind in self.gone})

    def serving(self) -> ServingSeen:
        candidate = RevisionSeen(NEW, self.percent, self.ready, self.shadow == "candidate", self.failed, self.lacks)
        production = RevisionSeen(OLD, 100 - self.percent, True, self.shadow == "production")
        found = candidate if self.deployed else None
        return ServingSeen(found, production, self.strangers, self.can_shadow)

    def observe_slots(self) -> Iterable[Slot]:
        share = self.percent / 100 if self.routed is None else self.routed
        live = {NEW: round(self.load * share), OLD: self.load - round(self.load * share)}
        scored = live | ({NEW: self.load} if self.shadow == "candidate" else {})
        arms = {name: counts(some, **(self.behaviour if name == NEW else {})) for name, some in scored.items() if some}
        start = self.now.timestamp() - SLOT
        self.sent += live[NEW]
        if HoldKind.TRAFFIC not in self.gone:
            told = {name: _as_counted(one, bool(live[name])) for name, one in arms.items()}
            yield Slot(source="traffic", number=self.slots, start=start, seconds=SLOT, arms=told)
        if HoldKind.DECISIONS not in self.gone:
            plain = {
                name: one.model_copy(update={"requests": 0, "errors": 0, "latency": ()}) for name, one in arms.items()
            }
            yield Slot(source="decisions", number=self.slots, start=start, seconds=SLOT, arms=plain)

    def execute(self, intent: Intent) -> None:
        match intent:
            case Serve(wish):
                self.deployed = True
                if self.obeys and self.ready and HoldKind.SERVING not in self.gone:
                    self.percent, self.shadow = wish.percent, wish.shadow if self.can_shadow else "none"
            case Log(acts):
                self.log += [act for act in acts if act.number > len(self.log)]
            case Promote(version, expected):
                assert self.production == expected
                self.production = version
            case RollBack(expected):
                assert self.production == expected
                self.production = self.spec.production.version
            case Tell(told):
                self.told.append(told)

    def ask(self, action: str, fully: bool = False) -> None:
        """Let a person ask something."""
        number = f"q{len(self.log)}-{self.slots}"
        self.requests.append(
            Request(id=number, at=self.now, actor="person:ada", reason="because", action=action, fully=fully)  # type: ignore[arg-type]
        )

    @property
    def kinds(self) -> list[str]:
        """What was done, by the audit log."""
        return [act.kind for act in self.log]

    @property
    def holds(self) -> set[HoldKind]:
        return {hold.kind for hold in self.status.holds}


def digest(text: str) -> ContentHash:
    return hash_bytes(text.encode())
