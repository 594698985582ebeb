"""Why a transaction was scored as it was, in words: what each member saw, business parts, rules hit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vigil.ensemble.business import PREFIX, BusinessScores, score_business
from vigil.ensemble.model import Ensemble
from vigil.features.schema import FeatureInfo, FeatureSchema
from vigil.members.base import FeatureMatrix, Matrix, Member, Scores
from vigil.members.rules import Rule, Rules

MOST_REASONS = 6


@dataclass(frozen=True)
class Reason:
    """One cause of a score."""

    source: str
    """The member that saw it, or "business"."""
    feature: str
    """The feature, or "rule" and the name of the rule that was hit."""
    value: float
    share: float
    """What it adds, as a share in [0, 1] of all that its source holds against the transaction."""
    sentence: str


def explain(ensemble: Ensemble, matrix: FeatureMatrix, schema: FeatureSchema) -> list[Reason]:
    """Return the strongest reasons for the score of one row, the strongest first.

    Each feature is named once, and each source that holds anything against the row is heard.
    """
    one = FeatureMatrix(np.ascontiguousarray(matrix.values[:1]), matrix.names)
    return explain_rows(ensemble, one, schema)[0]


def explain_rows(ensemble: Ensemble, matrix: FeatureMatrix, schema: FeatureSchema) -> list[list[Reason]]:
    """Return for each row what `explain` returns for it alone."""
    known = {feature.name: feature for feature in schema.features}
    formula = ensemble.combination.full
    weights = dict(zip(formula.members, formula.weights, strict=True))
    found: list[list[Reason]] = [[] for _ in range(len(matrix))]
    for member in ensemble.members:
        for row, reasons in enumerate(_of_member(member, matrix, known)):
            found[row] += reasons
    if ensemble.business is not None:
        business = score_business(matrix, ensemble.business)
        for row, reasons in enumerate(found):
            reasons.extend(_of_business(business, row))
    return [_strongest(reasons, weights) for reasons in found]


def _strongest(reasons: list[Reason], weights: dict[str, float]) -> list[Reason]:
    reasons.sort(key=lambda reason: (-weights.get(reason.source, 0.0) * reason.share, -reason.share, reason.feature))
    strongest: dict[str, Reason] = {}
    for reason in reasons:
        strongest.setdefault(reason.feature, reason)
    first_of_source = {reason.source: reason for reason in reversed(strongest.values())}
    chosen = [*first_of_source.values(), *strongest.values()]
    kept = set(list(dict.fromkeys(chosen))[:MOST_REASONS])
    return [reason for reason in strongest.values() if reason in kept]


def _of_member(member: Member, matrix: FeatureMatrix, known: dict[str, FeatureInfo]) -> list[list[Reason]]:
    """Return what the member holds against each row, feature by feature."""
    if isinstance(member, Rules):
        return [_of_rules(member.name, hit) for hit in member.rules_hit(matrix)]
    against = np.maximum(member.explain(matrix), 0.0)
    values = matrix.select(member.feature_names)
    return [_of_row(member, row, seen, known) for row, seen in zip(against, values, strict=True)]


def _of_row(member: Member, against: Scores, values: Matrix, known: dict[str, FeatureInfo]) -> list[Reason]:
    total = float(against.sum())
    if total <= 0:
        return []
    top = np.argsort(-against, kind="stable")[:MOST_REASONS]
    names = [member.feature_names[column] for column in top]
    return [
        Reason(
            member.name,
            name,
            float(values[column]),
            float(against[column] / total),
            _sentence(known[name], values[column]),
        )
        for name, column in zip(names, top, strict=True)
        if against[column] > 0
    ]


def _of_rules(source: str, hit: Sequence[Rule]) -> list[Reason]:
    """Return a reason for each rule that a row hits, in the rule's own words."""
    total = sum(rule.severity for rule in hit)
    return [Reason(source, f"rule {rule.name}", rule.severity, rule.severity / total, rule.sentence) for rule in hit]


def _of_business(business: BusinessScores, row: int) -> list[Reason]:
    parts = business.parts[row]
    total = float(np.nansum(parts))
    return [
        Reason("business", PREFIX + name, float(part), float(part / total), f"{name.replace('_', ' ')}: {part:.0%}")
        for name, part in zip(business.names, parts, strict=True)
        if part > 0
    ]


def _sentence(feature: FeatureInfo, value: float) -> str:
    name = feature.name.replace("_", " ")
    if feature.unit == "flag":
        return f"{name}: {'yes' if value else 'no'} ({feature.reason})"
    unit = "" if feature.unit in ("ratio", "share", "0-1") else f" {feature.unit}"
    return f"{name} is {float(value):.4g}{unit} ({feature.reason})"


def in_words(reasons: Sequence[Reason]) -> list[str]:
    """Return the sentences of the reasons."""
    return [reason.sentence for reason in reasons]
