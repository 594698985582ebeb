"""Why something changed: the data broke, the model got worse, or the population moved; or it cannot be said."""

from vigil.monitoring.cause.decide import Decision, find_cause
from vigil.monitoring.cause.findings import Fact, Findings, Signal

__all__ = ["Decision", "Fact", "Findings", "Signal", "find_cause"]
