"""Stores as metrics for prometheus-client: read from their counts when scraped, free of cost between scrapes."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from vigil.features.store.base import Outcome, StateStore
from vigil.features.store.counts import BUCKETS_NS, StoreCounts


class StoreCollector(Collector):
    """Exports stores under the label `store`; the hit ratio is hits over all keys of `vigil_state_keys_total`."""

    def __init__(self, stores: Mapping[str, StateStore]) -> None:
        self._stores = dict(stores)

    def collect(self) -> Iterator[Metric]:
        """Yield each metric with one series per store."""
        keys = CounterMetricFamily("vigil_state_keys", "Keys looked up", labels=["store", "result"])
        commits = CounterMetricFamily("vigil_state_commits", "Commits by outcome", labels=["store", "outcome"])
        removed = CounterMetricFamily("vigil_state_removals", "Entries dropped by reason", labels=["store", "reason"])
        failed = CounterMetricFamily("vigil_state_unavailable", "Calls without an answer", labels=["store"])
        entries = GaugeMetricFamily("vigil_state_entries", "Keys held in this process", labels=["store"])
        lookups = HistogramMetricFamily("vigil_state_lookup_seconds", "Time of one look-up", labels=["store"])
        for name, store in self._stores.items():
            counts = store.counts
            keys.add_metric([name, "hit"], counts.hits)
            keys.add_metric([name, "miss"], counts.misses)
            for outcome in Outcome:
                commits.add_metric([name, outcome.value], counts.commits.get(outcome, 0))
            removed.add_metric([name, "evicted"], counts.evictions)
            removed.add_metric([name, "expired"], counts.expirations)
            removed.add_metric([name, "invalidated"], counts.invalidations)
            failed.add_metric([name], counts.unavailable)
            lookups.add_metric([name], _buckets(counts), counts.lookup_ns / 1e9)
            if (held := store.entries()) is not None:
                entries.add_metric([name], held)
        yield from (keys, commits, removed, failed, entries, lookups)


def export_metrics(stores: Mapping[str, StateStore], registry: CollectorRegistry) -> StoreCollector:
    """Register the stores, such as `{"cache": cached, "redis": behind}`; the names become values of the label `store`.

    One call per registry. The returned collector can be given to `registry.unregister`.
    """
    collector = StoreCollector(stores)
    registry.register(collector)
    return collector


def _buckets(counts: StoreCounts) -> list[tuple[str, float]]:
    bounds = [f"{bound / 1e9:g}" for bound in BUCKETS_NS] + ["+Inf"]
    total, cumulative = 0, []
    for bound, count in zip(bounds, counts.lookup_buckets, strict=True):
        total += count
        cumulative.append((bound, float(total)))
    return cumulative
