"""The fleet as a whole: deterministic files, order of series, one series replaced and rolled back, refusals."""

import numpy as np
import pytest

from tests.fleet.panels import START, panel_of, readings_of_values
from tests.fleet.subjects import HISTORY, SETTINGS, after, fleet, later, tail, values
from vigil.clock import DAY, HOUR
from vigil.errors import ContractError
from vigil.fleet.fit import fit_fleet
from vigil.fleet.model import Basis, restore_fleet
from vigil.fleet.panel import Panel, Readings, Series, SiteFacts
from vigil.fleet.score import score, step
from vigil.fleet.thresholds import with_budget


def test_the_same_panel_gives_the_same_bytes_whatever_the_order_of_its_readings() -> None:
    panel = panel_of(values()[:, :HISTORY])
    mixed = panel.readings.take(np.random.default_rng(0).permutation(len(panel.readings)))
    assert fit_fleet(Panel(mixed), SETTINGS).to_files() == fleet().to_files()


def test_the_order_of_the_series_changes_nothing() -> None:
    panel = panel_of(values()[:, :HISTORY])
    series = panel.series[::-1]
    turned = Readings(series, (7 - panel.readings.index).astype(np.int32), panel.readings.times, panel.readings.values)
    other = fit_fleet(Panel(turned), SETTINGS)
    same = other.take(fleet().series)
    assert same.to_files() == fleet().to_files()


def test_what_is_written_is_read_again_and_scores_the_same() -> None:
    files = fleet().to_files()
    restored = restore_fleet(files)
    assert restored.to_files() == files
    mine, theirs = (score(one, one.start_state(), later()) for one in (fleet(), restored))
    assert mine.surprise.tobytes() == theirs.surprise.tobytes()


@pytest.mark.parametrize("name", ["fleet.json", "fleet.npz", "thresholds.npz"])
def test_a_truncated_file_is_refused_by_name(name: str) -> None:
    files = fleet().to_files()
    files[name] = files[name][: len(files[name]) // 2]
    with pytest.raises(ContractError, match=name):
        restore_fleet(files)


def test_scores_are_finite_within_bounds_and_not_constant() -> None:
    findings = after(tail())
    assert np.isfinite(findings.surprise).all()
    assert findings.surprise.min() >= 0.0
    assert findings.surprise.max() < 1.0
    assert len(np.unique(findings.surprise)) > len(findings) // 2
    for name in ("z", "expected", "low", "high", "ratio", "threshold"):
        assert np.isfinite(getattr(findings, name)).all(), name
    assert (findings.low <= findings.expected).all()
    assert (findings.expected <= findings.high).all()


def test_a_larger_deviation_is_never_less_surprising() -> None:
    found = []
    for factor in (1.0, 1.5, 2.0, 3.0, 5.0, 20.0):
        changed = tail()
        changed[3, 240] *= factor
        findings = after(changed)
        found.append(findings.surprise[(findings.index == 3) & (findings.times == START + (HISTORY + 240) * HOUR)][0])
    assert np.diff(found).min() >= 0.0
    assert found[-1] > found[0]


def test_a_row_is_flagged_where_its_surprise_reaches_the_threshold() -> None:
    changed = tail()
    changed[2:5, 200:230] *= 3
    findings = after(changed)
    assert 0 < findings.flagged.sum() < len(findings)
    assert np.array_equal(findings.flagged, findings.surprise >= findings.threshold)


def test_surprise_is_the_share_of_normal_readings_that_surprise_less() -> None:
    findings = after(tail())
    for share in (0.5, 0.8, 0.9, 0.99):
        assert abs((findings.surprise < share).mean() - share) < 0.09


def test_scoring_does_not_change_readings_or_fleet() -> None:
    readings, before = later(), fleet().to_files()
    copied = readings.values.copy()
    score(fleet(), fleet().start_state(), readings)
    assert np.array_equal(readings.values, copied)
    assert fleet().to_files() == before


def test_one_series_is_replaced_by_another_version_and_rolled_back() -> None:
    challenger = fit_fleet(panel_of(values()[:, 14 * 24 : HISTORY], first=14 * 24), SETTINGS, version="2")
    chosen = fleet().series[2]
    mixed = fleet().merge(challenger.take([chosen]))
    assert mixed.versions[:8] == ("1", "1", "2", "1", "1", "1", "1", "1")
    findings = score(mixed, mixed.start_state(), later())
    mine = findings.index == 2
    assert {findings.versions[row] for row in np.flatnonzero(mine)} == {"2"}
    old = score(fleet(), fleet().start_state(), later())
    assert findings.surprise[~mine].tobytes() == old.surprise[~mine].tobytes()
    back = mixed.merge(fleet().take([chosen]))
    assert back.to_files()["fleet.npz"] == fleet().to_files()["fleet.npz"]


def test_fleets_of_different_settings_are_not_merged() -> None:
    other = with_budget(fleet(), 3.0)
    with pytest.raises(ContractError, match="different settings"):
        fleet().merge(other)


def test_a_larger_budget_lowers_the_thresholds_between_floor_and_ceiling() -> None:
    tight, loose = with_budget(fleet(), 0.05), with_budget(fleet(), 5.0)
    assert (loose.tables.norms <= tight.tables.norms).all()
    assert (loose.tables.norms < tight.tables.norms).any()
    for one in (tight, loose):
        assert (one.tables.norms >= np.array(SETTINGS.floors.each) - 1e-9).all()
        assert (one.tables.norms <= np.array(SETTINGS.ceilings.each) + 1e-9).all()
    assert with_budget(loose, SETTINGS.budget).to_files() == fleet().to_files()


def test_an_unseen_site_is_scored_by_the_global_model_and_says_so() -> None:
    state = fleet().start_state()
    findings = step(fleet(), state, Series("new", "sales"), START + HISTORY * HOUR, 30.0)
    assert Basis(findings.basis[-1]) is Basis.GLOBAL
    assert findings.history[-1] == 0
    assert not findings.flagged[-1]


def test_an_unseen_site_gets_its_own_level_as_it_reports() -> None:
    state = fleet().start_state()
    changed = tail()[3:4] * 5
    readings = readings_of_values(changed, first=HISTORY)
    new = Readings((Series("new", "sales"),), readings.index, readings.times, readings.values)
    findings = score(fleet(), state, new)
    noon = np.arange(12, len(findings), 24)
    error = np.abs(np.log(findings.expected / findings.values))[noon]
    fallback = np.abs(np.log(fleet_median_at_noon() / findings.values[noon]))
    assert np.median(error[7:]) < 0.15 * np.median(fallback)
    assert findings.flagged.mean() < 0.1


def fleet_median_at_noon() -> float:
    return float(np.median(values()[:, 12:HISTORY:24]))


def test_an_unknown_metric_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ContractError, match="it knows sales"):
        step(fleet(), fleet().start_state(), Series("S0000", "humidity"), START, 1.0)


