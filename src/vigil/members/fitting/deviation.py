"""How the statistical members are fitted: what is usual, from rows that are not known as fraud."""

import numpy as np

from vigil.members.base import Facts, Matrix, TrainingRows, need_rows
from vigil.members.deviation import (
    Band,
    ControlChart,
    ControlChartSettings,
    Iqr,
    IqrSettings,
    ZScore,
    ZScoreSettings,
    usable_spread,
)
from vigil.members.rolling_quantile import RollingQuantile, RollingQuantileSettings, band_of
from vigil.members.settings import MemberSettings

_NORMAL_MAD = 1.4826
"""Standard deviations in a median absolute deviation of a normal distribution."""
_NORMAL_RANGE = 1.128
"""Mean absolute difference of two normal values, in standard deviations."""


def fit_z_score(settings: ZScoreSettings, rows: TrainingRows) -> ZScore:
    """Return the member around the median and the median absolute deviation of each feature."""
    values = _usual(settings, rows)
    exact = values.astype(np.float64)
    median = np.median(exact, axis=0)
    spread = usable_spread(_NORMAL_MAD * np.median(np.abs(exact - median), axis=0), values)
    return ZScore(settings.name, rows.matrix.names, settings.limit, _facts(values), Band(median, median, spread))


def fit_iqr(settings: IqrSettings, rows: TrainingRows) -> Iqr:
    """Return the member around the quartiles of each feature."""
    values = _usual(settings, rows)
    return Iqr(settings.name, rows.matrix.names, settings.limit, _facts(values), band_of(values, 0.25, 0.75))


def fit_control_chart(settings: ControlChartSettings, rows: TrainingRows) -> ControlChart:
    """Return the member around the mean of each feature, measured by the differences of values successive in time."""
    values = _usual(settings, rows)
    exact = values.astype(np.float64)
    mean = exact.mean(axis=0)
    spread = usable_spread(np.abs(np.diff(exact, axis=0)).mean(axis=0) / _NORMAL_RANGE, values)
    return ControlChart(settings.name, rows.matrix.names, settings.limit, _facts(values), Band(mean, mean, spread))


def fit_rolling_quantile(settings: RollingQuantileSettings, rows: TrainingRows) -> RollingQuantile:
    """Return the member that starts from the latest training rows."""
    values = _usual(settings, rows)[-settings.window :]
    return RollingQuantile(
        name=settings.name,
        feature_names=rows.matrix.names,
        threshold=settings.limit,
        facts=_facts(values),
        band=band_of(values, settings.lower, settings.upper),
        latest=np.ascontiguousarray(values),
        window=settings.window,
        lower=settings.lower,
        upper=settings.upper,
        learn_below=settings.learn_below,
    )


def _usual(settings: MemberSettings, rows: TrainingRows) -> Matrix:
    need_rows(len(rows.normal), 2, settings.name)
    return rows.normal


def _facts(values: Matrix) -> Facts:
    return {"rows": len(values)}
