"""The second half of the demo: versions that come and go, and a world that changes, each with its evidence."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.live import Live

from vigil.clock import HOUR, to_micros
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.demo.business import Business
from vigil.demo.candidates import ACTOR, with_new_thresholds, with_wrong_threshold
from vigil.demo.screen import Screen
from vigil.demo.sink import USE_CASE, rerun_sink, write_rules
from vigil.demo.world import DRIFT_DAY, LIVE_DAYS, MENDED_DAY, UNIT_DAY, UNIT_SITE
from vigil.errors import ContractError
from vigil.evaluation.rows import ScoredRows
from vigil.monitoring.verdicts import Answer, Cause, DriftVerdict
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import open_store
from vigil.rerun.opening import open_journal
from vigil.rerun.records import Rerun
from vigil.rollout.connecting import local_site
from vigil.rollout.evidence import EvidenceSettings, Tolerance
from vigil.rollout.http import DetectorClient
from vigil.rollout.opening import Order, Plan, start
from vigil.rollout.status import Phase, Record
from vigil.rollout.view import detail
from vigil.runtime.client import RuntimeClient
from vigil.settings import Settings
from vigil.usecase import UseCase

_TOLERANT = EvidenceSettings(
    errors=Tolerance(ratio=1.25, margin=0.02),
    latency=Tolerance(ratio=1.1, margin=0.15),
    flag_rate=Tolerance(ratio=1.5, margin=0.03),
    scores=Tolerance(ratio=1.25, margin=0.1),
)
PLAN = Plan(
    steps=(0, 50, 100),
    bake_seconds=5,
    minimum_samples=150,
    watch_seconds=5,
    cool_down_seconds=0,
    evidence=_TOLERANT,
)
"""A rollout of minutes: fewer steps and wider tolerances than the default, which takes hours and watches for a week."""

_Found = TypeVar("_Found")

_MARGIN = 0.06
"""Loss of average precision that the gate `production` lets a retrained model have: the frauds of the two weeks that it
is measured on come from before the drift, and tell no smaller difference."""
_BEAT = 0.5
_A_BEAT = 40
"""Seconds between two looks, and deliveries in them."""
_LAG_SECONDS = 30.0
_RUN_SECONDS = 900.0


@dataclass(frozen=True)
class Scene:
    """Everything that the acts happen in."""

    settings: Settings
    screen: Screen
    business: Business
    use_case: UseCase
    raw: Path
    day: Callable[[float], int]
    """The time (microseconds) so many days after the first live one."""
    data_end: int
    """Time of the last transaction that there is (microseconds)."""
    sink_port: int

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.use_case.name

    @property
    def registry(self) -> Registry:
        """Where versions are kept."""
        return Registry(open_store(self.settings.store_uri))


def play(scene: Scene, first_version: str, live: ScoredRows) -> None:
    """Show the four acts; raise ContractError where one does not end as it should."""
    approve_first(scene, first_version)
    write_rules(scene.settings, scene.model, scene.raw, PLAN.model_dump(mode="json", exclude_none=True))
    with rerun_sink(scene.settings, scene.sink_port):
        good_candidate(scene, live)
        bad_candidate(scene, live)
        broken_unit(scene)
        moved_population(scene)


def approve_first(scene: Scene, version: str) -> None:
    """Make the version that serves the one in production: a rollout compares with it."""
    model, number = ModelName(scene.model), ModelVersion(version)
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        reason = "the first model: its gates passed, and its served decisions equal the offline ones"
        scene.registry.promote(model, number, stage, expected_production=None, actor=ACTOR, reason=reason)


def good_candidate(scene: Scene, live: ScoredRows) -> None:
    """Roll a good version out."""
    scene.screen.chapter("A good candidate takes over by itself")
    version = with_new_thresholds(scene.registry, scene.model, live)
    scene.screen.say(
        f"Version {version}: the same members, thresholds set anew on the live scores so far. It is sent copies of the "
        "requests first, then half of the traffic, then all, and each step has to be earned."
    )
    record = _roll_out(scene, version, "thresholds of this week", UNIT_DAY - 1.5)
    _expect(record, Phase.SUCCEEDED)
    scene.screen.say(f"Version {version} is in production: {record.status.message}", "bold green")


def bad_candidate(scene: Scene, live: ScoredRows) -> None:
    """Let a bad version be rolled back."""
    scene.screen.chapter("A bad candidate is stopped by itself")
    version = with_wrong_threshold(scene.registry, scene.model, live)
    scene.screen.say(f"Version {version}: somebody typed in a threshold that flags a fifth of all transactions.")
    record = _roll_out(scene, version, "fewer frauds missed", UNIT_DAY)
    _expect(record, Phase.ROLLED_BACK)
    served = record.status.served
    scene.screen.say(f"Rolled back: {record.status.cause}", "bold red")
    scene.screen.say(f"Clients saw {served:,} answers of version {version}.")


def broken_unit(scene: Scene) -> None:
    """Let the tills of a site report cents, and have it held and named."""
    scene.screen.chapter("The data break: the tills of one site report cents")
    with scene.screen.work("Ordinary days go by"):
        scene.business.trade_until(scene.day(UNIT_DAY), lambda: False)
    serving = _version(scene)
    verdict = _await_verdict(scene, MENDED_DAY, f"From now on {UNIT_SITE} sends cents")
    scene.screen.verdict(verdict)
    if verdict.cause is not Cause.DATA_BROKEN or UNIT_SITE not in verdict.sites:
        raise ContractError(f"{UNIT_SITE} sends cents, but the cause was taken for {verdict.cause}: {verdict.summary}")
    told = _await_rerun(scene, verdict.id)
    if told.run is not None or _version(scene) != serving:
        raise ContractError("broken data led to a run or to another version: they must not")
    scene.screen.say(f"Held: version {serving} serves on, and the rerun sink says: {told.why}", "bold")


def moved_population(scene: Scene) -> None:
    """Let all customers buy dearer goods, and have a model trained and rolled out because of it."""
    scene.screen.chapter("The population moves: prices rise everywhere, and customers buy dearer goods")
    with scene.screen.work("The tills are mended, and ordinary days go by"):
        scene.business.trade_until(scene.day(DRIFT_DAY), lambda: False)
    verdict = _await_verdict(scene, DRIFT_DAY + 2, "Prices rise", lambda: _learn_until_now(scene))
    scene.screen.verdict(verdict)
    if verdict.answer is not Answer.RERUN:
        raise ContractError(f"the population moved, but the cause was taken for {verdict.cause}: {verdict.summary}")
    version = _await_version(scene, _await_rerun(scene, verdict.id))
    record = _follow(scene, version, LIVE_DAYS - 0.1)
    _expect(record, Phase.SUCCEEDED)
    scene.screen.say(f"Version {version}, trained because of the drift, is in production.", "bold green")


def _roll_out(scene: Scene, version: str, reason: str, until: float) -> Record:
    site = local_site(scene.settings)
    start(Order(scene.model, version, ACTOR, reason), PLAN, site.desk())
    if site.ensure_controller is not None:
        site.ensure_controller()
    return _follow(scene, version, until)


def _follow(scene: Scene, version: str, until: float) -> Record:
    """Show the rollout until it is over, and send live traffic meanwhile, at most up to a day of the story."""
    site = local_site(scene.settings)
    with Live(console=scene.screen.console, refresh_per_second=4) as show:
        while True:
            began = time.monotonic()
            kept = site.records.load(scene.model)
            if kept is not None and kept.record.spec.candidate.version == version:
                show.update(detail(kept.record))
                if kept.record.status.over:
                    break
            if scene.business.now < scene.day(until):
                scene.business.trade(_A_BEAT)
            time.sleep(max(0.0, _BEAT - (time.monotonic() - began)))
    scene.screen.end_live()
    return kept.record


def _expect(record: Record, phase: Phase) -> None:
    status = record.status
    if status.phase is not phase:
        raise ContractError(f"the rollout should have {phase}, but it {status.phase}: {status.cause or status.message}")


def _version(scene: Scene) -> ModelVersion | None:
    return scene.registry.state(ModelName(scene.model)).production


def _await(look: Callable[[], _Found | None], seconds: float, complaint: str) -> _Found:
    """Return what `look` finds in time, or raise ContractError."""
    limit = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > limit:
            raise ContractError(complaint)
        time.sleep(_BEAT)
    return found


def _await_verdict(
    scene: Scene, until: float, title: str, meanwhile: Callable[[], None] = lambda: None
) -> DriftVerdict:
    """Send live traffic until the watch over the version in production is sure of a change."""
    status = RuntimeClient(scene.settings).status()
    if status.monitor is None:
        raise ContractError("the runtime has no detector service")
    detector = DetectorClient(lambda: status.monitor.url if status.monitor else "")
    version = _version(scene)
    found: list[DriftVerdict] = []

    def look() -> bool:
        meanwhile()
        told = (watch.verdict for watch in detector.watch(scene.model) if watch.version == version)
        found.extend(verdict for verdict in told if verdict is not None and to_micros(verdict.at) > began)
        return bool(found)

    began = scene.business.now
    meanwhile()
    with scene.screen.work(title):
        scene.business.trade_until(scene.day(until), look)
        complaint = "the watch has not seen the change: `vigil monitor status` shows what it sees"
        _await(lambda: bool(found) or look(), _LAG_SECONDS, complaint)
    return found[-1]


def _await_rerun(scene: Scene, event: str) -> Rerun:
    """Return what the rerun sink has decided about a verdict."""
    journal = open_journal(scene.settings)
    log = scene.settings.home / "rerun.log"
    return _await(lambda: journal.find(event), _LAG_SECONDS, f"the rerun sink was not told of {event}: see {log}")


def _learn_until_now(scene: Scene) -> None:
    """Let a run that starts now see everything up to now."""
    hours = max(0.0, (scene.data_end - scene.business.now) / HOUR)
    split = scene.use_case.split.model_copy(update={"hold_back_hours": hours})
    checks = scene.use_case.checks.model_copy(update={"ablation_rows": 0})
    gates = scene.use_case.gate_config
    if gates.production is not None:
        gates = gates.model_copy(update={"production": gates.production.model_copy(update={"margin": _MARGIN})})
    now = scene.use_case.model_copy(update={"split": split, "checks": checks, "gates": gates})
    (scene.settings.home / USE_CASE).write_text(now.text, encoding="utf-8")


def _await_version(scene: Scene, rerun: Rerun) -> str:
    """Return the version that the run of an event has registered."""
    if rerun.run is None:
        raise ContractError(f"no run was started: {rerun.why}")
    scene.screen.say(f"{rerun.run}: the retraining pipeline runs, because {rerun.asked.summary}")
    scene.screen.say(
        f"Its gates are those of the first run, but a loss of {_MARGIN:g} average precision against production is let "
        "pass: it is measured on verdicts from before the drift.",
        "dim",
    )
    journal, event = open_journal(scene.settings), rerun.asked.event_id

    def ended() -> Rerun | None:
        now = journal.find(event)
        return None if now is None or now.is_open else now

    with scene.screen.work("Retraining on everything up to now"):
        found = _await(ended, _RUN_SECONDS, f"{rerun.run} takes too long: `vigil rerun show {event}`")
    if found.outcome is None or found.outcome.version is None:
        reason = found.outcome.reason if found.outcome else found.trouble
        raise ContractError(f"{rerun.run} brought no version: {reason}")
    scene.screen.say(f"It passed its gates and is version {found.outcome.version}; {found.outcome.followed_by}")
    return found.outcome.version
