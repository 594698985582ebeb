"""The protocol with labels: members and ensemble as a user would fit them, on a week or on all history."""

from dataclasses import dataclass
from typing import Any

from tests.benchmarks.models_handbook import HISTORY_START, Handbook, Quality
from tests.benchmarks.models_unlabelled import WITH_VERDICTS, members_on
from vigil.ensemble.fitting import EnsembleSettings, fit_crosswise
from vigil.evaluation.splits import Fold, with_history
from vigil.members.catalog import parse_settings
from vigil.members.settings import MemberSettings

FEATURES = (
    "amount",
    "amount_over_baseline",
    "customer_high_count_7d",
    "customer_high_count_14d",
    "customer_days_since_high",
    "terminal_verdicts_30d",
    "terminal_fraud_verdicts_30d",
    "terminal_days_since_legitimate",
    "terminal_fraud_run",
    "terminal_fraud_run_days",
    "terminal_ordinary_fraud_run",
)
BOOSTED: dict[str, Any] = {
    "kind": "boosted",
    "features": FEATURES,
    "early_stopping": None,
    "max_depth": 4,
    "subsample": 0.8,
    "column_sample": 0.6,
    "l2": 2.0,
    "max_bin": 4096,
    "fraud_weight": 1.0,
}
STACK = EnsembleSettings(l2=1000.0)
"""Weaker pulls towards the boosted member cost up to 0.001 on the validation folds."""


@dataclass(frozen=True)
class Protocol:
    """How much a model is trained on, and with which settings."""

    name: str
    all_history: bool
    boosted: dict[str, Any]
    parts: int
    """Stretches of the training rows for the scores that the stack is learned from."""

    @property
    def members(self) -> list[MemberSettings]:
        """The settings of the members, chosen on the validation folds."""
        return [parse_settings(BOOSTED | self.boosted), *members_on(WITH_VERDICTS)]

    def of(self, fold: Fold) -> Fold:
        """Return the fold with this protocol's training window."""
        return with_history(fold, HISTORY_START) if self.all_history else fold


WEEK = Protocol("7 days of training", False, {"rounds": 120, "bags": 2}, parts=4)
HISTORY = Protocol("all history", True, {"rounds": 150, "least_child_weight": 5.0}, parts=2)


def labelled_fold(handbook: Handbook, fold: Fold, protocol: Protocol) -> dict[str, Quality]:
    """Return the quality on the fold of the ensemble and of each member on the same rows."""
    parts = handbook.split(protocol.of(fold))
    rows, test = handbook.train(parts.train), handbook.train(parts.test).matrix
    ensemble = fit_crosswise(protocol.members, rows, STACK, protocol.parts).ensemble
    scores = {"ensemble": ensemble.score(test).score}
    scores |= {member.name: member.score(test) for member in ensemble.members}
    return {name: handbook.measure(parts.test, values) for name, values in scores.items()}
