"""Adapters of Alibi Detect's online detectors, which take one row after another."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vigil.errors import ContractError
from vigil.monitoring.detectors.alibi_package import import_alibi, own_draws
from vigil.monitoring.detectors.own import MINIMUM_ROWS
from vigil.monitoring.detectors.shape import require_kind, shape_of
from vigil.monitoring.port import Columns, OnlineDetector


class OnlineSettings(BaseModel):
    """The choice of an online detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["alibi_cvm_online", "alibi_fet_online"] = Field(
        description="any numbers by Cramer-von Mises, or shares of ones among zeros by Fisher's exact test"
    )
    rows_to_false_alarm: float = Field(default=10_000.0, gt=1.0, description="rows without a change until an alarm")
    windows: tuple[int, ...] = Field(default=(50, 200), min_length=1, description="rows that are compared at once")
    streams: int = Field(default=20_000, ge=100, description="simulated to find the thresholds")
    alternative: Literal["greater", "less"] = Field(default="greater", description="change of a share to be found")
    seed: int = Field(default=0, ge=0, description="of the simulation")


def make_online_detector(settings: OnlineSettings, reference: Columns) -> OnlineDetector:
    """Return the online detector with this reference, or raise ContractError if it cannot serve as one.

    The thresholds are simulated here, which takes seconds to minutes.
    """
    shape = shape_of(reference, MINIMUM_ROWS)
    require_kind(reference, settings.name, "numbers")
    _check_streams(settings, len(shape.numbers))
    for name in shape.numbers:
        _check_known(name, reference.numbers[name], binary=settings.name == "alibi_fet_online")
    known = np.stack([np.asarray(reference.numbers[name], dtype=np.float64) for name in shape.numbers], axis=1)
    draws = np.random.RandomState(settings.seed)
    with own_draws(draws):
        return AlibiOnline(settings.name, shape.numbers, _make(settings, known), draws)


def _check_streams(settings: OnlineSettings, columns: int) -> None:
    least = columns * settings.rows_to_false_alarm
    if settings.streams <= least:
        raise ContractError(
            f"{settings.streams} streams cannot find a threshold that {columns} columns pass once in "
            f"{settings.rows_to_false_alarm:g} rows: simulate more than {least:g}, or allow an alarm more often"
        )


def _check_known(name: str, values: "np.ndarray[Any, np.dtype[np.float64]]", *, binary: bool) -> None:
    if not np.isfinite(values).all():
        raise ContractError(f"column {name} of the reference has missing values: leave those rows out")
    if binary and not np.isin(values, (0.0, 1.0)).all():
        raise ContractError(f"column {name} of the reference has other values than 0 and 1: take alibi_cvm_online")


def _make(settings: OnlineSettings, known: "np.ndarray[Any, np.dtype[np.float64]]") -> Any:  # noqa: ANN401
    package = import_alibi()
    common = {
        "ert": settings.rows_to_false_alarm,
        "window_sizes": list(settings.windows),
        "n_bootstraps": settings.streams,
        "verbose": False,
    }
    if settings.name == "alibi_cvm_online":
        return package.CVMDriftOnline(known, **common)
    return package.FETDriftOnline(known.astype(np.bool_), alternative=settings.alternative, **common)


@dataclass(frozen=True, eq=False)
class AlibiOnline:
    """CVMDriftOnline or FETDriftOnline over the columns of a reference."""

    name: str
    columns: tuple[str, ...]
    detector: Any
    draws: np.random.RandomState
    """Of Fisher's test, which draws between equal statistics."""

    def update(self, row: Mapping[str, float]) -> bool:
        """Take a row and return whether the stream has drifted since the last reset."""
        self._check(row)
        values = np.array([row[name] for name in self.columns], dtype=np.float64)
        given = values if self.name == "alibi_cvm_online" else values.astype(np.bool_)
        with own_draws(self.draws):
            return bool(self.detector.predict(given, return_test_stat=False)["data"]["is_drift"])

    def reset(self) -> None:
        """Forget the rows, not the reference."""
        self.detector.reset_state()

    def _check(self, row: Mapping[str, float]) -> None:
        if missing := [name for name in self.columns if name not in row]:
            raise ContractError(f"the row lacks the column {missing[0]}")
        if unknown := sorted(set(row) - set(self.columns)):
            raise ContractError(f"the row has a column {unknown[0]} that the reference lacks: leave it out")
        for name in self.columns:
            if not math.isfinite(row[name]):
                raise ContractError(f"column {name} of the row is missing: watch such columns by windows instead")
            if self.name == "alibi_fet_online" and row[name] not in (0.0, 1.0):
                raise ContractError(f"column {name} of the row is {row[name]:g}: 0 or 1 is expected")
