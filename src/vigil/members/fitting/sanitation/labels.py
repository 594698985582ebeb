"""Labels that contradict everything else that is known: found by models that have not seen the row, nor its copies."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vigil.errors import ContractError
from vigil.members.base import FRAUD, LEGITIMATE, UNKNOWN, Facts, TooFewLabels, TrainingRows
from vigil.members.fitting.sanitation.excluded import excluded_table
from vigil.members.fitting.sanitation.finding import one_text
from vigil.members.fitting.sanitation.out_of_fold import Folds, out_of_fold
from vigil.members.fitting.sanitation.settings import LabelSettings

FLIPPED_TO_LEGITIMATE, FLIPPED_TO_FRAUD = "labelled_legitimate_surely_fraud", "labelled_fraud_surely_legitimate"


@dataclass(frozen=True, eq=False)
class LabelScreen:
    """The labels that were contradicted, and the rows that the supervised member is left with."""

    suspects: pa.Table
    """Every contradicted label: row, event_time, rule, detail."""
    kept: NDArray[np.bool_]
    failure: str | None
    probabilities: NDArray[np.float64]
    """Out of fold, that the row is fraud; 0.5 where there is no label."""

    def training_rows(self, rows: TrainingRows) -> TrainingRows:
        """Return what the supervised member is fitted on, or raise ContractError if the screen failed."""
        if self.failure is not None:
            raise ContractError(f"the labels are not fit to train on: {self.failure}")
        return rows.take(self.kept)

    @property
    def facts(self) -> Facts:
        """Counts for the report, as JSON."""
        rules = self.suspects["rule"].to_pylist()
        return {
            "rows": len(self.kept),
            "rows_kept": int(self.kept.sum()),
            "suspects": {rule: rules.count(rule) for rule in (FLIPPED_TO_LEGITIMATE, FLIPPED_TO_FRAUD)},
            "failure": self.failure,
        }


def screen_labels(rows: TrainingRows, settings: LabelSettings) -> LabelScreen | TooFewLabels:
    """Return the labels that are contradicted with near certainty, or why they cannot be judged."""
    frauds = int((rows.labels == FRAUD).sum())
    if frauds < settings.least_frauds:
        reason = f"{frauds} labelled frauds are too few to judge labels by, it needs {settings.least_frauds}"
        return TooFewLabels("label_screen", frauds, settings.least_frauds, reason)
    labelled = int((rows.labels != UNKNOWN).sum())
    found = _contradicted(rows, settings)
    texts = (
        f"probability of fraud, out of fold, is at least {found.sure:.2g}",
        f"probability of fraud, out of fold, is at most {found.unsupported:.2g}",
    )
    excluded = np.zeros(len(rows), dtype=bool)
    for label, mask in (("legitimate", found.legitimate), ("fraud", found.fraud)):
        if settings.exclude in (label, "both"):
            excluded |= mask
    return LabelScreen(
        suspects=excluded_table(
            rows.times,
            [
                one_text(FLIPPED_TO_LEGITIMATE, found.legitimate, texts[0]),
                one_text(FLIPPED_TO_FRAUD, found.fraud, texts[1]),
            ],
        ),
        kept=~excluded,
        failure=_failure(int(found.any.sum()) / labelled, settings),
        probabilities=found.probabilities,
    )


def _failure(share: float, settings: LabelSettings) -> str | None:
    if share <= settings.most:
        return None
    return f"{share:.1%} of the labels are contradicted, at most {settings.most:.1%} may be: find out who gave them"


@dataclass(frozen=True, eq=False)
class _Contradicted:
    """Which labels are contradicted, and from which probabilities on."""

    probabilities: NDArray[np.float64]
    legitimate: NDArray[np.bool_]
    fraud: NDArray[np.bool_]
    sure: float
    unsupported: float

    @property
    def any(self) -> NDArray[np.bool_]:
        """The rows whose label is contradicted."""
        return self.legitimate | self.fraud


def _contradicted(rows: TrainingRows, settings: LabelSettings) -> _Contradicted:
    """Return the labels that the models contradict.

    A row is surely fraud if it looks like one nearly as much as the labelled frauds do on average: where many frauds
    are called legitimate, no row can look like one with near certainty.
    """
    is_fraud = rows.labels == FRAUD
    prior = float(is_fraud.sum() / (rows.labels != UNKNOWN).sum())
    probabilities = _probabilities(rows, settings)
    average = float(probabilities[is_fraud].mean())
    sure = min(settings.surely_fraud, max(settings.likeness * average, settings.least_lift * prior))
    unsupported = settings.unsupported_lift * prior
    return _Contradicted(
        probabilities=probabilities,
        legitimate=(rows.labels == LEGITIMATE) & (probabilities >= sure),
        fraud=is_fraud & (probabilities <= unsupported),
        sure=sure,
        unsupported=unsupported,
    )


def _probabilities(rows: TrainingRows, settings: LabelSettings) -> NDArray[np.float64]:
    labelled = np.flatnonzero(rows.labels != UNKNOWN)
    folds = Folds(settings.folds, settings.rounds, settings.seed)
    probabilities = np.full(len(rows), 0.5)
    probabilities[labelled] = out_of_fold(rows.matrix.values[labelled], rows.labels[labelled] == FRAUD, folds)
    return probabilities
