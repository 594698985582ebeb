"""Readings of a chain to a live version for each site, run after run."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.fleet.panels import START, readings_of_values
from tests.training.sites.samples import FIRST, NEXT, SITES, Fleet, config, values
from vigil.clock import HOUR
from vigil.errors import ContractError
from vigil.fleet.bundled import Shard, shard_of
from vigil.fleet.panel import Series
from vigil.fleet.score import score
from vigil.training.sites.collect import collect_shards, require_every_shard
from vigil.training.sites.rollback import roll_back_site

BY = ("person:ann", "it alarms all night")
SITE = "S0003"
"""Open around the clock."""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    found = Fleet(tmp_path / "home")
    reports = found.run(values()[:, :FIRST])
    assert {one.outcome for one in reports.values()} == {"live"}
    return found


def rows_of(shard: Shard, site: str) -> list[bytes]:
    """Return every byte that the shard has of a site."""
    fleet = shard.fleet
    row = fleet.position[Series(site, "sales")]
    parts = [*fleet.tables, fleet.start.memory, fleet.start.daily, fleet.start.ring]
    return [np.ascontiguousarray(part[row]).tobytes() for part in parts] + [fleet.versions[row].encode()]


def after(fleet: Fleet, history: NDArray[np.float64]) -> float:
    """Return the share of the site's readings, in the two weeks after the next run, that the live model flags."""
    shard = fleet.shard_with(SITE)
    rest = readings_of_values(history[:, NEXT:], first=NEXT)
    mine = rest.take(np.array([one.site == SITE for one in rest.series])[rest.index])
    findings = score(shard.fleet, shard.fleet.start_state(), mine, START + history.shape[1] * HOUR)
    return float(findings.flagged[[findings.series[one].site == SITE for one in findings.index]].mean())


def test_every_site_has_a_live_version_in_the_shard_of_its_name(fleet: Fleet) -> None:
    live = fleet.live()
    assert sorted(site for shard in live.values() for site in shard.records) == [f"S{one:04d}" for one in range(SITES)]
    for name, shard in live.items():
        assert {f"shard-{shard_of(site, 3):02d}" for site in shard.records} == {name}
        assert {record.verdict for record in shard.records.values()} == {"promoted"}


def test_the_next_run_judges_each_site_against_its_own_champion_and_remembers_what_was_before(fleet: Fleet) -> None:
    before = fleet.live()
    reports = fleet.run(values()[:, :NEXT])
    for name, shard in fleet.live().items():
        assert shard.version == "2"
        assert all(verdict.error is not None for verdict in reports[name].sites.values())
        for site, record in shard.records.items():
            assert record.earlier[0].version == before[name].records[site].version != record.version
            assert record.earlier[0].bundle == before[name].bundle


def test_a_run_on_the_same_data_changes_nothing(fleet: Fleet) -> None:
    before = {name: shard.bundle for name, shard in fleet.live().items()}
    reports = fleet.run(values()[:, :FIRST])
    assert {name: shard.bundle for name, shard in fleet.live().items()} == before
    assert {one.outcome for one in reports.values()} == {"live"}


def test_a_site_whose_candidate_is_worse_keeps_its_champion_while_the_others_change(fleet: Fleet) -> None:
    history = values()[:, :NEXT].copy()
    number = int(SITE[1:])
    draws = np.random.default_rng(5)
    spoiled = slice(NEXT - 35 * 24, NEXT - 7 * 24)
    history[number, spoiled] = draws.permutation(history[number, spoiled]) * draws.uniform(0.2, 3.0, 28 * 24)
    before = fleet.shard_with(SITE)
    verdict = next(one.sites[SITE] for one in fleet.run(history).values() if SITE in one.sites)
    after = fleet.shard_with(SITE)
    assert not verdict.promoted
    assert "its champion's" in verdict.reasons[0]
    assert after.records[SITE].verdict == "kept"
    assert after.records[SITE].version == before.records[SITE].version
    tables = len(before.fleet.tables)
    assert rows_of(after, SITE)[:tables] == rows_of(before, SITE)[:tables]
    others = set(after.records) - {SITE}
    assert others
    assert all(after.records[site].version != before.records[site].version for site in others)


def test_a_silent_site_keeps_its_champion(fleet: Fleet) -> None:
    history = values()[:, :NEXT].copy()
    history[3, FIRST:] = np.nan
    before = fleet.shard_with(SITE).records[SITE].version
    fleet.run(history)
    record = fleet.shard_with(SITE).records[SITE]
    assert (record.version, record.verdict) == (before, "kept")
    assert "0 readings in the holdout" in record.reasons[0]


