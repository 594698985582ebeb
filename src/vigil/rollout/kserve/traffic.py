"""Counts of requests from the pods of a model's revisions, which are asked one by one."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from vigil.clock import Clock, system_clock
from vigil.deployment.cluster import Cluster
from vigil.errors import Unavailable
from vigil.monitoring.samples import LATENCY_BOUNDS, ArmCounts, Slot
from vigil.rollout.counting import Counted, Counter, Source
from vigil.rollout.http import call
from vigil.rollout.spec import Spec
from vigil.rollout.status import Status
from vigil.runtime.splitter.counts import is_server_error

_REQUESTS, _BUCKETS = "vigil_requests_total", "vigil_request_seconds_bucket"
_NOT_COUNTED = ("schema",)


class PodTraffic:
    """What the transformers of both revisions have answered. A ready pod that does not tell makes no slot at all."""

    def __init__(self, cluster: Cluster, *, seconds: float = 10.0, clock: Clock = system_clock) -> None:
        self._cluster = cluster
        self._counter = Counter(seconds, clock)

    def slots(self, spec: Spec, status: Status) -> Sequence[Slot]:
        """Return the slot that has been closed since the last call, if one has."""
        counts: dict[Source, Counted] = {}
        for revision in filter(None, (status.candidate_revision, status.production_revision)):
            for pod in self._cluster.ready_pods(revision):
                code, content = call("GET", f"http://{pod.address}/metrics")
                if code != 200:
                    raise Unavailable(f"pod {pod.name} answers {code} to /metrics")
                counts[revision, pod.uid] = Counted(live=read_counts(content.decode("utf-8", "replace")))
        return self._counter.close(spec.model, "", counts, status.cursors.get("traffic", -1))


def read_counts(exposition: str) -> ArmCounts:
    """Return the answers to clients in a server's metrics; questions after its health or schema are none."""
    try:
        samples = [sample for family in text_string_to_metric_families(exposition) for sample in family.samples]
    except ValueError as error:
        raise Unavailable(f"the metrics cannot be read: {error}") from error
    requests = [sample for sample in samples if sample.name == _REQUESTS and _is_counted(sample)]
    errors = [sample for sample in requests if _is_error(sample)]
    return ArmCounts(requests=_sum(requests), errors=_sum(errors), latency=_latency(samples))


def _is_counted(sample: Sample) -> bool:
    return sample.labels.get("protocol") != "other" and sample.labels.get("route") not in _NOT_COUNTED


def _is_error(sample: Sample) -> bool:
    protocol = "grpc" if sample.labels.get("protocol") == "grpc" else "http"
    return is_server_error(protocol, sample.labels.get("status", ""))


def _sum(samples: Iterable[Sample]) -> int:
    return round(sum(sample.value for sample in samples))


def _latency(samples: Iterable[Sample]) -> tuple[int, ...]:
    """Return the counts in our buckets; each of the server's goes where its upper bound lies."""
    below: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for sample in samples:
        if sample.name == _BUCKETS and _is_counted(sample):
            series = (sample.labels.get("protocol", ""), sample.labels.get("route", ""))
            below.setdefault(series, []).append((float(sample.labels["le"]), sample.value))
    counts = [0] * (len(LATENCY_BOUNDS) + 1)
    for pairs in below.values():
        earlier = 0.0
        for bound, cumulative in sorted(pairs):
            counts[bisect_left(LATENCY_BOUNDS, bound)] += round(cumulative - earlier)
            earlier = cumulative
    return tuple(counts) if below else ()
