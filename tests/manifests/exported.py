"""What the components really export: each is made, driven a little, and its metrics are read."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tests.alerts.office import Office, finding, told
from tests.rollout.scene import START, spec
from vigil.alerts.metrics import AlertMetrics
from vigil.clock import ManualClock
from vigil.decisions.archive import DecisionArchive
from vigil.decisions.log import DecisionLog, LogSettings
from vigil.features.store.memory import MemoryStore
from vigil.features.store.metrics import export_metrics
from vigil.monitoring.service.engine import Published
from vigil.monitoring.service.exposition import Measured, exposition
from vigil.monitoring.service.pairing import REQUEST
from vigil.monitoring.verdicts import ANSWERS, Cause, DriftVerdict, Evidence, State, WatchStatus
from vigil.registry.store import FolderStore
from vigil.rerun.journal import Journal
from vigil.rerun.metrics import RerunMetrics
from vigil.rerun.opening import open_launcher
from vigil.rerun.records import Asked
from vigil.rerun.settings import LauncherKind, RerunSettings
from vigil.rerun.worker import Desk, Worker
from vigil.rollout.evidence import Judgement, Samples, Verdict
from vigil.rollout.metrics import RolloutMetrics
from vigil.rollout.status import Counted, Hold, HoldKind, Phase, Record, Status, Wish
from vigil.serving.metrics import Metrics
from vigil.serving.sites.counts import Counts
from vigil.settings import Settings

REVISION = "card-fraud-predictor-00001"


def all_families(folder: Path) -> dict[str, list[Metric]]:
    """Return the families of metrics by the component that exports them."""
    return {
        "serving": list(_transformer()),
        "predictors": list(_predictor(folder / "log")),
        "sites": list(_sites()),
        "detector": list(text_string_to_metric_families(exposition(*_detector()).decode())),
        "controller": list(_controller()),
        "rerun": list(_rerun(folder / "rerun")),
        "alerts": list(_alerts(folder / "alerts")),
    }


def labels_by_name(folder: Path) -> dict[str, set[str]]:
    """Return the labels of each series by the name that a query uses."""
    found: dict[str, set[str]] = {}
    for families in all_families(folder).values():
        for sample in (sample for family in families for sample in family.samples):
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _transformer() -> Iterator[Metric]:
    registry = CollectorRegistry()
    _asked(Metrics(REVISION, registry))
    store = MemoryStore()
    export_metrics({"cache": store}, registry)
    yield from registry.collect()


def _asked(metrics: Metrics) -> None:
    metrics.ready(True)
    metrics.enter()
    metrics.leave()
    metrics.answered("v1", "predict", "200", "ok", 0.003)
    metrics.rows("v1", "predict", 1)
    metrics.stage("features", 0.001)


def _predictor(folder: Path) -> Iterator[Metric]:
    registry = CollectorRegistry()
    metrics = Metrics(REVISION, registry)
    _asked(metrics)
    metrics.decided("allow", "low")
    log = DecisionLog(LogSettings(folder=folder, revision=REVISION))
    metrics.watch_log(log)
    yield from list(registry.collect())
    log.close()
    archive = DecisionArchive(folder, FolderStore(folder / "archive"))
    registry = CollectorRegistry()
    Metrics(REVISION, registry).watch_archive(archive)
    yield from list(registry.collect())
    archive.close()


def _sites() -> Iterator[Metric]:
    registry = CollectorRegistry()
    counts = Counts(REVISION, registry)
    counts.reading("site", "ok")
    counts.finding("dip")
    counts.sent("taken")
    counts.shards(1, 1)
    yield from registry.collect()


def _detector() -> tuple[Measured, Published]:
    drift = DriftVerdict(
        model="card_fraud",
        revision=REVISION,
        version="1",
        bundle="sha256:1",
        cause=Cause.POPULATION_MOVED,
        answer=ANSWERS[Cause.POPULATION_MOVED],
        summary="customers buy more",
        evidence=(Evidence(kind="feature", subject="amount", statement="twice as high", strength=7.0),),
        first_seen=START,
        at=START,
        rows=100,
    )
    status = WatchStatus(
        model="card_fraud",
        revision=REVISION,
        version="1",
        bundle="sha256:1",
        state=State.DRIFTING,
        verdict=drift,
        rows=100,
        windows=4,
        watermark=START,
        anomaly_rate=0.02,
        precision=0.6,
    )
    measured = Measured({(REQUEST, "accepted"): 3}, 0, 0.0, 0, {"delivered": 1})
    return measured, Published(
        (status,), counts={"unwatched_unknown_bundle": 1}, rows={("card_fraud", REVISION, "live"): 3}
    )


def _controller() -> Iterator[Metric]:
    judged = Judgement(verdict=Verdict.FINE, statement="no worse", signals={}, samples=Samples())
    status = Status(
        phase=Phase.CANARY,
        since=START,
        wish=Wish(percent=25),
        observed=25,
        counted=Counted(candidate=10, production=30),
        holds=(Hold(kind=HoldKind.TRAFFIC, text="no counts"),),
        judgement=judged,
        silence={HoldKind.TRAFFIC: 130.0},
        acts=2,
    )
    metrics = RolloutMetrics()
    metrics.tick([Record(spec=spec(), status=status)], datetime(2026, 1, 5, tzinfo=UTC).timestamp())
    yield from _scraped(metrics)


def _rerun(folder: Path) -> Iterator[Metric]:
    told_to_rerun = RerunSettings(launcher=LauncherKind.LOCAL)
    journal = Journal(folder)
    desk = Desk(journal, told_to_rerun, ManualClock(START))
    desk.take(Asked(event_id="e1", model="card_fraud", summary="drift", started_by="person:ada"))
    settings = Settings(home=folder)
    yield from _scraped(RerunMetrics(journal, Worker(journal, told_to_rerun, open_launcher(settings, told_to_rerun))))


def _alerts(folder: Path) -> Iterator[Metric]:
    office = Office(folder, told())
    office.take(finding())
    office.clock.advance(timedelta(minutes=5))
    office.rounds.step()
    yield from _scraped(AlertMetrics(office.journal, office.clock))


def _scraped(collector: Collector) -> Iterator[Metric]:
    """Yield what Prometheus reads in the text."""
    registry = CollectorRegistry()
    registry.register(collector)
    yield from text_string_to_metric_families(generate_latest(registry).decode())
