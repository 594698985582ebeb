"""Gates of quality: good enough, not worse than production, not worse than the best member."""

import math

from vigil.evaluation.comparison import Comparison
from vigil.evaluation.gates.checks import Check, GateVerdict, at_least, at_most, known, must, shown, stated, verdict
from vigil.evaluation.gates.config import EnsembleGate, Floor, ProductionGate, QualityGate
from vigil.evaluation.gates.evidence import Evidence


def judge_quality(evidence: Evidence, config: QualityGate) -> GateVerdict:
    """Return whether every floor is kept, on enough rows and positives."""
    floors = [_floor(evidence, floor) for floor in config.floors]
    counted = [evidence.metrics[floor.metric] for floor in config.floors if floor.metric in evidence.metrics]
    checks = [
        *floors,
        at_least("rows", min((found.rows for found in counted), default=None), config.minimum_rows),
        at_least("positive rows", min((found.positives for found in counted), default=None), config.minimum_positives),
    ]
    kept = ", ".join(f"{check.name} {shown(check.observed)} ({check.required})" for check in floors)
    return verdict("quality", checks, f"every floor is kept: {kept}")


def _floor(evidence: Evidence, floor: Floor) -> Check:
    found = evidence.metrics.get(floor.metric)
    if found is None:
        return must(floor.metric, False, f"{floor.metric} was not measured")
    if floor.judged_by == "value":
        name, judged = floor.metric, found.value
    elif floor.at_least is not None:
        name, judged = f"{floor.metric} (lower bound)", found.low
    else:
        name, judged = f"{floor.metric} (upper bound)", found.high
    if floor.at_least is not None:
        return at_least(name, judged, floor.at_least, found.note)
    return at_most(name, judged, -math.inf if floor.at_most is None else floor.at_most, found.note)


def judge_production(evidence: Evidence, config: ProductionGate) -> GateVerdict:
    """Return whether the candidate is not worse than the model in production by more than the margin."""
    if evidence.production is None and config.first_model == "passes":
        return stated("production", True, "no model is in production: a first model has nothing to be worse than")
    if evidence.production is None:
        reason = "no model is in production, and the configuration lets no first model pass"
        return stated("production", False, reason)
    found = evidence.against_production
    if found is None:
        reason = f"the candidate was not compared with {evidence.production} in production"
        return stated("production", False, reason)
    checks = [
        *_sound(evidence, found, evidence.production, config),
        _bound(found, -config.margin, f"its lower end is below the margin of {-config.margin:g}"),
    ]
    return verdict("production", checks, f"{_sentence(found)}: within the margin of {-config.margin:g}")


def judge_ensemble(evidence: Evidence, config: EnsembleGate) -> GateVerdict:
    """Return whether the ensemble keeps up with its best member; a single member has nothing to be compared with."""
    if not evidence.members:
        return stated("ensemble", False, "the members of the candidate are not named")
    if evidence.members == (evidence.candidate,):
        return stated("ensemble", True, f"{evidence.candidate} is a single member: there is no ensemble to compare")
    if absent := [name for name in evidence.members if name not in evidence.against_members]:
        return stated("ensemble", False, f"the ensemble was not compared with {', '.join(absent)}")
    best = best_member(evidence, config)
    if best is None:
        return verdict("ensemble", _every_comparison(evidence, config), "")
    found = evidence.against_members[best]
    if config.require == "better":
        check = _bound(found, math.ulp(0.0), f"its lower end is not above zero: ship the member {best}")
        return verdict("ensemble", [check], f"{_sentence(found)}: better than its best member")
    margin = -config.margin
    check = _bound(found, margin, f"its lower end is below the margin of {margin:g}: ship the member {best}")
    return verdict("ensemble", [check], f"{_sentence(found)}: within the margin of {margin:g}")


def best_member(evidence: Evidence, config: EnsembleGate) -> str | None:
    """Return the member with the best value of the metric, or None unless every comparison is there and sound."""
    compared = all(name in evidence.against_members for name in evidence.members)
    if not evidence.members or not compared or not all(check.holds for check in _every_comparison(evidence, config)):
        return None
    differences = {name: evidence.against_members[name].difference or 0.0 for name in evidence.members}
    return min(evidence.members, key=lambda name: differences[name])


def _every_comparison(evidence: Evidence, config: EnsembleGate) -> list[Check]:
    checks = []
    for name in evidence.members:
        found = evidence.against_members[name]
        complaint = f"the difference to {name} is missing" + (f" ({found.note})" if found.note else "")
        sound = [*_sound(evidence, found, name, config), must("difference", known(found.difference), complaint)]
        checks += [check._replace(name=f"{name}: {check.name}") for check in sound]
    return checks


def _sound(evidence: Evidence, found: Comparison, reference: str, config: ProductionGate | EnsembleGate) -> list[Check]:
    """Return when a comparison counts at all: the right two models, the same rows, enough of them."""
    pair = f"{found.candidate} with {found.reference}"
    asked = f"{evidence.candidate} with {reference}"
    same_models = found.candidate == evidence.candidate and found.reference == reference
    return [
        must("models", same_models, f"the comparison is of {pair}, not of {asked}"),
        must("two models", found.candidate != found.reference, f"{found.candidate} was compared with itself"),
        must("metric", found.metric == config.metric, f"the comparison is by {found.metric}, not by {config.metric}"),
        must(
            "same rows", found.rows_hash == evidence.rows_hash, f"{pair} were compared on other rows than was measured"
        ),
        at_least("confidence", found.confidence, config.minimum_confidence),
        at_least("positive rows", found.positives, config.minimum_positives),
    ]


def _bound(found: Comparison, bound: float, complaint: str) -> Check:
    check = at_least("lower bound of the difference", found.low, bound, found.note)
    return check._replace(complaint=f"{_sentence(found)}: {complaint}") if known(found.low) else check


def _sentence(found: Comparison) -> str:
    return (
        f"{found.metric} of {found.candidate} is {shown(found.candidate_value)}, of {found.reference} "
        f"{shown(found.reference_value)}, difference {shown(found.difference)} "
        f"[{shown(found.low)}, {shown(found.high)}]"
    )
