"""What the gates are told of a candidate, measured on the test rows."""

import time
from dataclasses import dataclass

import numpy as np

from vigil.errors import ContractError
from vigil.evaluation.behaviour import (
    BehaviourOutcome,
    Case,
    CaseOutcome,
    Score,
    edge_cases,
    never_looks_safer,
    order_does_not_matter,
    run_cases,
    scaled_columns,
)
from vigil.evaluation.comparison import Comparison, Scorer, compare
from vigil.evaluation.gates.evaluate import evaluate_gates
from vigil.evaluation.gates.evidence import Evidence, Sanitation
from vigil.evaluation.gates.performance import best_member
from vigil.evaluation.metrics import measure
from vigil.evaluation.resources import CpuMeter, Latency, Usage, cost_of, measure_latency
from vigil.evaluation.rows import FloatArray, ScoredRows
from vigil.evaluation.segments import SegmentRate, false_positive_rates
from vigil.members.base import FeatureMatrix
from vigil.members.fitting.sanitation.canaries import check_canaries
from vigil.training.model import Candidate, Model
from vigil.training.production import Production
from vigil.training.rows import FeatureRows, Parts
from vigil.training.screened import Screened
from vigil.usecase import UseCase

_FAIRNESS_RESAMPLES = 200
_LATENCY_ROWS, _LATENCY_TRIALS = 20_000, 3


@dataclass(frozen=True, eq=False)
class Judged:
    """Everything that evidence is drawn from; the same for all candidates of a run."""

    rows: FeatureRows
    parts: Parts
    screened: Screened
    model: Model
    test: ScoredRows
    """The test rows, with scores that play no part."""
    matrix: FeatureMatrix
    """Their vectors."""
    production: Production | None
    cpu_seconds: float
    """Of the run so far."""

    @property
    def use_case(self) -> UseCase:
        """What the run was asked for."""
        return self.rows.use_case

    @property
    def canaries(self) -> FeatureMatrix | None:
        """The known frauds of the model in production, this run's own where there are none."""
        kept = self.production.canaries if self.production is not None else None
        return self.screened.canaries if kept is None else kept


@dataclass(frozen=True, eq=False)
class Tried:
    """A candidate with its scores and thresholds of the test rows, and what scoring them cost."""

    candidate: Candidate
    scorer: Scorer
    cpu_seconds: float

    @property
    def scores(self) -> FloatArray:
        """The scores of the test rows."""
        return np.asarray(self.scorer.scores)

    @property
    def threshold(self) -> FloatArray:
        """The threshold of each test row."""
        return np.asarray(self.scorer.threshold)


def try_candidate(judged: Judged, name: str) -> Tried:
    """Return the candidate after scoring the test rows."""
    candidate = judged.model.candidates[name]
    meter = CpuMeter()
    with meter:
        scores = candidate.score(judged.matrix)
    return Tried(candidate, Scorer(name, scores, candidate.thresholds.for_rows(judged.test)), meter.seconds)


def gather(judged: Judged) -> Evidence:
    """Return the evidence of the run's main candidate, and of its best member where that may have to ship instead."""
    main = try_candidate(judged, judged.model.main.name)
    evidence = _evidence(judged, main)
    gates = judged.use_case.gate_config
    failed = [verdict.gate for verdict in evaluate_gates(evidence, gates).failed]
    best = best_member(evidence, gates.ensemble) if gates.ensemble and "ensemble" in failed else None
    if best is None:
        return evidence
    alternative = _evidence(judged, try_candidate(judged, best))
    return evidence.model_copy(update={"alternatives": {best: alternative}})


def _evidence(judged: Judged, tried: Tried) -> Evidence:
    candidate, use_case = tried.candidate, judged.use_case
    scored = judged.test.with_scores(tried.scores)
    parts = judged.model.parts(use_case, candidate.name)
    size = sum(map(len, parts.values()))
    return Evidence(
        candidate=candidate.name,
        members=candidate.members,
        production=None if judged.production is None else judged.production.name,
        rows_hash=judged.test.rows_hash,
        metrics=measure(scored, use_case.metrics, tried.threshold),
        against_production=_against_production(judged, tried),
        against_members=_against_members(judged, tried),
        cases=tuple(_cases(judged, tried)),
        behaviours=tuple(_behaviours(judged, tried)),
        fairness=_fairness(judged, scored, tried.threshold),
        latency=_latency(judged, tried),
        bundle_bytes=size,
        sanitation=_sanitation(judged, tried),
        cost=cost_of(_usage(judged, tried, size), use_case.prices),
    )


