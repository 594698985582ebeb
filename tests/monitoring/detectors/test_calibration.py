"""Chances that hold on streams whose neighbouring rows resemble each other."""

import numpy as np
import pytest

from vigil.errors import ContractError
from vigil.monitoring.calibration import CalibratedDetector, calibrate
from vigil.monitoring.calibration_blocks import block_lengths
from vigil.monitoring.correction import adjust_columns
from vigil.monitoring.port import Columns, ColumnTest
from vigil.monitoring.reference import Reference
from vigil.monitoring.seasons import Season, SeasonMatch

from .streams import DAY, HOUR, MINUTE, part, site_rows, slow_rows
from .subjects import made, of, with_gaps, with_numbers

ROWS, WINDOW = 4_000, 200


def alarms(tests: tuple[ColumnTest, ...]) -> bool:
    return any(min(test.p_value, test.missing_p_value) < 0.05 for test in adjust_columns(tests))


def windows(rows: Columns, start: int) -> list[Columns]:
    return [part(rows, k, k + WINDOW) for k in range(start, len(rows) - WINDOW + 1, WINDOW)]


def ready(rows: Columns, name: str = "tabular", seed: int = 0, draws: int | None = None) -> CalibratedDetector:
    return calibrate(made(name), Reference.from_rows(part(rows, 0, ROWS)), WINDOW, seed, draws)


@pytest.fixture(scope="module")
def slow() -> tuple[Columns, CalibratedDetector]:
    rows = slow_rows(np.random.default_rng(7), ROWS + 40 * WINDOW, columns=6, memory=0.9)
    return rows, ready(rows)


def test_a_slow_stream_alarms_on_almost_every_window_without_calibration_and_seldom_with_it(
    slow: tuple[Columns, CalibratedDetector],
) -> None:
    rows, calibrated = slow
    tests = windows(rows, ROWS)
    assert sum(alarms(calibrated.matched.test(window)) for window in tests) >= 36
    assert sum(alarms(calibrated.test(window)) for window in tests) <= 6  # 40 windows, 2 expected


def test_a_lasting_change_of_a_slow_stream_is_still_found(slow: tuple[Columns, CalibratedDetector]) -> None:
    rows, calibrated = slow
    window = windows(rows, ROWS)[0]
    moved = calibrated.test(with_numbers(window, x3=window.numbers["x3"] + 5.0))
    assert of(moved, "x3").p_value < 0.05 / 12
    assert min(test.p_value for test in moved if test.column != "x3") > 1e-3


def test_independent_rows_keep_their_chances() -> None:
    rows = slow_rows(np.random.default_rng(8), ROWS + 50 * WINDOW, columns=6, memory=0.0)
    calibrated = ready(rows)
    found = np.array([[test.p_value for test in calibrated.test(window)] for window in windows(rows, ROWS)])
    assert 0.005 < np.mean(found < 0.05) < 0.09  # 300 chances with one reference
    assert 0.35 < np.mean(found < 0.5) < 0.65


def test_a_change_of_independent_rows_gets_a_chance_beyond_the_number_of_draws() -> None:
    rows = slow_rows(np.random.default_rng(8), ROWS + WINDOW, columns=2, memory=0.0)
    window = part(rows, ROWS, ROWS + WINDOW)
    tests = ready(rows).test(with_numbers(window, x0=window.numbers["x0"] + 1.0))
    assert of(tests, "x0").p_value < 1e-12


@pytest.mark.parametrize("days", [7, 14])
def test_a_site_with_days_and_weeks_alarms_on_every_window_without_its_season_and_seldom_with_it(days: int) -> None:
    generator = np.random.default_rng(days)
    rows = site_rows(generator, 20_000, days)
    later = site_rows(generator, 20_000 + days + 3, 14)
    reference = Reference.from_rows(rows)
    calibrated = calibrate(made("tabular"), reference, WINDOW, seed=0)
    plain = made("tabular").fit(rows)
    tests = windows(later, 0)
    assert reference.season is Season.WEEKDAY_HOUR
    assert len(tests) >= 30
    assert all(alarms(plain.test(window)) for window in tests)
    assert sum(alarms(calibrated.test(window)) for window in tests) <= 3
    dearer = site_rows(generator, 20_000 + days + 3, 14, scale=2.0)
    assert np.mean([of(calibrated.test(window), "amount").p_value < 1e-4 for window in windows(dearer, 0)]) > 0.9


