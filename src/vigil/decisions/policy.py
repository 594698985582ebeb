"""Which act a score leads to, and how severe it is."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Action(StrEnum):
    """What is done with the transaction."""

    ALLOW = "allow"
    ALERT = "alert"
    HOLD = "hold"


class Severity(StrEnum):
    """How urgent an alert is."""

    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class DecisionPolicy(BaseModel):
    """Where severity rises between the alert threshold (0) and the highest score (1), and what is held for review.

    The urgency of a score is the share of the way from its threshold to 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    medium_from: float = Field(default=0.25, ge=0, le=1, description="urgency from which an alert is medium")
    high_from: float = Field(default=0.5, ge=0, le=1, description="urgency from which it is high")
    critical_from: float = Field(default=0.8, ge=0, le=1, description="urgency from which it is critical")
    hold_from: Severity = Field(default=Severity.CRITICAL, description="least severity that holds the transaction")

    @model_validator(mode="after")
    def _check_order(self) -> "DecisionPolicy":
        if not self.medium_from <= self.high_from <= self.critical_from:
            raise ValueError("the urgencies must rise: medium_from, high_from, critical_from")
        if self.hold_from is Severity.NONE:
            raise ValueError("hold_from: none would hold every transaction")
        return self

    def decide(self, score: float, threshold: float) -> tuple[Action, Severity]:
        """Return what to do with a score in [0, 1] under its alert threshold; a score at the threshold alerts."""
        if score < threshold:
            return Action.ALLOW, Severity.NONE
        urgency = (score - threshold) / (1 - threshold) if threshold < 1 else 1.0
        severity = self._severity(urgency)
        levels = list(Severity)
        held = levels.index(severity) >= levels.index(self.hold_from)
        return (Action.HOLD if held else Action.ALERT), severity

    def _severity(self, urgency: float) -> Severity:
        if urgency >= self.critical_from:
            return Severity.CRITICAL
        if urgency >= self.high_from:
            return Severity.HIGH
        return Severity.MEDIUM if urgency >= self.medium_from else Severity.LOW
