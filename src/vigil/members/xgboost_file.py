"""Reads XGBoost's JSON: what a boosted model predicts follows from its file, without the library.

Importing XGBoost takes seconds and brings scikit-learn and pandas along where they are installed.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from vigil.errors import ContractError
from vigil.members.kernels.elementwise import log_odds
from vigil.members.trees import Tree, TreeSum


def read_booster(content: bytes, file: str, features: int) -> tuple[TreeSum, np.float32]:
    """Return the sum over the trees and the margin (log-odds) to start from, in XGBoost's own precision.

    Added up in float32 from that start, they give XGBoost's margin bit for bit.
    """
    try:
        learner = json.loads(content)["learner"]
        _check(learner, features)
        trees = learner["gradient_booster"]["model"]["trees"]
        start = float(learner["learner_model_param"]["base_score"].strip("[]"))
        return TreeSum.of((_tree(tree) for tree in trees), np.float32), np.float32(log_odds(np.float32(start)))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ContractError(f"{file} is not a binary classifier in XGBoost's JSON ({error!r})") from error


def _check(learner: Mapping[str, Any], features: int) -> None:
    objective, booster = learner["objective"]["name"], learner["gradient_booster"]["name"]
    found = int(learner["learner_model_param"]["num_feature"])
    if (objective, booster) != ("binary:logistic", "gbtree"):
        raise ValueError(f"it is {objective} by {booster}, expected binary:logistic by gbtree")
    if found != features:
        raise ValueError(f"it has {found} features, the member has {features}")
    if any(any(tree["split_type"]) for tree in learner["gradient_booster"]["model"]["trees"]):
        raise ValueError("it splits on categories")


def _tree(tree: Mapping[str, Any]) -> Tree:
    conditions = np.array(tree["split_conditions"], dtype=np.float32)
    return Tree(
        feature=np.array(tree["split_indices"]),
        threshold=conditions,
        left=np.array(tree["left_children"]),
        right=np.array(tree["right_children"]),
        leaf=conditions,
        cover=np.array(tree["sum_hessian"]),
    )
