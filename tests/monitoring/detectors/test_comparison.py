"""A window compared by the settings, from the choice of the detector to the columns that have drifted."""

import numpy as np
import pytest
from pydantic import ValidationError

from vigil.monitoring.comparison import ComparisonSettings, compare
from vigil.monitoring.detectors import DetectorSettings
from vigil.monitoring.reference import Reference

from .streams import site_rows
from .subjects import with_gaps, with_numbers

QUICK = ComparisonSettings(calibrate=False)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.from_rows(site_rows(np.random.default_rng(0), 20_000, 14))


@pytest.mark.parametrize("settings", [ComparisonSettings(), QUICK])
def test_a_day_without_a_change_gives_no_finding(reference: Reference, settings: ComparisonSettings) -> None:
    assert compare(reference, site_rows(np.random.default_rng(1), 20_020, 1), settings) == ()


@pytest.mark.parametrize(
    "detector",
    ["tabular", "tabular_cvm", pytest.param("alibi_tabular", marks=pytest.mark.xdist_group("alibi"))],
)
def test_what_has_changed_is_found_by_each_detector_surest_first(reference: Reference, detector: str) -> None:
    day = site_rows(np.random.default_rng(1), 20_020, 1, scale=2.0)
    settings = ComparisonSettings(detector=DetectorSettings.model_validate({"name": detector}), calibrate=False)
    found = compare(reference, with_gaps(day, "items", 4), settings)
    assert {(finding.column, finding.kind) for finding in found} == {("amount", "values"), ("items", "missing")}
    assert [finding.p_value for finding in found] == sorted(finding.p_value for finding in found)


def test_a_change_of_the_calibrated_window_is_found(reference: Reference) -> None:
    day = site_rows(np.random.default_rng(1), 20_020, 1)
    (finding,) = compare(reference, with_numbers(day, amount=day.numbers["amount"] * 100.0))
    assert (finding.column, finding.kind) == ("amount", "values")
    assert finding.p_value < 1e-6


@pytest.mark.parametrize("wrong", [{"detector": {"name": "psi"}}, {"level": 0.0}, {"unknown": 1}])
def test_settings_that_nothing_fulfils_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ComparisonSettings.model_validate(wrong)
