"""A candidate that passes every gate, made with the real functions on small data: tests change one thing in it."""

from functools import cache

import numpy as np

from tests.evaluation.samples import FEW, sample, ticking
from vigil.evaluation.behaviour import (
    Case,
    Matrix,
    edge_cases,
    never_looks_safer,
    order_does_not_matter,
    run_cases,
    scaled_columns,
)
from vigil.evaluation.comparison import Comparison, Scorer, compare
from vigil.evaluation.gates.config import GateConfig, parse_gates
from vigil.evaluation.gates.evidence import Evidence, Sanitation
from vigil.evaluation.metrics import measure
from vigil.evaluation.resources import Prices, Usage, cost_of, measure_latency
from vigil.evaluation.rows import FloatArray
from vigil.evaluation.segments import false_positive_rates

CONFIG = """
version: 1
name: test
sanitation: {screens: [incident_windows, poison], maximum_excluded: 0.1, minimum_canary: 1.0}
quality:
  floors:
    - {metric: average_precision, at_least: 0.3}
    - {metric: false_positive_rate, at_most: 0.2}
    - {metric: accuracy, at_least: 0.8, judged_by: value}
  minimum_rows: 3000
  minimum_positives: 30
production: {margin: 0.02}
ensemble: {margin: 0.02}
cases: {required: [known_fraud, all_zero, cold_start]}
behaviour: {required: [larger_amount, row_order], minimum_rows: 50}
fairness: {by: [site], maximum_ratio: 1.5, maximum_difference: 0.01}
latency: {p99_ms: 20, rows_per_second: 1000}
size: {maximum_bytes: 1000000}
cost: {currency: USD, per_run: 1.0, per_1000_predictions: 0.01}
"""


def config(**changes: object) -> GateConfig:
    return parse_gates(CONFIG, "test").model_copy(update=changes)


def _score(matrix: Matrix) -> FloatArray:
    return 1 - np.exp(-np.abs(matrix[:, 0].astype(np.float64)))


@cache
def _evidence(name: str, members: tuple[str, ...], strength: float) -> Evidence:
    rows = sample()
    noise = np.random.default_rng(5).normal(size=len(rows)) * 0.3
    scores = {
        "ensemble": rows.scores,
        "boosted": 1 / (1 + np.exp(-(np.log(rows.scores / (1 - rows.scores)) + noise))),
        "forest": sample(strength=1.0).scores,
        "2026-01": sample(strength=strength).scores,
    }
    measured = rows.with_scores(scores[name])

    def against(other: str) -> Comparison:
        return compare(rows, Scorer(name, scores[name]), Scorer(other, scores[other]), "average_precision", FEW)

    matrix = np.abs(np.random.default_rng(1).normal(size=(100, 3))).astype(np.float32)
    return Evidence(
        candidate=name,
        members=members,
        production="2026-01",
        rows_hash=rows.rows_hash,
        metrics=measure(measured, FEW, 0.8),
        against_production=against("2026-01"),
        against_members={member: against(member) for member in members if member != name},
        cases=tuple(run_cases(_score, [Case("known_fraud", "canary", matrix + 10), *edge_cases(matrix)], 0.9)),
        behaviours=(
            never_looks_safer("larger_amount", _score, matrix, scaled_columns([0])),
            order_does_not_matter(_score, matrix, np.random.default_rng(0)),
        ),
        fairness=tuple(false_positive_rates(measured, "site", 0.8, FEW)),
        latency=measure_latency(_score, matrix, ticking(0.001)),
        bundle_bytes=500_000,
        sanitation=Sanitation(
            screens=("incident_windows", "poison"),
            rows_in=1000,
            rows_kept=980,
            rows_excluded=20,
            excluded_hash=rows.rows_hash,
            canary_detected=1.0,
        ),
        cost=cost_of(Usage(cpu_seconds=60, predictions=1000, prediction_cpu_seconds=1), Prices()),
    )


def good_evidence(**changes: object) -> Evidence:
    """Return the evidence of an ensemble that earned its place, with the given fields exchanged."""
    return _evidence("ensemble", ("boosted", "forest"), 1.0).model_copy(update=changes)


def member_evidence(**changes: object) -> Evidence:
    """Return the evidence of the member `boosted` on its own."""
    return _evidence("boosted", ("boosted",), 1.0).model_copy(update=changes)


def beaten_evidence(**changes: object) -> Evidence:
    """Return the evidence of an ensemble that is clearly worse than its member `boosted`."""
    good = good_evidence()
    compared = good.against_members["boosted"]
    worse = compared.model_copy(update={"candidate_value": 0.4, "difference": -0.1, "low": -0.15, "high": -0.05})
    return good.model_copy(update={"against_members": {**good.against_members, "boosted": worse}, **changes})
