"""Candidate against production on the same interval: always-valid tests, so that looking often costs nothing."""

from vigil.rollout.evidence.folding import fold
from vigil.rollout.evidence.judgement import Judgement, TestJudgement, Verdict, judge
from vigil.rollout.evidence.settings import EvidenceSettings, Minimum, Signal, Tolerance
from vigil.rollout.evidence.state import Evidence, Samples, Wealth

__all__ = [
    "Evidence",
    "EvidenceSettings",
    "Judgement",
    "Minimum",
    "Samples",
    "Signal",
    "TestJudgement",
    "Tolerance",
    "Verdict",
    "Wealth",
    "fold",
    "judge",
]