@pytest.mark.parametrize("change", ["renovation", "opening hours"])
def test_a_change_of_a_site_is_absorbed_by_the_next_run(fleet: Fleet, change: str) -> None:
    history = values().copy()
    later, hour = history[3, FIRST:], np.arange(history.shape[1] - FIRST) % 24
    if change == "renovation":
        later *= 1.8
    else:
        later[(hour < 6) | (hour >= 22)] = 0.0
    fleet.run(history[:, :NEXT])
    assert fleet.shard_with(SITE).records[SITE].verdict == "promoted"
    assert after(fleet, history) < 0.03


@pytest.mark.parametrize("fault", ["broken", "stuck", "unit"])
def test_a_fault_that_lasts_is_an_incident_after_the_next_run_as_well(fleet: Fleet, fault: str) -> None:
    history = values().copy()
    later = history[3, FIRST:]
    later[:] = {"broken": 0.0, "stuck": later[0], "unit": later * 100.0}[fault]
    fleet.run(history[:, :NEXT])
    assert after(fleet, history) > 0.9


def test_a_rollback_gives_one_site_its_previous_arrays_and_no_other_byte_changes(fleet: Fleet) -> None:
    first = fleet.shard_with(SITE)
    fleet.run(values()[:, :NEXT])
    second = fleet.shard_with(SITE)
    published, earlier = roll_back_site(fleet.registry, fleet.settings, "chain", SITE, BY)
    third = fleet.shard_with(SITE)
    assert (third.version, third.bundle) == (published.version, published.bundle) == ("3", third.bundle)
    assert rows_of(third, SITE) == rows_of(first, SITE)
    others = set(second.records) - {SITE}
    assert others
    assert all(rows_of(third, site) == rows_of(second, site) for site in others)
    assert third.fleet.series == second.fleet.series
    assert third.records[SITE].version == earlier.version == first.records[SITE].version
    assert {site: third.records[site] for site in others} == {site: second.records[site] for site in others}
    entry = fleet.registry.history(third.model)[-1]
    assert entry.actor == "person:ann"
    assert SITE in entry.reason and "it alarms all night" in entry.reason


def test_a_site_without_an_earlier_version_or_of_no_name_cannot_be_rolled_back(fleet: Fleet) -> None:
    with pytest.raises(ContractError, match="nothing to roll back to"):
        roll_back_site(fleet.registry, fleet.settings, "chain", SITE, BY)
    with pytest.raises(ContractError, match="has no site S9999"):
        roll_back_site(fleet.registry, fleet.settings, "chain", "S9999", BY)


def test_a_shard_that_fails_keeps_its_champions_and_the_others_go_live(fleet: Fleet, tmp_path: Path) -> None:
    broken = fleet.live()["shard-01"]
    for part in (fleet.home / "models" / "bundles" / broken.bundle.removeprefix("sha256:")).glob("*.npz"):
        part.write_bytes(part.read_bytes() + b"x")
    reports = fleet.run(values()[:, :NEXT])
    assert {name: one.outcome for name, one in reports.items()} == {
        "shard-00": "live",
        "shard-01": "failed",
        "shard-02": "live",
    }
    assert fleet.registry.state(broken.model).production == "1"
    assert fleet.registry.state(reports["shard-00"].model).production == "2"
    folder = tmp_path / "fleet"
    assert collect_shards([fleet.home / "run-2" / name for name in reports], folder) == "partly"
    with pytest.raises(ContractError, match=r"1 of 3 shards failed.*shard-01"):
        require_every_shard(folder)


def test_whole_runs_require_nothing(fleet: Fleet, tmp_path: Path) -> None:
    folders = [fleet.home / "run-1" / f"shard-0{one}" for one in range(3)]
    assert collect_shards(folders, tmp_path / "fleet") == "whole"
    require_every_shard(tmp_path / "fleet")
    assert "| shard-01 | live | 1 |" in (tmp_path / "fleet" / "fleet.md").read_text()


def test_another_number_of_shards_is_refused_since_sites_would_lose_their_champions(fleet: Fleet) -> None:
    reports = fleet.run(values()[:, :NEXT], config(shards=4))
    failed = [one for one in reports.values() if one.outcome == "failed"]
    assert failed and all("keep `shards`" in one.error for one in failed)


def test_another_budget_gives_other_thresholds_to_those_as_well_that_keep_their_champion(fleet: Fleet) -> None:
    history = values()[:, :NEXT].copy()
    history[3, FIRST:] = np.nan
    before = fleet.shard_with(SITE)
    reports = fleet.run(history, config(fleet={"budget": 4.0}))
    assert all(one.outcome == "live" for one in reports.values()), [one.error for one in reports.values()]
    after = fleet.shard_with(SITE)
    row = Series(SITE, "sales")
    old, new = (one.fleet.tables.norms[one.fleet.position[row]] for one in (before, after))
    assert after.fleet.settings.budget == 4.0
    assert (new <= old).all() and (new < old).any()
