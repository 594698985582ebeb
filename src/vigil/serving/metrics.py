"""What a server counts. Labels are bounded: no name that a client chooses becomes a label."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from vigil.decisions.archive import DecisionArchive
from vigil.decisions.log import DecisionLog

_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 16, 64, 256, 1024, 4096, 16384, 65536)


class Metrics:
    """The metrics of one server; every series carries its revision."""

    def __init__(self, revision: str, registry: CollectorRegistry = REGISTRY) -> None:
        self._revision = revision
        self.registry = registry
        labels = ["revision", "protocol", "route"]
        self._requests = Counter(
            "vigil_requests", "Answered requests", [*labels, "status", "reason"], registry=registry
        )
        self._seconds = Histogram(
            "vigil_request_seconds", "From the first byte to the answer", labels, buckets=_SECONDS, registry=registry
        )
        self._rows = Histogram("vigil_request_rows", "Rows of a request", labels, buckets=_ROWS, registry=registry)
        self._stages = Histogram(
            "vigil_stage_seconds", "Time of one stage", ["revision", "stage"], buckets=_SECONDS, registry=registry
        )
        self._decisions = Counter(
            "vigil_decisions", "Decided rows", ["revision", "action", "severity"], registry=registry
        )
        self._in_flight = Gauge(
            "vigil_requests_in_flight", "Requests that are worked on", ["revision"], registry=registry
        ).labels(revision)
        self._ready = Gauge("vigil_ready", "1 if the server is ready", ["revision"], registry=registry).labels(revision)
        self._cache: dict[tuple[str, ...], Any] = {}
        self.in_flight = 0

    def enter(self) -> None:
        """Count a request that begins."""
        self.in_flight += 1
        self._in_flight.set(self.in_flight)

    def leave(self) -> None:
        """Count a request that ends."""
        self.in_flight -= 1
        self._in_flight.set(self.in_flight)

    def answered(self, protocol: str, route: str, status: str, reason: str, seconds: float) -> None:
        """Count an answer."""
        self._child("requests", protocol, route, status, reason).inc()
        self._child("seconds", protocol, route).observe(seconds)

    def rows(self, protocol: str, route: str, rows: int) -> None:
        """Count the rows of a request."""
        self._child("rows", protocol, route).observe(rows)

    def stage(self, name: str, seconds: float) -> None:
        """Count the time of a stage."""
        self._child("stages", name).observe(seconds)

    def decided(self, action: str, severity: str, rows: int = 1) -> None:
        """Count rows that were decided so."""
        self._child("decisions", action, severity).inc(rows)

    def ready(self, ready: bool) -> None:
        """Note whether the server is ready."""
        self._ready.set(ready)

    def _child(self, family: str, *values: str) -> Any:  # noqa: ANN401 - a child of any kind
        key = (family, *values)
        if key not in self._cache:
            self._cache[key] = getattr(self, f"_{family}").labels(self._revision, *values)
        return self._cache[key]

    def watch_log(self, log: DecisionLog) -> None:
        """Export what the decision log counts."""
        self.registry.register(_LogCollector(log, self._revision))

    def watch_archive(self, archive: DecisionArchive) -> None:
        """Export what the archive of decisions counts."""
        self.registry.register(_ArchiveCollector(archive, self._revision))


class _LogCollector(Collector):
    def __init__(self, log: DecisionLog, revision: str) -> None:
        self._log = log
        self._revision = revision

    def collect(self) -> Iterator[Metric]:
        counts = self._log.counts
        yield from _counters(
            self._revision,
            ("vigil_decision_log_rows", "Decisions written to the log", counts.written),
            ("vigil_decision_log_failures", "Writes that failed and are tried again", counts.failures),
            ("vigil_decision_log_refused", "Decisions refused because the log was full", counts.refused),
            ("vigil_decision_log_lost", "Decisions that a shutdown could not write", counts.lost),
        )
        yield _gauge(self._revision, "vigil_decision_log_waiting", "Decisions that wait", self._log.waiting)


class _ArchiveCollector(Collector):
    def __init__(self, archive: DecisionArchive, revision: str) -> None:
        self._archive = archive
        self._revision = revision

    def collect(self) -> Iterator[Metric]:
        counts = self._archive.counts
        yield from _counters(
            self._revision,
            ("vigil_decision_archive_files", "Files of the decision log moved to the archive", counts.moved),
            ("vigil_decision_archive_failures", "Attempts that failed and are repeated", counts.failures),
        )
        text = "Finished files of the decision log that wait for the archive"
        yield _gauge(self._revision, "vigil_decision_archive_waiting", text, counts.waiting)


def _counters(revision: str, *families: tuple[str, str, int]) -> Iterator[Metric]:
    for name, text, value in families:
        family = CounterMetricFamily(name, text, labels=["revision"])
        family.add_metric([revision], value)
        yield family


def _gauge(revision: str, name: str, text: str, value: int) -> Metric:
    family = GaugeMetricFamily(name, text, labels=["revision"])
    family.add_metric([revision], value)
    return family
