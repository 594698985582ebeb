"""What the predictor of sites counts. No site and no metric is a label: there are thousands, and clients name them."""

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.registry import CollectorRegistry


class Counts:
    """The counters of one server."""

    def __init__(self, revision: str, registry: CollectorRegistry = REGISTRY) -> None:
        self._revision = revision
        self._readings = Counter(
            "vigil_site_readings", "Scored readings", ["revision", "basis", "kind"], registry=registry
        )
        self._findings = Counter("vigil_site_findings", "Findings", ["revision", "kind"], registry=registry)
        self._events = Counter(
            "vigil_site_events", "Attempts to tell a sink of a finding", ["revision", "outcome"], registry=registry
        )
        self._loads = Gauge("vigil_site_shard_loads", "Shards loaded since the start", ["revision"], registry=registry)
        self._shards = Gauge("vigil_site_shards", "Shards in memory", ["revision"], registry=registry)

    def reading(self, basis: str, kind: str) -> None:
        """Count a reading."""
        self._readings.labels(self._revision, basis, kind).inc()

    def finding(self, kind: str) -> None:
        """Count a finding."""
        self._findings.labels(self._revision, kind).inc()

    def sent(self, outcome: str) -> None:
        """Count an attempt to send."""
        self._events.labels(self._revision, outcome).inc()

    def shards(self, opened: int, loads: int) -> None:
        """Note how many shards are in memory, and how many were loaded."""
        self._shards.labels(self._revision).set(opened)
        self._loads.labels(self._revision).set(loads)
