"""What the splitter has served, by revision: the numbers of `vigil status`, of /metrics and of a rollout's evidence."""

import bisect
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from vigil.monitoring.samples import LATENCY_BOUNDS

BOUNDS = LATENCY_BOUNDS
"""Upper bounds of the latency histogram, in seconds."""

_GRPC_SERVER_ERRORS = ("UNKNOWN", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")


class Histogram:
    """Durations in the buckets of `BOUNDS`."""

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.buckets[bisect.bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds

    def quantile(self, share: float) -> float | None:
        """Return the upper bound of the bucket that holds the quantile; None without any duration."""
        total = sum(self.buckets)
        if not total:
            return None
        seen = 0
        for bound, count in zip((*BOUNDS, float("inf")), self.buckets, strict=True):
            seen += count
            if seen >= share * total:
                return bound
        return float("inf")


@dataclass
class Counts:
    """What one revision has served since the splitter started."""

    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By protocol (http, grpc) and status code; 499 and CANCELLED are clients that went away."""
    latency: Histogram = field(default_factory=Histogram)
    mirrored: Counter[str] = field(default_factory=Counter)
    """Shadow requests by outcome: an HTTP status, or why it was dropped."""
    rerouted: int = 0
    """Requests that another revision served because this one was not ready or went away."""

    @property
    def requests(self) -> int:
        """All answers together."""
        return self.answers.total()

    @property
    def errors(self) -> int:
        """Answers that are the server's fault."""
        return sum(count for (protocol, code), count in self.answers.items() if is_server_error(protocol, code))


def is_server_error(protocol: str, code: str) -> bool:
    """Return whether an answer is the server's fault: shedding load with 429 is not."""
    if protocol == "http":
        return code >= "500"
    return code in _GRPC_SERVER_ERRORS


@dataclass(frozen=True)
class Row:
    """A revision as /metrics shows it."""

    model: str
    revision: str
    ready: bool
    percent: float
    restarts: int
    counts: Counts


def exposition(rows: Iterable[Row], own: Counter[str], payloads: Mapping[str, int] | None = None) -> bytes:
    """Return the Prometheus text of all revisions, and of the answers that the splitter gave `own`, by code.

    `payloads` are the exchanges that were to go to the detector service, by outcome.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Rows(list(rows), own, payloads or {}))
    return generate_latest(registry)


class _Rows(Collector):
    def __init__(self, rows: list[Row], own: Counter[str], payloads: Mapping[str, int]) -> None:
        self._rows, self._own, self._payloads = rows, own, payloads

    def collect(self) -> Iterator[Metric]:
        labels = ["model", "revision"]
        answers = CounterMetricFamily(
            "vigil_splitter_requests", "Answers by revision and status", labels=[*labels, "protocol", "code"]
        )
        mirrored = CounterMetricFamily(
            "vigil_splitter_shadow_requests", "Mirrored requests by outcome", labels=[*labels, "outcome"]
        )
        seconds = HistogramMetricFamily("vigil_splitter_seconds", "From the whole request to the answer", labels=labels)
        rerouted = CounterMetricFamily("vigil_splitter_rerouted", "Requests served by another", labels=labels)
        ready = GaugeMetricFamily("vigil_revision_ready", "1 where the revision takes traffic", labels=labels)
        percent = GaugeMetricFamily("vigil_revision_traffic_percent", "Weight of the revision", labels=labels)
        restarts = CounterMetricFamily("vigil_revision_restarts", "Restarts after a crash", labels=labels)
        for row in self._rows:
            names = [row.model, row.revision]
            for (protocol, code), count in row.counts.answers.items():
                answers.add_metric([*names, protocol, code], count)
            for outcome, count in row.counts.mirrored.items():
                mirrored.add_metric([*names, outcome], count)
            seconds.add_metric(names, _cumulative(row.counts.latency), row.counts.latency.sum)
            rerouted.add_metric(names, row.counts.rerouted)
            ready.add_metric(names, row.ready)
            percent.add_metric(names, row.percent)
            restarts.add_metric(names, row.restarts)
        refused = _counter("vigil_splitter_own_answers", "Answers without a revision", "code", self._own)
        logged = _counter("vigil_splitter_payloads", "Exchanges for the detector service", "outcome", self._payloads)
        yield from (answers, seconds, mirrored, rerouted, ready, percent, restarts, refused, logged)


def _counter(name: str, text: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, count in counts.items():
        family.add_metric([value], count)
    return family


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    seen, pairs = 0, []
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), histogram.buckets, strict=True):
        seen += count
        pairs.append((bound, float(seen)))
    return pairs
