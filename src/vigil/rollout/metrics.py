"""The metrics of the controller: what the records say after each tick, so that a scrape asks nobody."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vigil.rollout.status import Record


class RolloutMetrics(Collector):
    """The rollouts as the last tick left them, and how many ticks there were."""

    def __init__(self) -> None:
        self._records: tuple[Record, ...] = ()
        self._ticks = 0
        self._ticked = 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    @property
    def ticked(self) -> float:
        """When the last tick ended, in seconds since 1970; 0 before the first."""
        return self._ticked

    def tick(self, records: Iterable[Record], now: float) -> None:
        """Note that all rollouts have had their tick."""
        self._records, self._ticked = tuple(records), now
        self._ticks += 1

    def exposition(self) -> bytes:
        """Return the text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield CounterMetricFamily("vigil_rollout_ticks", "Looks at all rollouts", value=self._ticks)
        yield GaugeMetricFamily("vigil_rollout_ticked_seconds", "End of the last one, since 1970", value=self._ticked)
        yield from _where(self._records)
        yield from _what_was_seen(self._records)


def _where(records: Iterable[Record]) -> Iterator[Metric]:
    """Yield where each rollout stands."""
    phases = _gauge("phase", "1 for the phase of the last rollout", "phase")
    steps = _gauge("step", "Index of the step")
    asked = _gauge("asked_percent", "Share of the traffic that is asked for the candidate")
    unsettled = _gauge("unsettled", "1 while something is left to do")
    holds = _gauge("holds", "1 for each reason to halt", "kind")
    paused = _gauge("paused", "1 while a person has paused it")
    for record in records:
        model, status = record.spec.model, record.status
        phases.add_metric([model, status.phase], 1)
        steps.add_metric([model], status.step)
        asked.add_metric([model], status.wish.percent)
        unsettled.add_metric([model], not status.settled)
        paused.add_metric([model], status.paused is not None)
        for kind in sorted({hold.kind for hold in status.holds}):
            holds.add_metric([model, kind], 1)
    yield from (phases, steps, asked, unsettled, holds, paused)


def _what_was_seen(records: Iterable[Record]) -> Iterator[Metric]:
    """Yield what speaks for and against each candidate."""
    observed = _gauge("observed_percent", "Share of the candidate as the place of serving says")
    verdicts = _gauge("verdict", "1 for the verdict on the candidate", "verdict")
    samples = _gauge("samples", "Requests or decisions of the candidate in this step")
    served = _gauge("step_requests", "Requests since the split of this step was in force", "arm")
    silence = _gauge("silence_seconds", "Without an answer, by part", "part")
    acts = CounterMetricFamily("vigil_rollout_acts", "Entries of the audit log", labels=["model"])
    for record in records:
        model, status = record.spec.model, record.status
        acts.add_metric([model], status.acts)
        samples.add_metric([model], status.samples)
        served.add_metric([model, "candidate"], status.counted.candidate)
        served.add_metric([model, "production"], status.counted.production)
        if status.observed is not None:
            observed.add_metric([model], status.observed)
        if status.judgement is not None:
            verdicts.add_metric([model, status.judgement.verdict], 1)
        for part, seconds in status.silence.items():
            silence.add_metric([model, part], seconds)
    yield from (observed, verdicts, samples, served, silence, acts)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"vigil_rollout_{name}", text, labels=["model", *labels])
