"""The gates: each a verdict with its numbers, closed by default. No evidence, no promotion."""

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vigil.contracts.keys import ContentHash
from vigil.evaluation.gates.checks import GateVerdict
from vigil.evaluation.gates.conduct import judge_behaviour, judge_cases, judge_fairness, judge_sanitation
from vigil.evaluation.gates.config import GateConfig
from vigil.evaluation.gates.evidence import Evidence
from vigil.evaluation.gates.performance import best_member, judge_ensemble, judge_production, judge_quality
from vigil.evaluation.gates.resources import judge_cost, judge_latency, judge_size

Decision = Literal["promote", "reject", "ship_member"]


class GateReport(BaseModel):
    """The verdict of every gate, and what follows. `ship` names what may go on; None where the decision is reject."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    decision: Decision
    ship: str | None
    summary: str
    candidate: str
    config: str
    config_hash: ContentHash
    evidence_hash: ContentHash
    verdicts: tuple[GateVerdict, ...]
    not_asked: tuple[str, ...] = Field(description="gates that the configuration sets to null")
    alternative: "GateReport | None" = Field(default=None, description="of the best member, where it was looked at")

    @property
    def failed(self) -> tuple[GateVerdict, ...]:
        """The verdicts that did not pass."""
        return tuple(verdict for verdict in self.verdicts if not verdict.passed)


GATES: dict[str, Callable[[Evidence, Any], GateVerdict]] = {
    "sanitation": judge_sanitation,
    "quality": judge_quality,
    "production": judge_production,
    "ensemble": judge_ensemble,
    "cases": judge_cases,
    "behaviour": judge_behaviour,
    "fairness": judge_fairness,
    "latency": judge_latency,
    "size": judge_size,
    "cost": judge_cost,
}
"""Every gate, in the order of the report; the name is that of its part of the configuration."""


def evaluate_gates(evidence: Evidence, config: GateConfig) -> GateReport:
    """Return the verdict of every gate that the configuration asks for, and the decision.

    `promote`: all passed. `ship_member`: the ensemble is worse than its best member, and that member's own evidence
    passes every gate. `reject`: everything else.
    """
    asked = {name: getattr(config, name) for name in GATES}
    verdicts = tuple(GATES[name](evidence, part) for name, part in asked.items() if part is not None)
    failed = [verdict.gate for verdict in verdicts if not verdict.passed]
    alternative, obstacle = _alternative(evidence, config) if "ensemble" in failed else (None, "")
    decision, ship, summary = _decide(evidence, failed, alternative, obstacle)
    return GateReport(
        decision=decision,
        ship=ship,
        summary=summary,
        candidate=evidence.candidate,
        config=config.name,
        config_hash=config.content_hash,
        evidence_hash=evidence.content_hash,
        verdicts=verdicts,
        not_asked=tuple(name for name, part in asked.items() if part is None),
        alternative=alternative,
    )


def _alternative(evidence: Evidence, config: GateConfig) -> tuple[GateReport | None, str]:
    """Return the report of the best member, or why there is none."""
    best = best_member(evidence, config.ensemble) if config.ensemble else None
    if best is None:
        return None, "which member is the best is not known"
    if best not in evidence.alternatives:
        return None, f"no evidence of {best} on its own was given"
    own = evidence.alternatives[best]
    if own.candidate != best or own.members != (best,):
        return None, f"the evidence given of {best} is that of {own.candidate}"
    if own.rows_hash != evidence.rows_hash or own.production != evidence.production:
        return None, f"the evidence of {best} is from other rows or against another model in production"
    return evaluate_gates(own, config), ""


def _decide(
    evidence: Evidence, failed: list[str], alternative: GateReport | None, obstacle: str
) -> tuple[Decision, str | None, str]:
    if not failed:
        return "promote", evidence.candidate, f"{evidence.candidate} passed every gate: promote it"
    because = f"{evidence.candidate} failed {', '.join(failed)}"
    if alternative is not None and alternative.decision == "promote":
        best = alternative.candidate
        return "ship_member", best, f"{because}; its member {best} passed every gate: ship the member {best}"
    if alternative is not None:
        obstacle = f"its best member is no better, {alternative.summary.removesuffix(': reject')}"
    return "reject", None, f"{because}{'; ' if obstacle else ''}{obstacle}: reject"
