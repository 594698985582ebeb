"""A use case: everything that training, gates and serving of one model are told, as one document.

`configs/` holds one YAML file for each use case that comes with Vigil. A pipeline gets its canonical JSON as a
parameter, so that a run says in full what it was asked for.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

import vigil
from vigil.contracts.keys import ContentHash, canonical_json, hash_json
from vigil.decisions.policy import DecisionPolicy
from vigil.ensemble.fitting import EnsembleSettings
from vigil.errors import ContractError
from vigil.evaluation.gates.config import GateConfig, load_gates
from vigil.evaluation.gates.evidence import describe
from vigil.evaluation.resources import Prices
from vigil.evaluation.settings import MetricSettings
from vigil.evaluation.splits import SplitPlan
from vigil.evaluation.thresholds import ThresholdPolicy
from vigil.features.definitions import FeatureConfig
from vigil.members.catalog import parse_settings
from vigil.members.fitting.sanitation.settings import SanitationSettings
from vigil.members.settings import MemberSettings
from vigil.registry.metadata import Slug

EntityColumn = Literal["customer_id", "card_id", "terminal_id", "site_id", "site_group", "product_id"]

_NO_USE_CASES = frozenset({"alerts", "site_metrics"})
"""Files of configs/ that other parts read."""

_CHECKOUT = {"configs": "configs", "compiled": "pipelines/compiled"}


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LabelPolicy(_Part):
    """How verdict events become labels: the last verdict known at a moment counts at that moment."""

    without_verdict: Literal["legitimate", "unknown"] = Field(
        default="unknown", description="what a transaction is that has no verdict after the label delay of the split"
    )


class TrainingSplit(_Part):
    """Which time is trained on and which is tested. The test ends when the labels of its last row are due."""

    plan: SplitPlan = SplitPlan(train_days=90, calibration_days=7)
    warm_up_days: int = Field(default=7, ge=0, description="first days of the data, in which features know no past")
    least_train_days: int = Field(default=3, ge=1, description="fewer than these are refused; calibration not counted")
    hold_back_hours: float = Field(
        default=0.0, ge=0, description="end of the data that nothing is learned from, kept for a trial of the service"
    )


class Members(_Part):
    """Settings of the three members, each as `members.catalog.parse_settings` takes them."""

    isolation_forest: Mapping[str, Any] = Field(default_factory=dict)
    autoencoder: Mapping[str, Any] = Field(default_factory=dict)
    boosted: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "Members":
        for kind in Members.model_fields:
            self.settings(kind)
        return self

    def settings(self, kind: str) -> MemberSettings:
        """Return the settings of one member."""
        return parse_settings({**getattr(self, kind), "kind": kind, "name": kind})


class Segmentation(_Part):
    """How rows are divided: by a column of the transaction, by bands of its amount, or by bands of its local hour."""

    column: EntityColumn | None = None
    amounts: tuple[float, ...] = Field(default=(), description="lower bounds of the second and later bands")
    hours: tuple[float, ...] = Field(default=(), description="the same, of the local hour of day")

    @model_validator(mode="after")
    def _check(self) -> "Segmentation":
        if (self.column is not None) + bool(self.amounts) + bool(self.hours) != 1:
            raise ValueError("give one of column, amounts, hours")
        if any(list(bounds) != sorted(set(bounds)) for bounds in (self.amounts, self.hours)):
            raise ValueError("the bounds have to rise")
        return self


class KnownIncidents(_Part):
    """Operational incidents that are known beside the events, such as a till that reported in cents."""

    kinds: tuple[str, ...] = Field(
        default=("silent_feed", "stock_out", "sales_dip", "broken_unit"),
        description="kinds in the list of incidents whose rows teach nothing normal; frauds are known by their labels",
    )


class Checks(_Part):
    """What the evaluation tries on a candidate besides measuring it."""

    canaries: int = Field(default=40, ge=20, description="known frauds that every model must find")
    canary_case: str = Field(default="known_fraud", description="what the gate `cases` calls them")
    grows_with_amount: tuple[str, ...] = Field(
        default=("amount",), description="features that grow in proportion to the amount of the transaction"
    )
    behaviour_rows: int = Field(default=1000, ge=1)
    latency_calls: int = Field(default=300, ge=1)
    ablation_rows: int = Field(default=10_000, ge=0, description="training rows of each refit; 0 for no ablation")


class PipelineDocument(_Part):
    """What a pipeline is told as one parameter. Unknown keys are errors."""

    @property
    def text(self) -> str:
        """Canonical JSON: the parameter."""
        return canonical_json(self.model_dump(mode="json")).decode()

    @property
    def content_hash(self) -> ContentHash:
        """The version of this document."""
        return hash_json(self.model_dump(mode="json"))


class UseCase(PipelineDocument):
    """A use case as a whole. Unknown keys are errors; what is not said has the defaults below."""

    version: Literal[1] = 1
    name: Slug = Field(description="of the model in the registry")
    description: str = ""
    sources: tuple[str, ...] = Field(min_length=1, description="mappings of raw files, the first is the default")
    features: FeatureConfig = FeatureConfig()
    labels: LabelPolicy = LabelPolicy()
    split: TrainingSplit = TrainingSplit()
    members: Members = Members()
    baselines: tuple[Mapping[str, Any], ...] = Field(
        default=({"kind": "z_score"}, {"kind": "rules"}), description="members shown in the report, never shipped"
    )
    ensemble: EnsembleSettings = EnsembleSettings()
    sanitation: SanitationSettings = SanitationSettings()
    incidents: KnownIncidents = KnownIncidents()
    thresholds: ThresholdPolicy = ThresholdPolicy()
    decisions: DecisionPolicy = DecisionPolicy()
    metrics: MetricSettings = MetricSettings()
    gates: str | GateConfig = Field(description="name of gates that come with Vigil, or the gates themselves")
    entity: EntityColumn = Field(default="customer_id", description="whose rows belong together in a resample")
    segments: Mapping[str, Segmentation] = Field(default_factory=dict, description="for thresholds, fairness, report")
    checks: Checks = Checks()
    prices: Prices = Prices()

    @field_validator("baselines")
    @classmethod
    def _known_members(cls, given: tuple[Mapping[str, Any], ...]) -> tuple[Mapping[str, Any], ...]:
        for one in given:
            parse_settings(one)
        return given

    @model_validator(mode="after")
    def _check_segments(self) -> "UseCase":
        fairness = self.gate_config.fairness
        for name in (*self.thresholds.by, *(fairness.by if fairness else ())):
            if name not in self.segments:
                raise ValueError(f"segments: {name!r} is asked for by thresholds or gates, but not defined")
        for name in self.thresholds.by:
            if self.segments[name].column not in (name, f"{name}_id"):
                raise ValueError(f"thresholds.by: {name} is not the column {name}_id, by which serving looks it up")
        return self

    @property
    def gate_config(self) -> GateConfig:
        """The gates, loaded if they are given by name."""
        return load_gates(self.gates) if isinstance(self.gates, str) else self.gates


def parse_use_case(text: str, source: str = "the use case") -> UseCase:
    """Return the use case in a YAML or JSON text, or raise ContractError naming `source` and the field."""
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ContractError(f"{source} is not YAML: {error}") from error
    if not isinstance(content, Mapping):
        raise ContractError(
            f"{source} holds no use case: a mapping is expected, with the keys name, sources, gates ..."
        )
    try:
        return UseCase.model_validate(content)
    except ValidationError as error:
        raise ContractError(f"{source}: {describe(error)}") from error
    except ContractError as error:
        raise ContractError(f"{source}: {error}") from error


def load_use_case(source: str | Path) -> UseCase:
    """Return the use case of a YAML file, or one that comes with Vigil by its name."""
    path = Path(source)
    if str(source) in use_case_names():
        path = shipped("configs") / f"{source}.yaml"
    elif not path.is_file():
        raise ContractError(f"there is no use case at {path}: give a YAML file or one of {', '.join(use_case_names())}")
    return parse_use_case(path.read_text(encoding="utf-8"), str(source))


def use_case_names() -> list[str]:
    """Return the names of the use cases that come with Vigil."""
    return sorted(path.stem for path in shipped("configs").glob("*.yaml") if path.stem not in _NO_USE_CASES)


def shipped(folder: Literal["configs", "compiled"]) -> Path:
    """Return where the use cases or the compiled pipelines lie: in the installed package, or in the checkout."""
    package = Path(vigil.__file__).parent
    installed = package / folder
    return installed if installed.is_dir() else package.parents[1] / _CHECKOUT[folder]
