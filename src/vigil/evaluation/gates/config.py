"""What is asked of a candidate: versioned configuration, where an unknown key is an error and null means not asked."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vigil.contracts.keys import ContentHash, hash_json
from vigil.errors import ContractError
from vigil.evaluation.gates.evidence import describe
from vigil.evaluation.metrics import METRICS


class _Gate(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Floor(_Gate):
    """A bound for one metric. Judged by the unfavourable end of its interval, or by its value alone."""

    metric: str
    at_least: float | None = None
    at_most: float | None = None
    judged_by: Literal["interval", "value"] = "interval"

    @model_validator(mode="after")
    def _one_bound(self) -> "Floor":
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r} (known: {', '.join(METRICS)})")
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"{self.metric} needs either at_least or at_most")
        return self


class QualityGate(_Gate):
    """Minimum quality on enough rows."""

    floors: tuple[Floor, ...] = Field(min_length=1)
    minimum_rows: int = Field(default=1000, ge=1)
    minimum_positives: int = Field(default=30, ge=0)


class ProductionGate(_Gate):
    """Not worse than the model in production on the same rows by more than the margin."""

    metric: str = "average_precision"
    margin: float = Field(default=0.01, ge=0, description="how far the difference's lower bound may lie below zero")
    minimum_confidence: float = Field(default=0.9, gt=0.5, lt=1)
    minimum_positives: int = Field(default=30, ge=0)
    first_model: Literal["passes", "fails"] = Field(default="passes", description="where none is in production")


class EnsembleGate(_Gate):
    """Not worse than the best of its members, or better, on the same rows."""

    metric: str = "average_precision"
    require: Literal["not_worse", "better"] = "not_worse"
    margin: float = Field(default=0.01, ge=0, description="for not_worse: how far the lower bound may lie below zero")
    minimum_confidence: float = Field(default=0.9, gt=0.5, lt=1)
    minimum_positives: int = Field(default=30, ge=0)


class CasesGate(_Gate):
    """Known frauds stay above the threshold; rare and extreme vectors have finite scores."""

    required: tuple[str, ...] = Field(min_length=1, description="names of the cases that must have been run")
    minimum_share: float = Field(default=1.0, ge=0, le=1, description="of a case's rows that must do what is expected")


class BehaviourGate(_Gate):
    """Directions, invariances and minimum functionality."""

    required: tuple[str, ...] = Field(min_length=1, description="names of the tests that must have been run")
    maximum_violations: float = Field(default=0.0, ge=0, le=1, description="share of the rows that may break a rule")
    minimum_rows: int = Field(default=1, ge=1)


class LatencyGate(_Gate):
    """Fast enough for one row, and in batch."""

    p99_ms: float = Field(gt=0)
    rows_per_second: float = Field(gt=0)
    minimum_calls: int = Field(default=100, ge=1)


class SizeGate(_Gate):
    """Small enough to be loaded by a pod."""

    maximum_bytes: int = Field(gt=0)


class FairnessGate(_Gate):
    """False alarms are not heaped on single segments: unfair is what exceeds both bounds beyond doubt."""

    by: tuple[str, ...] = Field(min_length=1, description="segmentations that must have been looked at")
    maximum_ratio: float = Field(default=1.5, ge=1, description="of a segment's false positive rate to the others'")
    maximum_difference: float = Field(default=0.002, ge=0, description="of the same two rates")
    minimum_segments: int = Field(default=2, ge=1, description="large enough to judge, of each segmentation")


class SanitationGate(_Gate):
    """The training rows were screened, what was left out is on record, and known frauds are still found."""

    screens: tuple[str, ...] = Field(min_length=1, description="what must have been looked for")
    maximum_excluded: float = Field(default=0.1, ge=0, le=1, description="share of the rows that may be left out")
    minimum_canary: float = Field(default=1.0, ge=0, le=1, description="share of the known frauds that must be found")


class CostGate(_Gate):
    """Within the budget; all in one currency."""

    currency: str = Field(default="USD", min_length=3, max_length=3)
    per_run: float = Field(gt=0)
    per_1000_predictions: float = Field(gt=0)


class GateConfig(_Gate):
    """The gates of one use case. Every gate has to be named: null says on purpose that it is not asked."""

    version: Literal[1]
    name: str = Field(min_length=1)
    sanitation: SanitationGate | None
    quality: QualityGate
    production: ProductionGate | None
    ensemble: EnsembleGate | None
    cases: CasesGate | None
    behaviour: BehaviourGate | None
    fairness: FairnessGate | None
    latency: LatencyGate | None
    size: SizeGate | None
    cost: CostGate | None

    @property
    def content_hash(self) -> ContentHash:
        """The version of this configuration."""
        return hash_json(self.model_dump(mode="json"))


def default_names() -> list[str]:
    """Return the names of the configurations that come with Vigil."""
    folder = resources.files("vigil.evaluation.gates") / "defaults"
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_gates(source: str | Path) -> GateConfig:
    """Return the gates of a YAML file, or of a configuration that comes with Vigil by its name."""
    if isinstance(source, str) and source in default_names():
        text = (resources.files("vigil.evaluation.gates") / "defaults" / f"{source}.yaml").read_text()
        return parse_gates(text, source)
    path = Path(source)
    if not path.is_file():
        raise ContractError(f"there are no gates at {path}: give a YAML file or one of {', '.join(default_names())}")
    return parse_gates(path.read_text(), str(path))


def parse_gates(text: str, source: str) -> GateConfig:
    """Return the gates of a YAML text, or raise ContractError naming `source` and the field that is wrong."""
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ContractError(f"{source} is not YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ContractError(f"{source} holds no gates: a mapping is expected, with the keys version, name, quality ...")
    try:
        return GateConfig.model_validate(content)
    except ValidationError as error:
        raise ContractError(f"{source}: {describe(error)}") from error
