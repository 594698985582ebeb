"""How the boosted trees are fitted: on labels, in the order of time."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from vigil.errors import ContractError
from vigil.members.base import FRAUD, LEGITIMATE, UNKNOWN, Facts, Scores, TooFewLabels, TrainingRows
from vigil.members.boosted import Boosted, BoostedSettings
from vigil.members.fitting.calibration import fit_curve

_LEAST_PART = 10
"""Rows of each class that the earlier and the later part need for stopping and calibration to mean something."""


@dataclass(frozen=True, eq=False)
class _Parts:
    """The labelled rows, cut in time: the later part stops the rounds and calibrates."""

    labelled: TrainingRows
    cut: int

    @property
    def early(self) -> TrainingRows:
        return self.labelled.take(slice(0, self.cut))

    @property
    def late(self) -> TrainingRows:
        return self.labelled.take(slice(self.cut, None))


@dataclass(frozen=True, eq=False)
class _Bags:
    """One model for each seed."""

    boosters: list[xgb.Booster]
    rounds: list[int]

    def margins(self, data: xgb.QuantileDMatrix) -> Scores:
        """Return the mean margin of each row."""
        margins = [booster.predict(data, output_margin=True) for booster in self.boosters]
        mean: Scores = np.mean(margins, axis=0, dtype=np.float64)
        return mean


def fit(settings: BoostedSettings, rows: TrainingRows) -> Boosted | TooFewLabels:
    """Return the member fitted on the labelled rows, or why it abstains."""
    parameters = _parameters(settings, rows)
    if abstention := _too_few(settings, rows):
        return abstention
    parts = _cut(settings, rows)
    if abstention := _too_one_sided(settings, parts):
        return abstention
    bags, margins = _fit_early(settings, parameters, parts)
    is_fraud = parts.late.labels == FRAUD
    facts = _facts(parameters, parts, bags.rounds) | {
        "held_out_average_precision": float(average_precision_score(is_fraud, margins))
    }
    if settings.refit:
        bags = _fit_all(settings, parameters, parts.labelled, bags.rounds)
    return Boosted(
        name=settings.name,
        feature_names=rows.matrix.names,
        threshold=0.5,
        facts=facts,
        boosters=tuple(bytes(booster.save_raw("json")) for booster in bags.boosters),
        curve=fit_curve(settings.calibration, margins, is_fraud),
    )


def _fit_early(settings: BoostedSettings, parameters: dict[str, Any], parts: _Parts) -> tuple[_Bags, Scores]:
    taught = _quantised(settings, parts.early)
    held_out = _quantised(settings, parts.late, taught)
    boosters, rounds = [], []
    for bag in range(settings.bags):
        booster = xgb.train(
            parameters | {"seed": settings.seed + bag},
            taught,
            settings.rounds,
            evals=[(held_out, "late")],
            early_stopping_rounds=settings.early_stopping,
            verbose_eval=False,
        )
        rounds.append(booster.best_iteration + 1 if settings.early_stopping else settings.rounds)
        boosters.append(booster[: rounds[-1]])
    bags = _Bags(boosters, rounds)
    return bags, bags.margins(held_out)


def _fit_all(settings: BoostedSettings, parameters: dict[str, Any], labelled: TrainingRows, rounds: list[int]) -> _Bags:
    data = _quantised(settings, labelled)
    boosters = [xgb.train(parameters | {"seed": settings.seed + bag}, data, count) for bag, count in enumerate(rounds)]
    return _Bags(boosters, rounds)


def _quantised(
    settings: BoostedSettings, rows: TrainingRows, like: xgb.QuantileDMatrix | None = None
) -> xgb.QuantileDMatrix:
    return xgb.QuantileDMatrix(
        rows.matrix.values,
        label=rows.labels,
        weight=rows.weights,
        max_bin=settings.max_bin,
        nthread=settings.threads,
        ref=like,
    )


def _parameters(settings: BoostedSettings, rows: TrainingRows) -> dict[str, Any]:
    names = rows.matrix.names
    if unknown := [name for name in settings.monotone if name not in names]:
        raise ContractError(f"member {settings.name}, monotone: {unknown[0]} is not among its features")
    return {
        "objective": "binary:logistic",
        "eval_metric": "aucpr",
        "tree_method": "hist",
        "learning_rate": settings.learning_rate,
        "max_depth": settings.max_depth,
        "min_child_weight": settings.least_child_weight,
        "subsample": settings.subsample,
        "colsample_bytree": settings.column_sample,
        "reg_lambda": settings.l2,
        "max_bin": settings.max_bin,
        "scale_pos_weight": _fraud_weight(settings, rows.labels),
        "monotone_constraints": tuple(settings.monotone.get(name, 0) for name in names),
        "nthread": settings.threads,
        "verbosity": 0,
    }


def _fraud_weight(settings: BoostedSettings, labels: NDArray[np.int8]) -> float:
    if isinstance(settings.fraud_weight, float):
        return settings.fraud_weight
    ratio = int((labels == LEGITIMATE).sum()) / max(1, int((labels == FRAUD).sum()))
    return ratio if settings.fraud_weight == "balanced" else math.sqrt(ratio)


def _cut(settings: BoostedSettings, rows: TrainingRows) -> _Parts:
    """Return the labelled rows, cut before a moment: rows of the same time stay together."""
    labelled = rows if (rows.labels != UNKNOWN).all() else rows.take(rows.labels != UNKNOWN)
    first = labelled.times[min(len(labelled) - 1, int(len(labelled) * (1 - settings.held_out)))]
    return _Parts(labelled, int(np.searchsorted(labelled.times, first)))


def _too_few(settings: BoostedSettings, rows: TrainingRows) -> TooFewLabels | None:
    found = int((rows.labels == FRAUD).sum())
    if found >= settings.least_frauds:
        return None
    reason = f"{found} labelled frauds are too few to learn from, it needs {settings.least_frauds} (least_frauds)"
    return TooFewLabels(settings.name, found, settings.least_frauds, reason)


def _too_one_sided(settings: BoostedSettings, parts: _Parts) -> TooFewLabels | None:
    for part, labels in (
        ("earlier", parts.labelled.labels[: parts.cut]),
        ("later", parts.labelled.labels[parts.cut :]),
    ):
        for class_name, label in (("frauds", FRAUD), ("legitimate rows", LEGITIMATE)):
            found = int((labels == label).sum())
            if found < _LEAST_PART:
                reason = f"{found} {class_name} in the {part} part of the labelled rows, it needs {_LEAST_PART}"
                return TooFewLabels(settings.name, found, _LEAST_PART, f"{reason} (held_out = {settings.held_out})")
    return None


def _facts(parameters: dict[str, Any], parts: _Parts, rounds: list[int]) -> Facts:
    return {
        "rows": len(parts.labelled),
        "frauds": int((parts.labelled.labels == FRAUD).sum()),
        "held_out_rows": len(parts.labelled) - parts.cut,
        "held_out_frauds": int((parts.labelled.labels[parts.cut :] == FRAUD).sum()),
        "rounds": rounds,
        "fraud_weight": parameters["scale_pos_weight"],
    }
