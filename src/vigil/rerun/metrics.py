"""The metrics of the sink, counted from the journal: a restart does not set them back."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vigil.rerun.journal import Journal
from vigil.rerun.worker import Worker


class RerunMetrics(Collector):
    """Events by decision, runs by stage, letters that wait, and calls that were not answered."""

    def __init__(self, journal: Journal, worker: Worker) -> None:
        self._journal, self._worker = journal, worker

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        events: Counter[str] = Counter()
        runs: Counter[str] = Counter()
        for (decision, stage), count in self._journal.counts().items():
            events[decision] += count
            if stage is not None:
                runs[stage] += count
        by_decision = CounterMetricFamily("vigil_rerun_events", "Events by decision", labels=["decision"])
        for name, count in events.items():
            by_decision.add_metric([name], count)
        yield by_decision
        by_stage = GaugeMetricFamily("vigil_rerun_runs", "Runs by stage", labels=["stage"])
        for name, count in runs.items():
            by_stage.add_metric([name], count)
        yield by_stage
        yield GaugeMetricFamily(
            "vigil_rerun_letters_waiting", "Events that a sink has not taken yet", value=self._journal.waiting()
        )
        yield CounterMetricFamily(
            "vigil_rerun_unanswered", "Calls that were not answered, since the start", value=self._worker.unanswered
        )
