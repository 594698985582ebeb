"""Everything that the gates judge a candidate by, as one JSON document. What is absent is never taken as good."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.contracts.keys import ContentHash, hash_bytes
from vigil.errors import ContractError
from vigil.evaluation.behaviour import BehaviourOutcome, CaseOutcome
from vigil.evaluation.comparison import Comparison
from vigil.evaluation.metrics import Measured
from vigil.evaluation.resources import Cost, Latency
from vigil.evaluation.segments import SegmentRate


class Sanitation(BaseModel):
    """How the training rows were screened before the fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    screens: tuple[str, ...] = Field(description="what was looked for, such as incident_windows, outliers, poison")
    rows_in: int = Field(ge=0)
    rows_kept: int = Field(ge=0)
    rows_excluded: int = Field(ge=0)
    excluded_hash: ContentHash | None = Field(description="of the list of what was left out, with reasons")
    canary_detected: float | None = Field(description="share of the known frauds that the fitted model still finds")


class Evidence(BaseModel):
    """What is known of a candidate. `production` has no default: that there is no model in production must be said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    candidate: str = Field(min_length=1)
    members: tuple[str, ...] = Field(description="names of the members that the candidate combines; itself if just one")
    production: str | None = Field(description="the version in production, None where there is none")
    rows_hash: ContentHash = Field(description="of the test rows: every comparison has to be on the same")
    metrics: dict[str, Measured] = Field(default_factory=dict)
    against_production: Comparison | None = None
    against_members: dict[str, Comparison] = Field(default_factory=dict, description="by the member's name")
    cases: tuple[CaseOutcome, ...] = ()
    behaviours: tuple[BehaviourOutcome, ...] = ()
    fairness: tuple[SegmentRate, ...] = ()
    latency: Latency | None = None
    bundle_bytes: int | None = None
    sanitation: Sanitation | None = None
    cost: Cost | None = None
    alternatives: dict[str, "Evidence"] = Field(
        default_factory=dict, description="evidence of single members, by name: one may ship in the ensemble's place"
    )

    @property
    def content_hash(self) -> ContentHash:
        """Hash of the whole evidence."""
        return hash_bytes(self.model_dump_json().encode())


def read_evidence(path: Path) -> Evidence:
    """Return the evidence of a JSON file, or raise ContractError naming the field that is wrong."""
    try:
        return Evidence.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ContractError(f"there is no evidence at {path}") from None
    except ValidationError as error:
        raise ContractError(f"{path} is no evidence: {describe(error)}") from error


def describe(error: ValidationError) -> str:
    """Return the first problem of a validation in a sentence that names its field."""
    first: Any = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the document'}: {first['msg']}"
