"""Shards in service: the state survives restarts, crashes and new versions; memory is bounded."""

from pathlib import Path

import numpy as np
import pytest

from tests.fleet.panels import START
from tests.training.sites.samples import FIRST, NEXT, Fleet, values
from vigil.clock import HOUR
from vigil.fleet.bundled import shard_of
from vigil.fleet.live import LiveShard, Reading, open_live
from vigil.fleet.panel import Series
from vigil.fleet.score import Kind
from vigil.fleet.shelf import Shelf, in_folder, in_production

SITE = "S0003"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    found = Fleet(tmp_path_factory.mktemp("live"))
    found.run(values()[:, :FIRST])
    return found


def readings(first: int, last: int, site: str = SITE) -> list[Reading]:
    row = values()[int(site[1:])]
    return [(Series(site, "sales"), START + hour * HOUR, float(row[hour])) for hour in range(first, last)]


def memory(live: LiveShard) -> list[bytes]:
    return [part.tobytes() for part in (live.state.memory, live.state.daily, live.state.ring)]


def test_after_a_restart_and_after_a_crash_the_state_is_the_same_bit_for_bit(fleet: Fleet, tmp_path: Path) -> None:
    shard = fleet.shard_with(SITE)
    through = open_live(shard, tmp_path / "through")
    through.score(readings(FIRST, FIRST + 60))
    stopped = open_live(shard, tmp_path / "stopped")
    stopped.score(readings(FIRST, FIRST + 30))
    stopped.close()
    crashed = open_live(shard, tmp_path / "stopped")
    crashed.score(readings(FIRST + 30, FIRST + 60))
    with (tmp_path / "stopped" / f"{shard.model}.journal").open("ab") as journal:
        journal.write(b'["S0003", "sal')
    assert memory(open_live(shard, tmp_path / "stopped")) == memory(through)


def test_an_unseen_site_is_remembered_over_a_restart(fleet: Fleet, tmp_path: Path) -> None:
    live = open_live(fleet.shard_with(SITE), tmp_path)
    guest = [(Series("new", "sales"), time, value) for _, time, value in readings(FIRST, FIRST + 40)]
    live.score(guest)
    before = live.score(guest[-1:], learn=False)
    live.close()
    again = open_live(fleet.shard_with(SITE), tmp_path)
    assert list(again.state.guests) == [Series("new", "sales")]
    assert again.score(guest[-1:], learn=False).kind[-1] == before.kind[-1] == Kind.DUPLICATE


def test_what_does_not_learn_leaves_no_trace(fleet: Fleet, tmp_path: Path) -> None:
    live = open_live(fleet.shard_with(SITE), tmp_path)
    before = memory(live)
    assert len(live.score(readings(FIRST, FIRST + 5), learn=False)) == 5
    assert memory(live) == before
    assert live.lines == 0


def test_a_new_version_of_a_site_does_not_take_the_time_since_its_training_for_silence(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path / "home")
    fleet.run(values()[:, :FIRST])
    shelf = Shelf(lambda: in_production(fleet.registry, "chain"), tmp_path / "states", most=3)
    number = shelf.number_of(SITE)
    shelf.shard(number).score(readings(FIRST, NEXT + 48))
    fleet.run(values()[:, :NEXT])
    assert shelf.refresh() == shelf.numbers
    found = shelf.shard(number).score(readings(NEXT + 48, NEXT + 49))
    assert [Kind(kind) for kind in found.kind] == [Kind.NORMAL]
    assert found.versions == (fleet.shard_with(SITE).records[SITE].version,)


def test_a_rollback_of_another_site_keeps_the_state_of_a_site(tmp_path: Path) -> None:
    from vigil.training.sites.rollback import roll_back_site

    fleet = Fleet(tmp_path / "home")
    fleet.run(values()[:, :FIRST])
    fleet.run(values()[:, :NEXT])
    shelf = Shelf(lambda: in_production(fleet.registry, "chain"), tmp_path / "states", most=3)
    number = shelf.number_of(SITE)
    other = next(site for site in fleet.shard_with(SITE).records if site != SITE)
    live = shelf.shard(number)
    live.score(readings(NEXT, NEXT + 30))
    row = live.shard.fleet.position[Series(SITE, "sales")]
    before = live.state.memory[row].copy()
    roll_back_site(fleet.registry, fleet.settings, "chain", other, ("person:ann", "a test"))
    assert shelf.refresh() == [number]
    assert np.array_equal(shelf.shard(number).state.memory[row], before)


def test_memory_holds_as_many_shards_as_allowed_and_a_dropped_one_comes_back_as_it_was(
    fleet: Fleet, tmp_path: Path
) -> None:
    shelf = Shelf(lambda: in_production(fleet.registry, "chain"), tmp_path, most=2)
    first = shelf.shard(0)
    first.score(readings(FIRST, FIRST + 30, "S0001"))
    before = memory(first)
    for number in (1, 2, 1, 2):
        shelf.shard(number)
    assert (len(shelf), shelf.loads) == (2, 3)
    assert memory(shelf.shard(0)) == before
    assert (len(shelf), shelf.loads) == (2, 4)


def test_shards_are_found_in_a_folder_of_bundles_and_alone(fleet: Fleet, tmp_path: Path) -> None:
    folder = str(fleet.home / "models" / "bundles")
    assert sorted(one.number for one in in_folder(folder)) == [0, 1, 2]
    shelf = Shelf(lambda: in_folder(folder), tmp_path, most=1)
    assert shelf.number_of(SITE) == shard_of(SITE, 3)
    assert SITE in shelf.shard(shelf.number_of(SITE)).shard.records
    alone = Shelf(lambda: in_folder(in_folder(folder)[0].uri), tmp_path, most=1)
    assert len({alone.number_of(f"S{one}") for one in range(50)}) == 1
