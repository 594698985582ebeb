"""The ensemble: members, their calibration, their combination; what a bundle holds and a predictor runs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vigil.ensemble.business import BusinessScores, BusinessWeights, score_business
from vigil.ensemble.calibration import TailCurve, arrays_of, restore_tail
from vigil.ensemble.combination import Combination, restore_combination
from vigil.errors import ContractError
from vigil.members.base import FeatureMatrix, Member, Scores
from vigil.members.catalog import load_member
from vigil.members.files import Files, read_arrays, read_json, write_arrays, write_json

SUPERVISED = frozenset({"boosted"})
"""Kinds of member whose raw score is a probability of fraud."""

_HEADER, _CURVES = "ensemble.json", "ensemble.npz"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class EnsembleScores:
    """What the ensemble says of rows."""

    score: Scores
    """(rows,), in [0, 1], higher is more anomalous"""
    levels: dict[str, Scores]
    """Each member's calibrated score in [0, 1], (rows,)"""
    business: BusinessScores | None
    """None where the features hold no business parts"""
    mode: str
    """"full", or which members are missing"""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Fitted members and how they decide together. A row's score does not depend on the rows beside it."""

    members: tuple[Member, ...]
    curves: Mapping[str, TailCurve]
    """Calibration of each member that knows no labels, by its name."""
    combination: Combination
    business: BusinessWeights | None

    def score(self, matrix: FeatureMatrix, missing: frozenset[str] = frozenset()) -> EnsembleScores:
        """Return the scores of rows, with the members named in `missing` left out."""
        members = [member for member in self.members if member.name not in missing]
        raw = {member.name: member.score(matrix) for member in members}
        formula = self.combination.of(tuple(raw))
        evidence = np.stack([self._evidence(name, raw[name]) for name in formula.members], axis=1)
        return EnsembleScores(
            score=formula.combine(evidence),
            levels={name: self._level(name, scores) for name, scores in raw.items()},
            business=None if self.business is None else score_business(matrix, self.business),
            mode=self.combination.mode(tuple(raw)),
        )

    def alone(self, name: str) -> "Ensemble":
        """Return the ensemble of one member: what ships when the combination is no better than it."""
        member = self.member(name)
        curves = {key: curve for key, curve in self.curves.items() if key == name}
        formula = self.combination.of((name,))
        return Ensemble((member,), curves, Combination((formula,)), self.business)

    def member(self, name: str) -> Member:
        """Return a member by its name, or raise ContractError."""
        for member in self.members:
            if member.name == name:
                return member
        raise ContractError(f"the ensemble has no member {name!r}: it has {', '.join(m.name for m in self.members)}")

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Every feature that a member needs, each once."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.feature_names))

    def _evidence(self, name: str, raw: Scores) -> Scores:
        return self.curves[name].surprise(raw) if name in self.curves else log_odds(raw)

    def _level(self, name: str, raw: Scores) -> Scores:
        return self.curves[name].level(raw) if name in self.curves else raw

    def to_files(self) -> Files:
        """Return the ensemble as files by path: its own, and those of each member in a folder of its name."""
        header = {
            "format": _FORMAT,
            "members": [member.name for member in self.members],
            "combination": self.combination.to_json(),
            "business": None if self.business is None else self.business.model_dump(),
        }
        files = {_HEADER: write_json(header), _CURVES: write_arrays(arrays_of(dict(self.curves)))}
        for member in self.members:
            files |= {f"members/{member.name}/{path}": content for path, content in member.to_files().items()}
        return files


def restore_ensemble(files: Files) -> Ensemble:
    """Return the ensemble that `to_files` wrote, or raise ContractError naming what is damaged."""
    header = read_json(files, _HEADER)
    if header.get("format") != _FORMAT:
        raise ContractError(f"{_HEADER} has format {header.get('format')}, this version of Vigil reads {_FORMAT}")
    members = tuple(load_member(_below(files, f"members/{name}/")) for name in header["members"])
    curves = {name: restore_tail(stored) for name, stored in read_arrays(files, _CURVES).items()}
    uncalibrated = [m.name for m in members if m.name not in curves and m.kind not in SUPERVISED]
    if uncalibrated:
        raise ContractError(f"{_CURVES} has no calibration of member {uncalibrated[0]}: restore the bundle")
    business = None if header["business"] is None else BusinessWeights.model_validate(header["business"])
    return Ensemble(members, curves, restore_combination(header["combination"]), business)


def log_odds(probability: Scores) -> Scores:
    """Return ln(p / (1 - p)), with p held within [1e-9, 1 - 1e-9]."""
    held = np.clip(probability, 1e-9, 1 - 1e-9)
    return np.asarray(np.log(held) - np.log1p(-held))


def _below(files: Files, folder: str) -> Files:
    return {path.removeprefix(folder): content for path, content in files.items() if path.startswith(folder)}
