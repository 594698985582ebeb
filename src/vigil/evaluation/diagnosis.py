"""The four-step diagnosis of a model that disappoints: is it the data, the labels, the model or the threshold?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field

from vigil.errors import ContractError
from vigil.evaluation.behaviour import Matrix
from vigil.evaluation.comparison import Scorer, compare
from vigil.evaluation.metrics import measure
from vigil.evaluation.operating import threshold_array, threshold_ratios
from vigil.evaluation.rows import BoolArray, FloatArray, ScoredRows
from vigil.evaluation.settings import MetricSettings
from vigil.evaluation.thresholds import cost_threshold

Step = Literal["data", "labels", "model", "threshold"]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DiagnosisSettings(_Data):
    """When a step calls something a fault."""

    maximum_shift: float = Field(default=0.25, gt=0, description="population stability index of one feature")
    maximum_missing: float = Field(default=0.01, ge=0, le=1, description="share of values that are not finite")
    maximum_rate_change: float = Field(default=3.0, gt=1, description="factor between the shares of positive rows")
    maximum_unlabelled: float = Field(default=0.2, ge=0, le=1, description="share of rows without a known label")
    maximum_contradicted: float = Field(default=0.1, ge=0, le=1, description="share of positives that equal a negative")
    maximum_budget_change: float = Field(default=2.0, gt=1, description="factor between alerts a day and the budget")
    maximum_regret: float = Field(default=0.2, ge=0, description="cost above that of the best threshold, as a share")


class DiagnosisStep(_Data):
    """One step: whether it is in order, what was found, and what to do about it."""

    step: Step
    question: str
    ok: bool
    findings: tuple[str, ...]
    advice: str


class Diagnosis(_Data):
    """The four steps in order. What comes after the first fault is to be read with care: it may be its consequence."""

    steps: tuple[DiagnosisStep, ...]

    @property
    def first_fault(self) -> Step | None:
        """Where to begin; None where all four are in order."""
        return next((step.step for step in self.steps if not step.ok), None)


@dataclass(frozen=True, eq=False)
class Suspect:
    """What is diagnosed: labelled rows as the model scores them, their features, and what was normal at training.

    `features` and `reference` have the columns `names`; `reference_rate` is the share of positives at training,
    `baselines` are scores of the same rows, `unlabelled` the rows of the same time without a known label.
    """

    rows: ScoredRows
    features: Matrix
    names: Sequence[str]
    reference: Matrix
    reference_rate: float
    threshold: ArrayLike
    baselines: Mapping[str, FloatArray] = field(default_factory=dict)
    unlabelled: int = 0


def diagnose(
    suspect: Suspect, metrics: MetricSettings | None = None, settings: DiagnosisSettings | None = None
) -> Diagnosis:
    """Return the diagnosis: every step runs, whatever the ones before it found."""
    if suspect.features.shape != (len(suspect.rows), len(suspect.names)):
        raise ContractError(
            f"features have shape {suspect.features.shape}, not {len(suspect.rows), len(suspect.names)}"
        )
    if suspect.reference.ndim != 2 or suspect.reference.shape[1] != len(suspect.names):
        raise ContractError(f"reference has shape {suspect.reference.shape}: {len(suspect.names)} columns expected")
    chosen, measured = settings or DiagnosisSettings(), metrics or MetricSettings()
    return Diagnosis(
        steps=tuple(
            DiagnosisStep(
                step=name,
                question=question,
                ok=not (findings := check(suspect, measured, chosen)),
                findings=tuple(findings) or (praise,),
                advice=advice if findings else "nothing to do",
            )
            for name, question, check, praise, advice in _STEPS
        )
    )


def _check_data(suspect: Suspect, _: MetricSettings, settings: DiagnosisSettings) -> list[str]:
    if not len(suspect.rows):
        return ["there are no rows"]
    found = []
    for column, name in enumerate(suspect.names):
        now, then = suspect.features[:, column], suspect.reference[:, column]
        missing = float((~np.isfinite(now)).mean())
        if missing > settings.maximum_missing:
            found.append(f"{name}: {missing:.1%} of the values are not finite")
            continue
        now, then = now[np.isfinite(now)], then[np.isfinite(then)]
        if now.min() == now.max() and then.min() != then.max():
            found.append(f"{name}: constant at {now[0]:.6g}, it was not at training")
        elif (shift := stability_index(then, now)) > settings.maximum_shift:
            found.append(
                f"{name}: moved, stability index {shift:.2f} above {settings.maximum_shift:g}, "
                f"median {np.median(then):.4g} then and {np.median(now):.4g} now"
            )
    return found


def stability_index(reference: ArrayLike, current: ArrayLike, bins: int = 10) -> float:
    """Return the population stability index over the reference's quantiles: 0 is equal, above 0.25 has moved."""
    then, now = np.asarray(reference, np.float64), np.asarray(current, np.float64)
    edges = np.unique(np.quantile(then, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = []
    for values in (then, now):
        counts = np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1)
        shares.append((counts + 0.5) / (len(values) + 0.5 * len(counts)))
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _check_labels(suspect: Suspect, metrics: MetricSettings, settings: DiagnosisSettings) -> list[str]:
    labels = suspect.rows.need_labels("the diagnosis")
    positives = int(labels.sum())
    found = []
    if positives < metrics.minimum_positives:
        found.append(f"only {positives} positive rows: fewer than {metrics.minimum_positives}, nothing can be judged")
    unlabelled = suspect.unlabelled / max(1, suspect.unlabelled + len(labels))
    if unlabelled > settings.maximum_unlabelled:
        found.append(f"{unlabelled:.0%} of the rows have no label yet: the recent ones look better than they are")
    if len(labels) and positives and _rate_moved(positives, len(labels), suspect.reference_rate, settings):
        found.append(
            f"{positives / len(labels):.3%} of the rows are positive, {suspect.reference_rate:.3%} at training: "
            f"more than a factor of {settings.maximum_rate_change:g}"
        )
    contradicted = _contradicted(suspect.features, labels)
    if contradicted > settings.maximum_contradicted * positives:
        found.append(f"{contradicted} of {positives} positive rows have the very features of a negative row")
    return found


def _rate_moved(positives: int, rows: int, reference: float, settings: DiagnosisSettings) -> bool:
    """Return whether the rate lies outside the allowed factor by more than two standard errors of the count."""
    spread = 2 * np.sqrt(positives)
    too_many = positives - spread > settings.maximum_rate_change * reference * rows
    return bool(too_many or positives + spread < reference * rows / settings.maximum_rate_change)


def _contradicted(features: Matrix, labels: BoolArray) -> int:
    """Return how many positive rows have the same features as a negative one."""
    if not len(labels):
        return 0
    _, group = np.unique(np.ascontiguousarray(features), axis=0, return_inverse=True)
    positives = np.bincount(group.ravel(), weights=labels)
    return int(positives[positives < np.bincount(group.ravel())].sum())


def _check_model(suspect: Suspect, metrics: MetricSettings, _: DiagnosisSettings) -> list[str]:
    rows = suspect.rows
    if len(rows) and rows.scores.min() == rows.scores.max():
        return [f"every score is {rows.scores[0]:.6g}: the model has collapsed"]
    precision = measure(rows, metrics)["average_precision"]
    if precision.low is None:
        return [f"average precision cannot be judged: {precision.note}"]
    found = []
    chance = precision.positives / precision.rows
    if precision.low <= chance:
        found.append(f"average precision {precision.value:.3f} is not above chance ({chance:.3f}) beyond doubt")
    for name, scores in suspect.baselines.items():
        against = compare(rows, Scorer("model", rows.scores), Scorer(name, scores), "average_precision", metrics)
        if against.low is None or against.low <= 0:
            found.append(f"not better than the baseline {name} beyond doubt: difference {against.difference}")
    return found


def _check_threshold(suspect: Suspect, metrics: MetricSettings, settings: DiagnosisSettings) -> list[str]:
    rows = suspect.rows
    if not len(rows):
        return ["there are no rows to try the threshold on"]
    found = []
    alerted = rows.scores >= threshold_array(suspect.threshold, len(rows))
    per_day = float(alerted.sum()) / len(np.unique(rows.days))
    factor = settings.maximum_budget_change
    if not metrics.alerts_per_day / factor <= per_day <= metrics.alerts_per_day * factor:
        found.append(f"{per_day:.1f} alerts a day, the budget is {metrics.alerts_per_day:g}")
    labels = rows.need_labels("the diagnosis")
    if rows.amounts is not None and labels.any():
        now = float(threshold_ratios(rows, suspect.threshold, metrics)["cost_per_1000"].numerator.mean())
        best = cost_threshold(rows.scores, labels, rows.amounts, metrics.cost_per_alert)
        least = float(threshold_ratios(rows, best, metrics)["cost_per_1000"].numerator.mean())
        if now > (1 + settings.maximum_regret) * least:
            found.append(f"costs {now:.2f} per 1,000 rows, a threshold of {best:.4g} would cost {least:.2f}")
    return found


_Check = Callable[[Suspect, MetricSettings, DiagnosisSettings], list[str]]
_STEPS: tuple[tuple[Step, str, _Check, str, str], ...] = (
    (
        "data",
        "Do the features look as they did at training?",
        _check_data,
        "every feature is filled and lies where it did",
        "look at the feeds and the mapping of these features first: hold, do not retrain on broken data",
    ),
    (
        "labels",
        "Can the labels be trusted?",
        _check_labels,
        "enough labels, of about the share known from training",
        "ask the analysts how verdicts were given, and wait for the label delay before judging the model",
    ),
    (
        "model",
        "Does the model know more than chance and the baselines?",
        _check_model,
        "better than chance and than every baseline",
        "retrain on recent rows, and look at the groups of mistakes and at the ablation in the report",
    ),
    (
        "threshold",
        "Does the threshold use what the model knows?",
        _check_threshold,
        "alerts and cost are where they should be",
        "recalculate the thresholds on recent scores and compare the two sets",
    ),
)
