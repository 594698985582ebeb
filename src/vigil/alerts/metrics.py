"""The metrics of the desk, counted from the journal: a restart does not set them back."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vigil.alerts.journal import Journal
from vigil.alerts.outbox import Delivery
from vigil.alerts.signals import AlertType
from vigil.clock import Clock, system_clock

_KNOWN = frozenset(AlertType)


class AlertMetrics(Collector):
    """Incidents that go on, acts, signals by outcome, and messages by channel and state."""

    def __init__(self, journal: Journal, clock: Clock = system_clock) -> None:
        self._journal, self._clock = journal, clock

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        with self._journal.reading() as pages:
            live, acts = pages.live_ones(), pages.act_counts()
            signals, messages, oldest = pages.outcomes(), pages.outbox.counts(), pages.outbox.oldest_waiting()
        going = Counter((one.type if one.type in _KNOWN else "other", one.severity, one.state) for one in live.values())
        yield _gauge("vigil_alerts_incidents", "Incidents that go on", ("type", "severity", "state"), going.items())
        by_act = CounterMetricFamily("vigil_alerts_acts", "What happened to incidents", labels=["kind"])
        for kind, count in acts.items():
            by_act.add_metric([kind], count)
        yield by_act
        kept = [((outcome,), count) for outcome, count in signals.items()]
        yield _gauge("vigil_alerts_signals_kept", "Signals on record by what became of them", ("outcome",), kept)
        text = "Messages on record by what became of them"
        yield _gauge("vigil_alerts_messages", text, ("channel", "state"), messages.items())
        waiting = sum(count for (_, state), count in messages.items() if state == Delivery.WAITING)
        yield GaugeMetricFamily("vigil_alerts_messages_waiting", "Messages that no receiver has taken", value=waiting)
        age = (self._clock() - oldest).total_seconds() if oldest else 0.0
        yield GaugeMetricFamily("vigil_alerts_oldest_waiting_seconds", "Age of the oldest of these", value=age)


def _gauge(
    name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[Sequence[str], int]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for key, count in values:
        family.add_metric([str(part) for part in key], count)
    return family