def _against_production(judged: Judged, tried: Tried) -> Comparison | None:
    found, gate = judged.production, judged.use_case.gate_config.production
    if found is None or found.scores is None:
        return None
    metric = gate.metric if gate else "average_precision"
    reference = Scorer(found.name, found.scores, found.thresholds)
    return compare(judged.test, tried.scorer, reference, metric, judged.use_case.metrics)


def _against_members(judged: Judged, tried: Tried) -> dict[str, Comparison]:
    gate = judged.use_case.gate_config.ensemble
    metric = gate.metric if gate else "average_precision"
    others = [name for name in tried.candidate.members if name != tried.candidate.name]
    return {
        name: compare(judged.test, tried.scorer, try_candidate(judged, name).scorer, metric, judged.use_case.metrics)
        for name in others
    }


def score_function(candidate: Candidate) -> Score:
    """Return the candidate as a function of bare vectors."""
    return lambda values: candidate.score(FeatureMatrix(np.ascontiguousarray(values), candidate.schema.names))


def _cases(judged: Judged, tried: Tried) -> list[CaseOutcome]:
    reference = judged.rows.take(judged.parts.train)
    cases = edge_cases(reference.values)
    if judged.canaries is not None:
        cases.append(Case(judged.use_case.checks.canary_case, "canary", judged.canaries.values))
    return run_cases(score_function(tried.candidate), cases, tried.candidate.thresholds.overall)


def _behaviours(judged: Judged, tried: Tried) -> list[BehaviourOutcome]:
    checks, names = judged.use_case.checks, judged.matrix.names
    growing = [names.index(name) for name in checks.grows_with_amount if name in names]
    if not growing:
        raise ContractError(f"checks.grows_with_amount: none of {', '.join(checks.grows_with_amount)} is a feature")
    positive = np.flatnonzero(judged.rows.amounts[judged.parts.test] > 0)
    random = np.random.default_rng(judged.use_case.metrics.seed)
    drawn = np.sort(random.permutation(positive)[: checks.behaviour_rows])
    values = judged.matrix.values[drawn]
    score = score_function(tried.candidate)
    return [
        never_looks_safer("larger_amount", score, values, scaled_columns(growing)),
        order_does_not_matter(score, values, random),
    ]


def _fairness(judged: Judged, scored: ScoredRows, threshold: FloatArray) -> tuple[SegmentRate, ...]:
    gate = judged.use_case.gate_config.fairness
    settings = judged.use_case.metrics
    fewer = settings.model_copy(update={"resamples": min(settings.resamples, _FAIRNESS_RESAMPLES)})
    by = gate.by if gate else ()
    return tuple(rate for name in by for rate in false_positive_rates(scored, name, threshold, fewer))


def _latency(judged: Judged, tried: Tried) -> Latency:
    """Return the best of several measurements: what else runs on the machine can only add to the model's own time."""
    values, calls = judged.matrix.values[:_LATENCY_ROWS], judged.use_case.checks.latency_calls
    score = score_function(tried.candidate)
    found = [measure_latency(score, values, time.perf_counter, calls) for _ in range(_LATENCY_TRIALS)]
    return min(found, key=lambda one: one.p99_ms if one.p99_ms is not None else np.inf)


def _sanitation(judged: Judged, tried: Tried) -> Sanitation:
    thresholds = tried.candidate.thresholds
    verdict = check_canaries(tried.candidate.score, judged.canaries, thresholds.overall)
    names = set(Sanitation.model_fields)
    given = {name: value for name, value in judged.screened.report.items() if name in names}
    return Sanitation.model_validate({**given, "canary_detected": verdict.detected})


def _usage(judged: Judged, tried: Tried, size: int) -> Usage:
    return Usage(
        cpu_seconds=judged.cpu_seconds,
        stored_bytes=size,
        sites=max(1, len(np.unique(judged.rows.column("site_id")))),
        predictions=len(judged.test),
        prediction_cpu_seconds=tried.cpu_seconds,
    )
