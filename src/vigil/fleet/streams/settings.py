"""The settings of the stream detector: one set for every stream, whatever its unit, frequency and shape."""

from pydantic import BaseModel, ConfigDict, Field

Weights = tuple[float, float, float, float, float, float, float]


class StreamSettings(BaseModel):
    """Everything that a score depends on besides the stream itself; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: int = Field(default=8192, ge=128, le=1 << 20, description="latest values that a new one is compared with")
    weights: Weights = Field(
        default=(0.5, 3.0, 1.0, 2.0, 2.0, 1.0, 2.0),
        description="of a new value, on a logarithmic scale, at this time of day, of a new short mean at this time, "
        "of a new sequence, off the daily profile, of a new mix",
    )
    power: float = Field(default=2.0, ge=1, le=16, description="1: the members' mean; more: the surest speak louder")
    block: int = Field(default=24, ge=1, description="values in a row that count once in a member's history")
    member_fading: float = Field(default=1.0, ge=0, le=16, description="how fast a member's older blocks fade")
    joint_block: int = Field(default=24, ge=1, description="the same of the members' common score")
    joint_fading: float = Field(default=1.5, ge=0, le=16, description="the same of the members' common score")
    rest_share: float = Field(default=0.03, ge=0, lt=1, description="rest after an alarm, as a share of the age")
    rest: int = Field(default=20, ge=0, description="least rest after an alarm, in values")
    step_up: float = Field(
        default=0.15, ge=0, description="how much rarer (decades) a value must be to be told at rest"
    )
