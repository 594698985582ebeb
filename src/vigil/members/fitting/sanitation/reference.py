"""Rows where there are many times more than in a reference that is trusted: what density alone cannot tell."""

import numpy as np

from vigil.members.base import FeatureMatrix
from vigil.members.fitting.sanitation.finding import Finding, one_text
from vigil.members.fitting.sanitation.out_of_fold import Folds, out_of_fold
from vigil.members.fitting.sanitation.settings import ReferenceScreen


def find_crowded(matrix: FeatureMatrix, reference: FeatureMatrix, settings: ReferenceScreen, seed: int) -> Finding:
    """Return the rows whose surroundings hold `times` as large a share of the rows as of the reference.

    The ratio of the shares is the odds of a model that tells the two apart, seen out of fold.
    """
    values = np.concatenate([matrix.values, reference.select(matrix.names)])
    is_new = np.arange(len(values)) < len(matrix)
    folds = Folds(settings.folds, settings.rounds, seed)
    probability = out_of_fold(values, is_new, folds)[: len(matrix)]
    odds = probability / np.maximum(1 - probability, 1e-12) * len(reference) / len(matrix)
    text = f"its surroundings hold at least {settings.times:g} times as large a share of the rows as of the reference"
    return one_text("crowded", odds >= settings.times, text)
