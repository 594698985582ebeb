"""Rollouts in a real local runtime: its splitter divides and counts, its supervisor starts and stops."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rollout.local import begun, order, registry, traffic
from tests.runtime.world import World, world
from vigil.clock import system_clock
from vigil.contracts.keys import ModelName
from vigil.registry.store import FolderStore
from vigil.rollout.audit import AuditLog
from vigil.rollout.beginning import begin
from vigil.rollout.connecting import local_controller
from vigil.rollout.process import ensure_controller
from vigil.rollout.status import Phase, Record
from vigil.rollout.stores import FolderRecords


@pytest.fixture
def place(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home") as made:
        quiet = made.config.settings.model_copy(update={"tracking_uri": "none"})
        made.configure(grace_seconds=30, settings=quiet)
        made.up()
        yield made


def carry_on(place: World, records: FolderRecords) -> Record:
    """Run a controller until the rollout is over, and return the record."""
    controller = local_controller(place.config.settings, slot_seconds=0.4)
    ticks = iter(range(600))
    controller.run(0.1, is_over=lambda running: not running or next(ticks, None) is None)
    kept = records.load("m")
    assert kept is not None
    return kept.record


def kinds(place: World) -> list[str]:
    log = AuditLog(FolderStore(FolderRecords(place.home).root))
    return [entry.act.kind for entry in log.entries("m")]


def test_a_candidate_that_does_not_start_has_failed_and_once_it_does_it_takes_over(place: World) -> None:
    made = registry(place.home)
    spec = order(place, transformer_dies="no such feature")
    records = begun(spec, place)
    failed = carry_on(place, records)
    assert failed.status.phase is Phase.FAILED, failed.status.message
    assert "no such feature" in (failed.status.cause or "")
    assert place.traffic() == {"m-v1": 100}
    place.bundle("2")
    again = spec.model_copy(update={"id": "again", "created": system_clock()})
    records.save(begin(again, failed, logged=2), records.load("m"))
    with traffic(place) as answers:
        record = carry_on(place, records)
    assert record.status.phase is Phase.SUCCEEDED, record.status.message
    assert kinds(place)[2:] == ["start", "step", "step", "step", "promote", "step", "succeed"]
    assert (place.traffic(), set(answers)) == ({"m-v2": 100}, {200})
    assert made.state(ModelName("m")).production == "2"
    assert AuditLog(FolderStore(records.root)).verify("m", record.status) is None


def test_a_candidate_that_fails_requests_is_rolled_back_before_clients_see_it(place: World) -> None:
    made = registry(place.home)
    spec = order(place, status=500)
    place.deploy("0", traffic=None, shadow=True)
    records = begun(spec, place)
    with traffic(place) as answers:
        record = carry_on(place, records)
    assert record.status.phase is Phase.ROLLED_BACK, record.status.message
    assert "Worse in errors" in (record.status.cause or "")
    assert (place.traffic(), made.state(ModelName("m")).production) == ({"m-v1": 100}, "1")
    assert set(answers) == {200}
    assert not place.client.revision("m-v2").shadow
    assert not place.client.revision("m-v0").shadow, "copies go to the candidate only"


def test_the_controller_process_carries_on_alone_and_ends_when_nothing_is_left(place: World) -> None:
    registry(place.home)
    records = begun(order(place, transformer_dies="no such feature"), place)
    settings = place.config.settings
    assert ensure_controller(settings)
    assert not ensure_controller(settings)
    place.until(lambda: not records.is_locked(), 60)
    kept = records.load("m")
    assert kept is not None
    assert kept.record.status.phase is Phase.FAILED
    assert kinds(place) == ["start", "fail"]
