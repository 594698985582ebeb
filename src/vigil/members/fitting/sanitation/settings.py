"""What is screened, and from where on it counts. A screen that is null is not run, and the gate is told so."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.contracts.keys import ContentHash, hash_json
from vigil.errors import ContractError


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class IncidentScreen(_Settings):
    """Rows inside incident windows; features look back, so the rows soon after still carry what happened."""

    hours_before: float = Field(default=0.0, ge=0, description="also left out before a window")
    hours_after: float = Field(default=24.0, ge=0, description="also left out after a window")


class OutlierScreen(_Settings):
    """Rows beyond everything usual, in one feature or altogether."""

    feature_limit: float = Field(
        default=12.0, gt=0, description="robust deviations of one feature, on a log-like scale"
    )
    joint_limit: float = Field(default=8.0, gt=0, description="robust deviations of the first-pass forest's score")
    most: float = Field(default=0.03, gt=0, le=1, description="share of the rows beyond which the screen fails")


class DuplicateScreen(_Settings):
    """The same row many times. Where rows do repeat by nature, only their density can tell: see ClusterScreen."""

    least: int = Field(default=10, ge=2, description="equal rows that are implausible where rows hardly ever repeat")
    natural: float = Field(
        default=0.1, ge=0, le=1, description="share of rows with an equal beyond which rows repeat by nature"
    )


class ClusterScreen(_Settings):
    """Rows packed more densely than the usual rows are: suspicious ones a little, others by far."""

    least: int = Field(default=20, ge=2, description="rows of one cell")
    width: float = Field(default=0.5, gt=0, description="of a cell, in robust deviations")
    directions: int = Field(default=10, ge=1, le=64, description="random directions that a cell is cut by")
    tables: int = Field(default=4, ge=1, le=64, description="independent divisions into cells")
    denser_than: float = Field(default=0.95, gt=0, lt=1, description="share of the rows: what suspicious rows are not")
    factor: float = Field(default=10.0, gt=1, description="multiple of that density: what other rows are not")


class BurstScreen(_Settings):
    """Many rows at once: of one entity, or suspicious ones of all entities."""

    least: int = Field(default=20, ge=2, description="rows of a burst")
    factor: float = Field(default=8.0, gt=1, description="multiple of what is usual")
    least_share: float = Field(
        default=0.005, ge=0, le=1, description="share of all rows that an entity's suspicious ones have to be"
    )
    slot_hours: float = Field(default=24.0, gt=0, description="length of the time slots that are compared")


class PoisonScreen(_Settings):
    """Rows that somebody may have put there: copies, tight clusters, bursts."""

    suspicious_limit: float = Field(
        default=2.0,
        gt=0,
        description="robust deviations of the first-pass forest's score: what clusters are looked for in",
    )
    duplicates: DuplicateScreen = DuplicateScreen()
    clusters: ClusterScreen = ClusterScreen()
    bursts: BurstScreen = BurstScreen()
    most: float = Field(default=0.05, gt=0, le=1, description="share of the rows beyond which the screen fails")


class ReferenceScreen(_Settings):
    """Rows where there are many times more than in trusted rows of an earlier time: poison without any other mark."""

    times: float = Field(default=3.0, gt=1, description="ratio of shares from which a place may be crowded, at least")
    usual: float = Field(default=0.002, gt=0, lt=1, description="share of trusted rows that would be crowded too")
    folds: int = Field(default=3, ge=2, le=20)
    rounds: int = Field(default=60, ge=1, description="trees of each model that tells the rows from the reference")
    most: float = Field(
        default=0.1, gt=0, le=1, description="share of the new rows beyond which the world has moved: none is left out"
    )


class LikenessScreen(_Settings):
    """Rows that look like known frauds and are not called so: thinly scattered poison, and frauds not found out.

    Off unless asked for: about one honest row in a hundred looks like one as well. An autoencoder of a few suspicious
    features loses nothing without those rows; one of all features then takes every row of that sort for strange.
    """

    lift: float = Field(default=5.0, gt=1, description="times as likely a known fraud as the average row: too like one")
    least_frauds: int = Field(default=50, ge=2, description="known frauds below which the screen is skipped")
    most: float = Field(default=0.05, gt=0, le=1, description="share of the rows beyond which the screen fails")


class SanitationSettings(_Settings):
    """How training rows are screened for the members that learn what is normal."""

    version: Literal[1] = 1
    seed: int = Field(default=0, ge=0, lt=2**31, description="of everything that is drawn")
    least_rows: int = Field(default=500, ge=2, description="rows below which outliers and poison cannot be told")
    incident_windows: IncidentScreen | None = IncidentScreen()
    outliers: OutlierScreen | None = OutlierScreen()
    poison: PoisonScreen | None = PoisonScreen()
    reference: ReferenceScreen | None = ReferenceScreen()
    likeness: LikenessScreen | None = None

    @property
    def content_hash(self) -> ContentHash:
        """The version of these settings."""
        return hash_json(self.model_dump(mode="json"))


class LabelSettings(_Settings):
    """How labels are screened for the supervised member, by models that have not seen the row or its copies."""

    version: Literal[1] = 1
    seed: int = Field(default=0, ge=0, lt=2**31, description="of the folds and the models")
    folds: int = Field(default=3, ge=2, le=20)
    rounds: int = Field(default=60, ge=1, description="trees of each model")
    least_frauds: int = Field(default=50, ge=2, description="labelled frauds below which labels are not judged")
    surely_fraud: float = Field(
        default=0.9,
        gt=0.5,
        le=1,
        description="probability that contradicts `legitimate`, at most: less where labelled frauds have little more",
    )
    likeness: float = Field(
        default=0.75, gt=0, le=1, description="share of the labelled frauds' mean probability that contradicts as well"
    )
    least_lift: float = Field(
        default=10.0, gt=1, description="multiple of the share of frauds, below which nothing contradicts `legitimate`"
    )
    unsupported_lift: float = Field(
        default=2.0, gt=0, description="multiple of the share of frauds, up to which a probability contradicts `fraud`"
    )
    exclude: Literal["none", "legitimate", "fraud", "both"] = Field(
        default="none", description="contradicted labels whose rows stay out; the others are only reported"
    )
    most: float = Field(default=0.05, gt=0, le=1, description="share of labelled rows beyond which the screen fails")


def parse_sanitation(given: Mapping[str, Any]) -> SanitationSettings:
    """Return the settings, or raise ContractError naming the field that is wrong."""
    try:
        return SanitationSettings.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ContractError(f"sanitation, {field}: {first['msg']}") from error
