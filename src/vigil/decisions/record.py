"""What was decided on which grounds: enough to decide it again, bit for bit."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from vigil.contracts.keys import ContentHash, hash_json
from vigil.decisions.policy import Action, Severity
from vigil.errors import ContractError


class ReasonRecord(BaseModel):
    """One cause of a score."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    feature: str
    value: float
    share: float
    sentence: str


class DecisionRecord(BaseModel):
    """One decision: what was seen, by which version, what it led to, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = 1
    event_id: str = Field(description="of the transaction; verdicts name it")
    decided_at: AwareDatetime
    bundle: ContentHash = Field(description="the model that decided")
    feature_schema: ContentHash
    vector: str = Field(description="the features: float32, little-endian, base64")
    segment: str | None = Field(default=None, description="key of the threshold that applied, if not the global one")
    score: float
    levels: dict[str, float] = Field(description="each member's calibrated score")
    business: float | None = Field(description="the business score, where any of its parts was there")
    mode: str = Field(description='"full", or which members were missing')
    threshold: float
    action: Action
    severity: Severity
    reasons: tuple[ReasonRecord, ...]

    @property
    def decision_id(self) -> str:
        """The id under which a verdict can be given: the same decision has the same one."""
        content: dict[str, Any] = self.model_dump(mode="json", exclude={"decided_at"})
        return hash_json(content).removeprefix("sha256:")[:32]

    def features(self) -> NDArray[np.float32]:
        """Return the vector that was scored, (features,)."""
        try:
            return np.frombuffer(base64.b64decode(self.vector, validate=True), dtype="<f4").astype(np.float32)
        except ValueError as error:
            raise ContractError(f"the vector of decision {self.event_id} is damaged: {error}") from error


def encode_vector(values: NDArray[np.float32]) -> str:
    """Return a feature vector as text, without loss."""
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()
