"""Evidence into a verdict: worse, fine or inconclusive, in words and numbers."""

from collections import Counter
from collections.abc import Collection
from enum import StrEnum
from math import log

from pydantic import BaseModel, ConfigDict, Field

from vigil.rollout.evidence.betting import fine_strength, worse_strength
from vigil.rollout.evidence.settings import EvidenceSettings, Signal
from vigil.rollout.evidence.signals import ALONE, TESTS, Test
from vigil.rollout.evidence.state import Evidence, Samples, Wealth

LOG_10 = log(10)
_RIVALS = Counter(test.signal for test in TESTS)
"""Tests that share the chance of a false rollback that a signal has: each signal has the same."""

_ASKED_WHERE_SEEN = (Signal.ERRORS, Signal.VECTORS)
"""A shadow need not show these, but what it shows has to be fine."""


class Verdict(StrEnum):
    """What is known of a candidate."""

    WORSE = "worse"
    """Beyond its tolerance, with the error rate of `false_rollback`: roll back."""
    FINE = "fine"
    """Within its tolerances, with the error rate of `false_pass`, on enough samples."""
    INCONCLUSIVE = "inconclusive"
    """Neither: wait, and pass nothing."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TestJudgement(_Document):
    """One test."""

    name: str
    signal: Signal
    verdict: Verdict
    statement: str = Field(description="a sentence for a person, with the numbers")
    worse: float = Field(description="log10 of the evidence that it is beyond its tolerance")
    fine: float = Field(description="log10 of the evidence that it is within its tolerance")
    candidate: float = Field(description="the candidate's rate")
    candidate_of: float = Field(description="out of so many")
    production: float | None = Field(description="production's rate in the same slots; none: not compared with it")
    production_of: float = Field(description="out of so many")


class Judgement(_Document):
    """The candidate as a whole."""

    verdict: Verdict
    statement: str = Field(description="a sentence for a person: why")
    signals: dict[Signal, Verdict] = Field(description="those that were observed or are required")
    missing: tuple[str, ...] = Field(default=(), description="what a pass still lacks, in words")
    tests: tuple[TestJudgement, ...] = ()
    samples: Samples = Field(description="since the start of the step")


def judge(
    state: Evidence,
    settings: EvidenceSettings,
    since: Samples | None = None,
    required: Collection[Signal] | None = None,
) -> Judgement:
    """Return the verdict on all evidence, with the minimum samples counted after `since`.

    `required` replaces the signals of the settings that must be fine: a shadow has no answers that clients wait for.
    """
    needed = settings.required if required is None else tuple(required)
    tests = tuple(_judge_test(test, state.tests[test.name], settings) for test in TESTS if test.name in state.tests)
    signals = {signal: _judge_signal(signal, tests) for signal in Signal if signal in needed or _seen(signal, tests)}
    samples = state.samples.since(since or Samples())
    worse = [test for test in tests if test.verdict is Verdict.WORSE]
    missing = _missing(samples, signals, needed, settings)
    missing += tuple(
        f"{signal} inconclusive"
        for signal in _ASKED_WHERE_SEEN
        if signal not in needed and signals.get(signal) is Verdict.INCONCLUSIVE
    )
    if worse:
        verdict, statement = Verdict.WORSE, _why_worse(worse, state)
    elif missing:
        verdict, statement = Verdict.INCONCLUSIVE, f"Not yet known: {'; '.join(missing)}."
    else:
        verdict, statement = Verdict.FINE, f"Within every tolerance: {', '.join(needed)}."
    return Judgement(
        verdict=verdict, statement=statement, signals=signals, missing=missing, tests=tests, samples=samples
    )


def _judge_test(test: Test, wealth: Wealth, settings: EvidenceSettings) -> TestJudgement:
    worse, fine = worse_strength(wealth), fine_strength(wealth)
    verdict = Verdict.INCONCLUSIVE
    if worse >= log(len(Signal) * _RIVALS[test.signal] / settings.false_rollback):
        verdict = Verdict.WORSE
    elif fine >= -log(settings.false_pass):
        verdict = Verdict.FINE
    suspect, other = (wealth.suspect, wealth.suspect_of), (wealth.other, wealth.other_of)
    mine, theirs = (other, suspect) if test.swapped else (suspect, other)
    return TestJudgement(
        name=test.name,
        signal=test.signal,
        verdict=verdict,
        statement=_sentence(test, mine, theirs, worse, fine),
        worse=round(worse / LOG_10, 2),
        fine=round(fine / LOG_10, 2),
        candidate=mine[0] / mine[1],
        candidate_of=mine[1],
        production=theirs[0] / theirs[1] if theirs[1] else None,
        production_of=theirs[1],
    )


def _sentence(test: Test, mine: tuple[float, float], theirs: tuple[float, float], worse: float, fine: float) -> str:
    what, events = test.words
    rates = f"{mine[0] / mine[1]:.2%} of the candidate's {mine[1]:,.0f} {events}"
    if theirs[1]:
        rates += f", {theirs[0] / theirs[1]:.2%} of production's {theirs[1]:,.0f}"
    if worse >= fine:
        return f"{what}: {rates}; evidence of 10^{worse / LOG_10:.1f} that it is worse"
    return f"{what}: {rates}; evidence of 10^{fine / LOG_10:.1f} that it is not worse"


def _judge_signal(signal: Signal, tests: Collection[TestJudgement]) -> Verdict:
    """Return worse if one test is; fine if all tests of one group are, whatever the other group has to say yet."""
    verdicts = {test.name: test.verdict for test in tests if test.signal is signal}
    if Verdict.WORSE in verdicts.values():
        return Verdict.WORSE
    groups: dict[str, list[Verdict]] = {}
    for test in TESTS:
        if test.signal is signal and test.group != ALONE:
            groups.setdefault(test.group, []).append(verdicts.get(test.name, Verdict.INCONCLUSIVE))
    fine = any(all(verdict is Verdict.FINE for verdict in group) for group in groups.values())
    return Verdict.FINE if fine else Verdict.INCONCLUSIVE


def _seen(signal: Signal, tests: Collection[TestJudgement]) -> bool:
    return any(test.signal is signal for test in tests)


def _missing(
    samples: Samples, signals: dict[Signal, Verdict], needed: Collection[Signal], settings: EvidenceSettings
) -> tuple[str, ...]:
    minimum = settings.minimum
    seen_at_all = max(samples.requests, samples.decisions, samples.pairs)
    wanted = [("answers, decisions or pairs", seen_at_all, min(minimum.requests, minimum.decisions))]
    if Signal.ERRORS in needed or Signal.LATENCY in needed:
        wanted.append(("answers of the candidate", samples.requests, minimum.requests))
        wanted.append(("answers of production", samples.production_requests, minimum.requests))
    if (Signal.FLAG_RATE in needed or Signal.SCORES in needed) and samples.pairs < minimum.pairs:
        wanted.append(("decisions of the candidate", samples.decisions, minimum.decisions))
        wanted.append(("decisions of production", samples.production_decisions, minimum.decisions))
    if Signal.VECTORS in needed:
        wanted.append(("events with vectors of both", samples.vectors, minimum.pairs))
    if Signal.PRECISION in needed and samples.judged_pairs < minimum.judged:
        wanted.append(("verdicts on flags of the candidate", samples.judged, minimum.judged))
    counts = [f"{seen:,} of at least {least:,} {what}" for what, seen, least in wanted if seen < least]
    unsure = [f"{signal} inconclusive" for signal in needed if signals[signal] is Verdict.INCONCLUSIVE]
    return (*counts, *unsure)


def _why_worse(worse: Collection[TestJudgement], state: Evidence) -> str:
    first = max(worse, key=lambda test: test.worse)
    named = ""
    if first.signal is Signal.VECTORS and state.features:
        most = sorted(state.features.items(), key=lambda item: (-item[1], item[0]))[:3]
        named = f" (features: {', '.join(f'{name} in {count:,}' for name, count in most)})"
    return f"Worse in {', '.join(dict.fromkeys(test.signal for test in worse))}: {first.statement}{named}."
