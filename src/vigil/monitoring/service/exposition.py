"""What the service measures of itself and of the models, as Prometheus text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vigil.monitoring.service.engine import Published
from vigil.monitoring.verdicts import WatchStatus

_REVISION = ["model", "revision"]


@dataclass(frozen=True)
class Measured:
    """What the endpoint itself knows."""

    received: Mapping[tuple[str, str], int]
    """Events by type and by how they were answered."""
    queue_events: int
    lag_seconds: float
    outbox_events: int
    outbox: Mapping[str, int]


def exposition(measured: Measured, published: Published) -> bytes:
    """Return the text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All(measured, published))
    return generate_latest(registry)


class _All(Collector):
    def __init__(self, measured: Measured, published: Published) -> None:
        self._measured, self._published = measured, published

    def collect(self) -> Iterator[Metric]:
        yield from _of_service(self._measured, self._published)
        rows = CounterMetricFamily("vigil_monitor_decisions", "Decisions seen", labels=[*_REVISION, "traffic"])
        for labels, count in self._published.rows.items():
            rows.add_metric(labels, count)
        yield rows
        yield from _of_watches(self._published.statuses)


def _of_service(measured: Measured, published: Published) -> Iterator[Metric]:
    events = CounterMetricFamily("vigil_monitor_events", "Events by type and answer", labels=["type", "outcome"])
    for labels, count in measured.received.items():
        events.add_metric(labels, count)
    yield events
    outcomes = CounterMetricFamily("vigil_monitor_outcomes", "What became of accepted events", labels=["outcome"])
    for name, count in published.counts.items():
        if name != "waiting":
            outcomes.add_metric([name], count)
    yield outcomes
    sent = CounterMetricFamily("vigil_monitor_sent", "Events of ours by outcome", labels=["outcome"])
    for name, count in measured.outbox.items():
        sent.add_metric([name], count)
    yield sent
    gauges = {
        "queue_events": ("Events that wait to be worked off", measured.queue_events),
        "lag_seconds": ("Age of the oldest event that waits", measured.lag_seconds),
        "unpaired_events": ("Requests and answers that wait for each other", published.counts.get("waiting", 0)),
        "outbox_events": ("Events of ours that wait for a sink", measured.outbox_events),
    }
    for name, (text, value) in gauges.items():
        yield GaugeMetricFamily(f"vigil_monitor_{name}", text, value=value)


def _of_watches(statuses: tuple[WatchStatus, ...]) -> Iterator[Metric]:
    windows = CounterMetricFamily("vigil_monitor_windows", "Windows judged", labels=_REVISION)
    states = GaugeMetricFamily("vigil_monitor_state", "1 for the state of the watch", labels=[*_REVISION, "state"])
    drift = GaugeMetricFamily(
        "vigil_monitor_drift_strength",
        "log10 of the strongest evidence of the drift that is told",
        labels=[*_REVISION, "cause"],
    )
    rates = GaugeMetricFamily("vigil_monitor_anomaly_rate", "Share flagged in the last window", labels=_REVISION)
    precisions = GaugeMetricFamily("vigil_monitor_precision", "Of matured verdicts", labels=_REVISION)
    marks = GaugeMetricFamily("vigil_monitor_watermark_seconds", "Event time judged, since 1970", labels=_REVISION)
    for one in statuses:
        names = [one.model, one.revision]
        windows.add_metric(names, one.windows)
        states.add_metric([*names, one.state], 1)
        if one.verdict is not None:
            drift.add_metric([*names, one.verdict.cause], max(found.strength for found in one.verdict.evidence))
        if one.anomaly_rate is not None:
            rates.add_metric(names, one.anomaly_rate)
        if one.precision is not None:
            precisions.add_metric(names, one.precision)
        if one.watermark is not None:
            marks.add_metric(names, one.watermark.timestamp())
    yield from (windows, states, drift, rates, precisions, marks)
