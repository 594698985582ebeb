"""The compiled recursion beside a slow one in plain Python, and fitted profiles beside the known truth."""

import math

import numpy as np

from tests.fleet.panels import START, panel_of
from tests.fleet.subjects import HISTORY, SETTINGS, after, fleet, later, tail
from vigil.clock import HOUR
from vigil.fleet.fit import fit_fleet
from vigil.fleet.kernels import online
from vigil.fleet.score import Kind, foresee, score

SITE = 3


def slow_recursion(values: np.ndarray, ratios: np.ndarray, kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return expected value and z of each hour after the history of an open site, from the fleet's tables alone."""
    tables, state = fleet().tables, fleet().start_state()
    names = ("UNIT", "OFFSET", "LEVEL", "SLOPE", "ORIGIN", "PHI", "INNOVATION", "FAST", "DAILY")
    p = {name: tables.params[SITE, getattr(online, name)] for name in names}
    shift, last = state.memory[SITE, online.SHIFT], state.memory[SITE, online.RESIDUAL]
    daily, expected, deviations = state.daily[SITE].copy(), [], []
    for number, value in enumerate(values):
        step = (START + (HISTORY + number) * HOUR) // HOUR
        slot, hour, spread = number % 168, number % 24, float(tables.scale[SITE, number % 168])
        level = p["LEVEL"] + p["SLOPE"] * min(step - p["ORIGIN"], 90 * 24)
        static = level + shift + daily[hour] + float(tables.profile[SITE, slot])
        predicted = static + p["PHI"] * max(-2 * spread, min(2 * spread, last))
        scaled = math.log(value / p["UNIT"] + p["OFFSET"])
        expected.append((math.exp(predicted) - p["OFFSET"]) * p["UNIT"])
        deviations.append((scaled - predicted) / (spread * p["INNOVATION"]))
        last = scaled - static
        if kinds[number] in (Kind.STUCK, Kind.UNIT) or abs(last) > 6 * spread:
            continue
        trust = 1.0 if ratios[number] < 1 else 0.3
        bounded = max(-2 * spread, min(2 * spread, last))
        shift += trust * p["FAST"] * bounded
        daily[hour] += trust * p["DAILY"] * bounded
    return np.array(expected), np.array(deviations)


def test_the_compiled_recursion_equals_a_slow_one() -> None:
    values = tail()
    values[SITE, 100:130] *= 0.5
    values[SITE, 300] *= 30
    findings = after(values)
    mine = findings.index == SITE
    assert not fleet().tables.closed[SITE].any()
    assert (values[SITE] > 0).all()
    expected, deviations = slow_recursion(values[SITE], findings.ratio[mine], findings.kind[mine])
    np.testing.assert_allclose(findings.expected[mine], expected, rtol=1e-5)
    np.testing.assert_allclose(findings.z[mine], deviations, rtol=1e-3, atol=1e-4)


def test_level_weekday_hour_and_opening_hours_are_found_despite_incidents_in_the_history() -> None:
    hours = np.arange(16 * 7 * 24)
    hour, weekday = hours % 24, hours // 24 % 7
    week = np.array([1.0, 1.0, 1.1, 1.2, 1.4, 1.7, 0.0])
    truth = np.where((hour >= 9) & (hour < 20), 40 + 25 * np.sin((hour - 9) / 11 * np.pi), 0.0) * week[weekday]
    draws = np.random.default_rng(5)
    history = truth[: 14 * 7 * 24] * np.exp(draws.normal(0, 0.05, 14 * 7 * 24))
    history[1000:1030] *= 8
    history[1500:1600] = 0.0
    history[draws.integers(0, len(history), 60)] *= 5
    fitted = fit_fleet(panel_of(np.stack([history] * 2)), SETTINGS)
    times = START + hours[14 * 7 * 24 :] * HOUR
    expected, low, high = foresee(fitted, fitted.start_state(), fitted.series[0], times)
    later = truth[14 * 7 * 24 :]
    open_ = later > 0
    assert np.abs(expected[open_] / later[open_] - 1).max() < 0.08
    assert np.abs(expected[~open_]).max() < 1e-6
    assert np.array_equal(fitted.tables.closed[0, :168], truth[:168] == 0)
    assert ((low < later) & (later < high))[open_].mean() > 0.99


def test_a_yearly_season_is_learned_where_two_years_cover_it() -> None:
    days = np.arange(830)
    truth = 100 * (1 + 0.3 * np.cos(2 * np.pi * days / 365.25))
    noisy = truth * np.exp(np.random.default_rng(1).normal(0, 0.05, len(days)))
    hourly = np.repeat(noisy, 24)[None]
    fitted = fit_fleet(panel_of(hourly[:, : 740 * 24]), SETTINGS)
    times = START + np.arange(740 * 24, 830 * 24) * HOUR
    expected = foresee(fitted, fitted.start_state(), fitted.series[0], times)[0]
    error = np.abs(expected / np.repeat(truth[740:], 24) - 1).mean()
    last_level = np.abs(truth[733:740].mean() / truth[740:] - 1).mean()
    assert error < 0.6 * last_level


def test_memory_does_not_grow_with_readings() -> None:
    state = fleet().start_state()
    before = sum(array.nbytes for array in (state.memory, state.daily, state.ring))
    score(fleet(), state, later())
    assert sum(array.nbytes for array in (state.memory, state.daily, state.ring)) == before