def test_sites_with_little_history_rest_on_their_cluster_or_on_all() -> None:
    history = values()[:, :HISTORY].copy()
    history[5, : HISTORY - 72] = np.nan
    history[6, : HISTORY - 3] = np.nan
    cold = fit_fleet(panel_of(history), SETTINGS)
    findings = score(cold, cold.start_state(), later())
    bases = {site: Basis(findings.basis[findings.index == site][0]) for site in (4, 5, 6)}
    assert bases == {4: Basis.SITE, 5: Basis.CLUSTER, 6: Basis.GLOBAL}
    assert findings.history[findings.index == 5][0] == 72


def test_late_and_repeated_readings_are_told_and_change_nothing() -> None:
    state = fleet().start_state()
    series, hour = fleet().series[4], START + HISTORY * HOUR
    step(fleet(), state, series, hour, 50.0)
    step(fleet(), state, series, hour + HOUR, 51.0)
    before = state.memory.tobytes()
    late = step(fleet(), state, series, hour, 5000.0)
    twice = step(fleet(), state, series, hour + HOUR, 51.0)
    table = {"late": late, "duplicate": twice}
    for kind, found in table.items():
        assert found.to_table()["kind"].to_pylist() == [kind]
        assert not found.flagged.any()
    assert state.memory.tobytes() == before


def test_holidays_have_a_profile_of_their_own() -> None:
    from datetime import date, timedelta

    history = values()[:, :HISTORY].copy()
    days = [15, 30, 44, 59]
    for day in days:
        history[3, day * 24 : day * 24 + 24] *= 0.2
    holidays = tuple(date(2025, 1, 6) + timedelta(days=day) for day in [*days, 73])
    facts = {"S0003": SiteFacts(holidays=holidays)}
    known = fit_fleet(Panel(panel_of(history).readings, facts), SETTINGS)
    changed = tail()
    changed[3, 72:96] *= 0.2
    told, untold = (score(one, one.start_state(), later(changed)) for one in (known, fleet()))
    rows = (told.index == 3) & (told.times >= START + 73 * DAY) & (told.times < START + 74 * DAY)
    assert told.flagged[rows].sum() == 0
    assert untold.flagged[rows].sum() > 10


def test_opening_hours_that_are_given_hold() -> None:
    hours = ((9, 12),) * 5 + (None, None, None)
    fitted = fit_fleet(Panel(panel_of(values()[:, :HISTORY]).readings, {"S0003": SiteFacts(hours=hours)}), SETTINGS)
    closed = fitted.tables.closed[3]
    assert np.array_equal(np.flatnonzero(~closed), [day * 24 + hour for day in range(5) for hour in (9, 10, 11)])
