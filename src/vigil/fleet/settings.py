"""The settings of a fleet: what is learned, how it adapts, and how many incidents a site may raise."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vigil.clock import DAY, HOUR, MICROSECOND, SECOND


class Limits(BaseModel):
    """One limit for each thing that is watched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    z: float = Field(default=3.5, gt=0, description="of one reading, in robust standard deviations")
    range: float = Field(default=0.5, gt=0, description="of one reading beyond all but the extremes, in their distance")
    cusum: float = Field(default=6.0, gt=0, description="of the sum of what is more than half a deviation, in these")
    window: float = Field(default=3.0, gt=0, description="of the sum over a window, in its standard deviations")
    stuck: float = Field(default=12.0, gt=0, description="of equal values: minus the logarithm of their probability")
    silence: float = Field(default=9.0, gt=0, description="of missing readings: minus the logarithm of theirs")

    @property
    def each(self) -> tuple[float, ...]:
        """The limit of each statistic of `vigil.fleet.kernels.online`: the first four twice, high and low."""
        return (self.z,) * 2 + (self.range,) * 2 + (self.cusum,) * 2 + (self.window,) * 2 + (self.stuck, self.silence)


class FleetSettings(BaseModel):
    """Everything that a fit depends on besides its readings; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_seconds: int = Field(default=HOUR // SECOND, ge=1, description="time between two readings of a series")
    budget: float = Field(default=0.4, gt=0, le=100, description="false incidents per site and month that are allowed")
    floors: Limits = Field(default=Limits(), description="least thresholds")
    ceilings: Limits = Field(
        default=Limits(z=20.0, range=4.0, cusum=250.0, window=18.0, stuck=60.0, silence=60.0),
        description="largest thresholds, whatever the history holds",
    )
    site_days: float = Field(default=28.0, gt=0, description="history from which a site has a profile of its own")
    site_readings: int = Field(default=24, ge=2, description="least readings of that history")
    cluster_readings: int = Field(default=6, ge=1, description="history from which a cluster can be chosen for a site")
    clusters: int = Field(default=6, ge=1, le=64, description="most groups of alike sites, where none are given")
    yearly_days: float = Field(default=550.0, gt=0, description="history from which a yearly season is learned")
    absorb_after: int = Field(
        default=3,
        ge=2,
        le=12,
        description="times that a slot must look new before a retraining believes it",
    )
    fault_days: float = Field(default=1.0, gt=0, description="a stuck run of that length is never learned from")
    patience: int = Field(default=2, ge=1, le=100, description="missing steps in a row before silence is an incident")
    silence_rows: int = Field(default=168, ge=1, description="findings of one silence; open until a reading comes")
    grace_seconds: int = Field(default=0, ge=0, description="how late a reading may be before it counts as missing")
    guests: int = Field(default=1024, ge=1, description="unseen series remembered at once; the least recent is dropped")

    @model_validator(mode="after")
    def _floors_are_below_ceilings(self) -> "FleetSettings":
        if any(low > high for low, high in zip(self.floors.each, self.ceilings.each, strict=True)):
            raise ValueError("a floor is above its ceiling")
        return self

    @property
    def step(self) -> int:
        """Microseconds between two readings."""
        return self.step_seconds * SECOND * MICROSECOND

    @property
    def day_steps(self) -> int:
        """Steps of a day; 1 where a step is a day or longer."""
        return max(1, DAY // self.step)

    @property
    def week_steps(self) -> int:
        """Slots of the week; 1 where a step is a week or longer."""
        return max(1, 7 * DAY // self.step)

    @property
    def slots(self) -> int:
        """Slots of a profile: those of the week, then those of a holiday."""
        return self.week_steps + self.day_steps

    @property
    def window(self) -> int:
        """Readings whose sum is watched: a day of hours, a week of days, a month of weeks."""
        return self.day_steps if self.day_steps > 1 else max(4, self.week_steps)

    @property
    def block(self) -> int:
        """Steps over which a level is estimated and a maximum is taken."""
        return max(self.week_steps, 4)
