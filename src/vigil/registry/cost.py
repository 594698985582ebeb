"""What a run cost: CPU seconds and bytes."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


class Cost(BaseModel):
    """What it took to make a version. It is measured, so it is kept beside the bundle, not in its identity."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu_seconds: float = Field(ge=0, allow_inf_nan=False, description="of this process and its finished children")
    gpu_seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    bytes_read: int = Field(default=0, ge=0, description="of training data")


@dataclass
class CostMeter:
    """Adds up what a block costs; `cost` is complete when the block has ended."""

    bytes_read: int = 0
    gpu_seconds: float = 0.0
    cpu_seconds: float = 0.0

    @property
    def cost(self) -> Cost:
        """The cost so far."""
        return Cost(cpu_seconds=self.cpu_seconds, gpu_seconds=self.gpu_seconds, bytes_read=self.bytes_read)


@contextmanager
def measure_cost() -> Iterator[CostMeter]:
    """Return a meter that holds the CPU seconds of the block; bytes and GPU seconds are added to it by the block."""
    meter = CostMeter()
    start = _cpu_seconds()
    try:
        yield meter
    finally:
        meter.cpu_seconds += _cpu_seconds() - start


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
