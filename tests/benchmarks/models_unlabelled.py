"""Average precision on the protocol's folds of members that are fitted without any label."""

from dataclasses import dataclass

import numpy as np

from tests.benchmarks.models_handbook import Handbook, Quality
from vigil.ensemble.fitting import EnsembleSettings, fit_crosswise
from vigil.ensemble.model import Ensemble
from vigil.evaluation.splits import Fold
from vigil.members.base import FeatureMatrix, Scores
from vigil.members.catalog import parse_settings
from vigil.members.settings import MemberSettings

CUSTOMER_ONLY = ("amount", "amount_over_baseline")
WITH_VERDICTS = (*CUSTOMER_ONLY, "terminal_ordinary_fraud_run")
"""The last one counts past verdicts: the fit sees no label, the features know what became known of the terminal."""


@dataclass(frozen=True)
class Way:
    """A set of features, and what lines about it are called."""

    name: str
    features: tuple[str, ...]


WAYS = (Way("past verdicts as a feature", WITH_VERDICTS), Way("strictly without labels", CUSTOMER_ONLY))


def members_on(features: tuple[str, ...]) -> list[MemberSettings]:
    """Return the settings of the members, chosen on the validation folds."""
    return [
        parse_settings({"kind": "isolation_forest", "features": features, "max_samples": 4096}),
        parse_settings(
            {"kind": "autoencoder", "features": features, "layers": (32, 1, 32), "noise": 0.0}
            | {"epochs": 15, "rows_per_epoch": 32_768}
        ),
        parse_settings({"kind": "control_chart", "features": features}),
    ]


def unlabelled_fold(handbook: Handbook, fold: Fold, way: Way) -> dict[str, Quality]:
    """Return the quality on the fold of each member, of the ensemble, and of means of them."""
    parts = handbook.split(fold)
    rows = handbook.train(parts.train, labelled=False)
    test = handbook.train(parts.test).matrix
    wanted = members_on(way.features)
    ensemble = fit_crosswise(wanted, rows, EnsembleSettings()).ensemble
    scores = {one.name: ensemble.member(one.name).score(test) for one in wanted}
    scores["ensemble: greatest surprise"] = ensemble.score(test).score
    scores["mean of surprises"] = mean_surprise(ensemble, test)
    pair = ("isolation_forest", "autoencoder")
    scores["forest and autoencoder: mean of surprises"] = mean_surprise(ensemble, test, pair)
    scores["forest and autoencoder: plain mean"] = plain_mean(ensemble, rows.matrix, test, pair)
    return {name: handbook.measure(parts.test, values) for name, values in scores.items()}


def mean_surprise(ensemble: Ensemble, matrix: FeatureMatrix, names: tuple[str, ...] = ()) -> Scores:
    """Return the mean of the named members' surprises, of all if none is named."""
    chosen = names or tuple(ensemble.curves)
    return np.mean([ensemble.curves[name].surprise(ensemble.member(name).score(matrix)) for name in chosen], axis=0)


def plain_mean(ensemble: Ensemble, trained: FeatureMatrix, matrix: FeatureMatrix, names: tuple[str, ...]) -> Scores:
    """Return the mean of the members' scores, each scaled by the least and the greatest of the training rows."""
    scaled = []
    for name in names:
        usual, scores = ensemble.member(name).score(trained), ensemble.member(name).score(matrix)
        scaled.append((scores - usual.min()) / (usual.max() - usual.min()))
    return np.mean(scaled, axis=0)
