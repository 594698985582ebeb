"""Alibi Detect is asked for by name only, says its licence, draws by itself, and takes rows one by one."""

import logging
import subprocess
import sys

import numpy as np
import pytest

from vigil.errors import ContractError
from vigil.monitoring.detectors.alibi_online import OnlineSettings, make_online_detector
from vigil.monitoring.detectors.alibi_package import import_alibi
from vigil.monitoring.port import Columns, OnlineDetector

from .subjects import made, usual_rows

pytestmark = pytest.mark.xdist_group("alibi")

WITHOUT = """
import sys
from vigil.errors import MissingExtra
from vigil.monitoring.detectors import DetectorSettings, make_detector
from vigil.monitoring.port import Columns
import numpy as np
rows = Columns({"x": np.arange(50.0)}, {}, np.arange(50))
make_detector().fit(rows).test(rows)
assert not {"alibi_detect", "sklearn"} & set(sys.modules)
sys.modules["alibi_detect"] = None
try:
    make_detector(DetectorSettings(name="alibi_ks")).fit(rows)
except MissingExtra as error:
    assert "pip install 'vigil[monitor]'" in str(error)
else:
    raise AssertionError("nothing was missed")
"""


def flags(share: float, rows: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).random(rows) < share).astype(np.float64)


def column(values: np.ndarray) -> Columns:
    return Columns({"flag": values}, {}, np.arange(len(values)))


@pytest.fixture(scope="module")
def settings() -> OnlineSettings:
    return OnlineSettings(name="alibi_fet_online", rows_to_false_alarm=400, windows=(20,), streams=1_000)


@pytest.fixture(scope="module")
def online(settings: OnlineSettings) -> OnlineDetector:
    return make_online_detector(settings, column(flags(0.1, 500, 0)))


def test_the_default_needs_no_alibi_and_its_absence_is_told_with_the_cure() -> None:
    found = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_its_licence_is_told_when_it_is_used(caplog: pytest.LogCaptureFixture) -> None:
    import_alibi.cache_clear()
    with caplog.at_level(logging.WARNING):
        made("alibi_ks").fit(usual_rows("alibi_ks", 100, 0))
        made("alibi_ks").fit(usual_rows("alibi_ks", 100, 0))
    told = [record.getMessage() for record in caplog.records if "Business Source Licence 1.1" in record.getMessage()]
    assert len(told) == 1


def test_numpys_own_draws_stay_as_they_were() -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    made("alibi_classifier").fit(usual_rows("alibi_classifier", 300, 0)).test(usual_rows("alibi_classifier", 60, 1))
    assert np.array_equal(np.random.random(3), expected)  # noqa: NPY002


def test_an_online_detector_alarms_soon_after_a_change_and_seldom_before(online: OnlineDetector) -> None:
    assert isinstance(online, OnlineDetector)
    online.reset()
    before = [online.update({"flag": flag}) for flag in flags(0.1, 100, 3)]
    after = [online.update({"flag": flag}) for flag in flags(0.6, 60, 4)]
    assert sum(before) <= 5
    assert any(after[:40])


def test_an_online_detector_starts_again_after_a_reset(settings: OnlineSettings, online: OnlineDetector) -> None:
    online.reset()
    for flag in flags(0.9, 60, 5):
        drifted = online.update({"flag": flag})
    assert drifted
    online.reset()
    assert not online.update({"flag": 0.0})


def test_two_online_detectors_of_one_seed_agree(settings: OnlineSettings) -> None:
    one, other = (make_online_detector(settings, column(flags(0.1, 500, 0))) for _ in range(2))
    stream = flags(0.3, 80, 6)
    answers = [one.update({"flag": flag}) for flag in stream]
    np.random.random(10)  # noqa: NPY002
    assert [other.update({"flag": flag}) for flag in stream] == answers


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "lacks the column flag"),
        ({"flag": 1.0, "other": 0.0}, "has a column other"),
        ({"flag": float("nan")}, "column flag of the row is missing"),
        ({"flag": 0.5}, "0 or 1 is expected"),
    ],
)
def test_a_row_that_would_blind_an_online_detector_is_refused_by_name(
    online: OnlineDetector, row: dict[str, float], said: str
) -> None:
    with pytest.raises(ContractError, match=said):
        online.update(row)


def test_an_online_detector_refuses_what_it_cannot_be_set_up_with(settings: OnlineSettings) -> None:
    with pytest.raises(ContractError, match="simulate more than 2000"):
        make_online_detector(settings.model_copy(update={"rows_to_false_alarm": 2_000.0}), column(flags(0.1, 500, 0)))
    with pytest.raises(ContractError, match="column flag of the reference has other values than 0 and 1"):
        make_online_detector(settings, column(np.arange(500.0)))
    with pytest.raises(ContractError, match="column flag of the reference has missing values"):
        make_online_detector(settings, column(np.full(500, np.nan)))


def test_numbers_are_watched_one_by_one_by_cramer_von_mises() -> None:
    generator = np.random.default_rng(7)
    settings = OnlineSettings(name="alibi_cvm_online", rows_to_false_alarm=200, windows=(10,), streams=400)
    online = make_online_detector(settings, column(generator.normal(size=300)))
    before = [online.update({"flag": value}) for value in generator.normal(size=60)]
    after = [online.update({"flag": value}) for value in generator.normal(4.0, 1.0, 30)]
    assert sum(before) <= 6
    assert all(after[10:])
