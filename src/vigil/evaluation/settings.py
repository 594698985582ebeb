"""How to measure: configuration of the metrics and of their intervals."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class MetricSettings(BaseModel):
    """What the metrics assume about the operation, and how their intervals are made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alerts_per_day: float = Field(default=100, gt=0, description="rows that analysts can look at in a day")
    top_cards: int = Field(default=100, ge=1, description="cards looked at in a day, for the card precision")
    cost_per_alert: float = Field(default=5.0, ge=0, description="currency units to look at one alert")
    false_positive_rate: float = Field(default=0.01, gt=0, lt=1, description="where the recall is read off")
    block: Literal["entity", "day"] = Field(default="entity", description="what the bootstrap draws as a whole")
    resamples: int = Field(default=1000, ge=100, description="of the bootstrap")
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of every interval")
    seed: int = Field(default=0, ge=0, description="of the bootstrap")
    minimum_rows: int = Field(default=200, ge=1, description="with fewer no interval is given")
    minimum_positives: int = Field(default=10, ge=1, description="with fewer no interval is given")
    minimum_blocks: int = Field(default=5, ge=2, description="with fewer no interval is given")
