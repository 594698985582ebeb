"""Controllers that are killed, and controllers that meet: the outcome is that of one that was left in peace."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.rollout.nursery import Nursery
from tests.rollout.simulated import Simulated, carry_on, carry_on_unlocked, control_for_ever, kill_after
from vigil.rollout.stores import Busy, FolderRecords

KILLS = 200
STORIES: dict[str, dict[str, Any]] = {
    "succeeded": {},
    "rolled_back": {"behaviour": {"errors": 0.1}},
    "rolled_back after the bake": {"blamed": True},
}


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The outcome of each story where nobody is killed."""
    outcomes = {}
    for story, nature in STORIES.items():
        place = Simulated(tmp_path_factory.mktemp("twin") / "home", **nature).prepare()
        carry_on(place)
        outcomes[story] = place.outcome()
    return outcomes


def test_the_stories_end_as_they_are_called(twins: dict[str, dict[str, Any]]) -> None:
    assert {story: twin["phase"] for story, twin in twins.items()} == {
        "succeeded": "succeeded",
        "rolled_back": "rolled_back",
        "rolled_back after the bake": "rolled_back",
    }
    assert [entry[0] for entry in twins["rolled_back after the bake"]["ledger"]][-2:] == ["promote", "rollback"]


def test_a_controller_that_is_killed_at_any_moment_ends_as_one_that_never_was(
    tmp_path: Path, nursery: Nursery, twins: dict[str, dict[str, Any]]
) -> None:
    rng, kills, rounds = random.Random(11), 0, 0
    while kills < KILLS:
        story = list(STORIES)[rounds % len(STORIES)]
        place = Simulated(tmp_path / f"home{rounds}", **STORIES[story]).prepare()
        while not place.record().status.settled:
            kills += kill_after(nursery, nursery.start(carry_on, place), rng.uniform(0, 0.08))
        assert place.outcome() == twins[story], f"round {rounds} of {story}"
        rounds += 1


@pytest.mark.parametrize("story", STORIES)
def test_two_controllers_that_ignore_the_lock_still_do_not_fight(
    tmp_path: Path, nursery: Nursery, twins: dict[str, dict[str, Any]], story: str
) -> None:
    place = Simulated(tmp_path / "home", **STORIES[story]).prepare()
    for pid in [nursery.start(carry_on_unlocked, place) for _ in range(2)]:
        assert nursery.wait(pid) == 0
    assert place.outcome() == twins[story]


def test_only_one_controller_gets_the_lock_and_the_next_one_when_that_is_killed(
    tmp_path: Path, nursery: Nursery
) -> None:
    place = Simulated(tmp_path / "home").prepare()
    records = FolderRecords(place.home)
    pid = nursery.start(control_for_ever, place)
    while not records.is_locked():
        time.sleep(0.01)
    with pytest.raises(Busy, match="another controller"):
        carry_on(place)
    assert kill_after(nursery, pid, 0)
    carry_on(place)
    assert place.record().status.settled
