"""Gates of conduct: named cases, behaviour, fairness, and how the training rows were screened."""

from vigil.evaluation.gates.checks import Check, GateVerdict, at_least, at_most, must, stated, verdict
from vigil.evaluation.gates.config import BehaviourGate, CasesGate, FairnessGate, SanitationGate
from vigil.evaluation.gates.evidence import Evidence
from vigil.evaluation.segments import SegmentRate


def judge_cases(evidence: Evidence, config: CasesGate) -> GateVerdict:
    """Return whether every required case was run, and every case that was run did what its kind demands."""
    outcomes = {outcome.name: outcome for outcome in evidence.cases}
    checks = [must(name, name in outcomes, f"case {name} was not run") for name in config.required]
    for name, outcome in outcomes.items():
        share = 1 - outcome.failures / outcome.rows if outcome.rows else None
        expected = {"canary": "reach the threshold", "normal": "stay below it", "edge": "have a finite score"}
        check = at_least(name, share, config.minimum_share, outcome.note)
        complaint = f"case {name}: {outcome.failures} of {outcome.rows} rows do not {expected[outcome.kind]}"
        complaint += f" ({outcome.note})" if outcome.note else ""
        checks.append(check._replace(complaint=complaint))
    rows = sum(outcome.rows for outcome in outcomes.values())
    return verdict("cases", checks, f"{len(outcomes)} cases with {rows:,} rows do what is expected")


def judge_behaviour(evidence: Evidence, config: BehaviourGate) -> GateVerdict:
    """Return whether every required behavioural test was run, and every test that was run kept to its rule."""
    outcomes = {outcome.name: outcome for outcome in evidence.behaviours}
    checks = [must(name, name in outcomes, f"behavioural test {name} was not run") for name in config.required]
    for name, outcome in outcomes.items():
        enough = outcome.rows >= config.minimum_rows
        complaint = f"behavioural test {name} ran on {outcome.rows} rows, fewer than {config.minimum_rows}"
        complaint += f" ({outcome.note})" if outcome.note else ""
        checks.append(must(f"{name} rows", enough, complaint))
        share = outcome.violations / outcome.rows if outcome.rows else None
        check = at_most(name, share, config.maximum_violations)
        worst = f", by up to {outcome.worst:.4g}" if outcome.worst is not None else ""
        broken = f"behavioural test {name}: {outcome.violations} of {outcome.rows} rows break the rule{worst}"
        checks.append(check._replace(complaint=broken))
    rows = sum(outcome.rows for outcome in outcomes.values())
    return verdict("behaviour", checks, f"{len(outcomes)} behavioural tests on {rows:,} rows keep to their rules")


def judge_fairness(evidence: Evidence, config: FairnessGate) -> GateVerdict:
    """Return whether no segment has beyond doubt a higher false positive rate than the others by both bounds.

    Segments that are too small to judge do not count; too few that can be judged close the gate.
    """
    checks: list[Check] = []
    for by in config.by:
        rates = [rate for rate in evidence.fairness if rate.by == by]
        judged = [rate for rate in rates if rate.ratio_low is not None and rate.difference is not None]
        checks.append(at_least(f"{by}: segments judged", len(judged), config.minimum_segments))
        checks += [_fair(rate, config) for rate in judged]
    count = sum(check.name.startswith("ratio ") for check in checks)
    praise = f"no segment of {count} has more false alarms than the others by a ratio above {config.maximum_ratio:g} "
    return verdict("fairness", checks, f"{praise}and a difference above {config.maximum_difference:g}")


def _fair(rate: SegmentRate, config: FairnessGate) -> Check:
    name = f"ratio of {rate.by} {rate.segment} (lower bound)"
    ratio = at_most(name, rate.ratio_low, config.maximum_ratio)
    difference = at_most("difference", rate.difference, config.maximum_difference)
    complaint = (
        f"{rate.by} {rate.segment} has a false positive rate of {rate.rate:.4g}, the others {rate.others:.4g}: "
        f"ratio {rate.ratio:.3g} with lower bound {rate.ratio_low:.3g}, above {config.maximum_ratio:g}, and difference "
        f"{rate.difference:.4g}, above {config.maximum_difference:g}"
    )
    return ratio._replace(holds=ratio.holds or difference.holds, complaint=complaint)


def judge_sanitation(evidence: Evidence, config: SanitationGate) -> GateVerdict:
    """Return whether the training rows were screened, the exclusions are on record, and known frauds still found."""
    found = evidence.sanitation
    if found is None:
        return stated("sanitation", False, "nothing is known of how the training rows were screened")
    sums_up = found.rows_in == found.rows_kept + found.rows_excluded
    share = found.rows_excluded / found.rows_in if found.rows_in else None
    checks = [
        *[must(f"screen {name}", name in found.screens, f"screen {name} was not run") for name in config.screens],
        must(
            "counts",
            sums_up,
            f"{found.rows_in} rows in are not {found.rows_kept} kept + {found.rows_excluded} left out",
        ),
        must("list", found.excluded_hash is not None, "there is no list of the rows that were left out"),
        at_most("share of rows left out", share, config.maximum_excluded),
        at_least("share of known frauds found", found.canary_detected, config.minimum_canary),
    ]
    kept = f"{found.rows_excluded:,} of {found.rows_in:,} rows were left out by {', '.join(found.screens)}"
    return verdict("sanitation", checks, f"{kept}; the known frauds are still found")
