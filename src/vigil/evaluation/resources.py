"""What a model costs: its latency, its size, and the CPU, GPU and storage of a run in money."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vigil.errors import ContractError
from vigil.evaluation.behaviour import Matrix, Score

Timer = Callable[[], float]
"""Returns seconds that only grow, such as `time.perf_counter`."""

_HOUR_SECONDS = 3600.0
_GIB = float(1 << 30)


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(_Data):
    """How long one row takes, in milliseconds, and how many rows a second a batch makes."""

    calls: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    batch_rows: int
    rows_per_second: float | None = Field(description="None where the timer saw no time pass")


class Prices(_Data):
    """What the machine costs, in one currency."""

    currency: str = Field(default="USD", min_length=3, max_length=3)
    cpu_hour: float = Field(default=0.04, ge=0, description="one core for an hour")
    gpu_hour: float = Field(default=2.5, ge=0, description="one GPU for an hour")
    gib_month: float = Field(default=0.02, ge=0, description="storage of one GiB for a month")


class Usage(_Data):
    """What a run used and made."""

    cpu_seconds: float = Field(ge=0)
    gpu_seconds: float = Field(default=0.0, ge=0)
    stored_bytes: int = Field(default=0, ge=0)
    sites: int = Field(default=1, ge=1)
    predictions: int = Field(default=0, ge=0, description="rows scored")
    prediction_cpu_seconds: float = Field(default=0.0, ge=0, description="of those rows alone")


class Cost(_Data):
    """The price of a run in one currency; `per_1000_predictions` is None where no row was scored."""

    currency: str
    per_run: float | None
    per_site: float | None
    storage_per_month: float
    per_1000_predictions: float | None
    usage: Usage


def measure_latency(score: Score, matrix: Matrix, timer: Timer, calls: int = 200, warm_up: int = 10) -> Latency:
    """Return the latency of single rows of the matrix, in turn, and the speed of the whole matrix as one batch."""
    if not len(matrix):
        raise ContractError("latency needs rows to score")
    for i in range(warm_up):
        score(matrix[i % len(matrix)][None, :])
    spans = np.empty(calls)
    for i in range(calls):
        row = matrix[i % len(matrix)][None, :]
        start = timer()
        score(row)
        spans[i] = timer() - start
    start = timer()
    score(matrix)
    batch = timer() - start
    p50, p95, p99 = (np.quantile(spans, (0.5, 0.95, 0.99), method="higher") * 1000).tolist()
    return Latency(
        calls=calls,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        batch_rows=len(matrix),
        rows_per_second=len(matrix) / batch if batch > 0 else None,
    )


def bundle_bytes(folder: Path) -> int:
    """Return the size of all files of a bundle."""
    if not folder.is_dir():
        raise ContractError(f"{folder} is not a folder: there is no bundle to weigh")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def process_seconds() -> float:
    """Return the CPU seconds of this process and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


class CpuMeter:
    """Sums the CPU seconds of the blocks that it is entered for: `with meter: ...`."""

    def __init__(self, timer: Timer = process_seconds) -> None:
        self._timer = timer
        self._start = 0.0
        self.seconds = 0.0

    def __enter__(self) -> "CpuMeter":
        self._start = self._timer()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += self._timer() - self._start


def cost_of(usage: Usage, prices: Prices) -> Cost:
    """Return the price of what a run used."""
    per_cpu_second = prices.cpu_hour / _HOUR_SECONDS
    per_run = usage.cpu_seconds * per_cpu_second + usage.gpu_seconds * prices.gpu_hour / _HOUR_SECONDS
    scored = usage.prediction_cpu_seconds * per_cpu_second
    return Cost(
        currency=prices.currency,
        per_run=per_run,
        per_site=per_run / usage.sites,
        storage_per_month=usage.stored_bytes / _GIB * prices.gib_month,
        per_1000_predictions=1000 * scored / usage.predictions if usage.predictions else None,
        usage=usage,
    )