def test_gaps_that_come_in_bursts_as_they_always_did_do_not_alarm() -> None:
    generator = np.random.default_rng(9)
    rows = slow_rows(generator, ROWS + 40 * WINDOW, columns=1, memory=0.0)
    silent = np.repeat(generator.random(len(rows) // 50) < 0.2, 50)
    bursts = with_numbers(rows, x0=np.where(silent, np.nan, rows.numbers["x0"]))
    calibrated = ready(bursts)
    tests = windows(bursts, ROWS)
    raw = [of(calibrated.matched.test(window), "x0").missing_p_value < 0.01 for window in tests]
    found = [of(calibrated.test(window), "x0").missing_p_value < 0.01 for window in tests]
    assert sum(raw) >= 12
    assert sum(found) <= 3
    assert of(calibrated.test(with_gaps(tests[0], "x0", 1)), "x0").missing_p_value < 0.01


def test_the_same_seed_gives_the_same_chances_and_another_one_others() -> None:
    rows = slow_rows(np.random.default_rng(10), ROWS + WINDOW, columns=2, memory=0.5)
    window = part(rows, ROWS, ROWS + WINDOW)
    assert ready(rows, draws=60).test(window) == ready(rows, draws=60).test(window)
    assert ready(rows, draws=60).test(window) != ready(rows, seed=1, draws=60).test(window)


@pytest.mark.xdist_group("alibi")
@pytest.mark.parametrize("name", ["alibi_ks", "alibi_classifier"])
def test_detectors_that_cannot_weigh_a_reference_are_calibrated_as_well(name: str) -> None:
    rows = slow_rows(np.random.default_rng(11), ROWS + 10 * WINDOW, columns=2, memory=0.9)
    calibrated = ready(rows, name, draws=40)
    tests = [min(test.p_value for test in calibrated.test(window)) for window in windows(rows, ROWS)]
    assert sum(chance < 0.01 for chance in tests) <= 2
    assert sum(chance < 0.01 for chance in (calibrated.matched.test(w)[0].p_value for w in windows(rows, ROWS))) >= 4


def test_a_window_that_the_reference_is_too_small_for_is_refused() -> None:
    rows = slow_rows(np.random.default_rng(12), 300, columns=1, memory=0.0)
    with pytest.raises(ContractError, match="windows of 200 rows need a reference of 400, it has 300"):
        calibrate(made("tabular"), Reference.from_rows(rows), 200, seed=0)


def test_one_week_does_not_hide_the_memory_of_its_days() -> None:
    generator = np.random.default_rng(14)
    time = np.arange(0, 7 * DAY, 5 * MINUTE, dtype=np.int64)
    special = generator.normal(size=7 * 24)[time // HOUR] + generator.normal(size=len(time))
    match = SeasonMatch.of(time, Season.WEEKDAY_HOUR)
    assert block_lengths(Columns({"x": special}, {}, time), match, most=500)["x"] >= 32


def test_blocks_are_as_long_as_a_column_remembers() -> None:
    generator = np.random.default_rng(13)
    quick, slow = slow_rows(generator, ROWS, 1, 0.0), slow_rows(generator, ROWS, 1, 0.9)
    rows = Columns(
        {"quick": quick.numbers["x0"], "slow": slow.numbers["x0"], "constant": np.ones(ROWS)},
        {
            "quick_kind": generator.choice(["a", "b"], ROWS).tolist(),
            "slow_kind": np.where(slow.numbers["x0"] > 0.0, "a", "b").tolist(),
        },
        quick.time,
    )
    found = block_lengths(rows, SeasonMatch.of(rows.time, Season.NONE), most=1_000)
    assert found["quick"] == found["quick_kind"] == found["constant"] == 1
    assert 64 <= found["slow"] <= 512
    assert 16 <= found["slow_kind"] <= 512
