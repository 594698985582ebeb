"""Starting a rollout: everything that can be known to be wrong is refused before anything happens."""

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.rollout.local import registry
from tests.rollout.scene import NEW, OLD, START
from vigil.clock import ManualClock
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.errors import ContractError
from vigil.registry.registry import Registry
from vigil.registry.store import FolderStore
from vigil.rollout.asking import ask, load, request
from vigil.rollout.audit import AuditLog
from vigil.rollout.observation import RevisionSeen, ServingSeen
from vigil.rollout.opening import Desk, Order, Plan, plan_as_yaml, read_plan, start
from vigil.rollout.spec import Spec
from vigil.rollout.status import Phase, Record, Wish
from vigil.rollout.stores import Changed, FolderRecords
from vigil.settings import Settings


@dataclass
class Place:
    """A place of serving that shows what a test says."""

    seen: ServingSeen = field(default_factory=lambda: ServingSeen(None, RevisionSeen(OLD, 100, True)))

    def see(self, spec: Spec) -> ServingSeen:
        return self.seen

    def serve(self, spec: Spec, wish: Wish) -> None:
        raise AssertionError("a start changes nothing")


@dataclass
class Office:
    home: Path
    place: Place = field(default_factory=Place)
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))

    def __post_init__(self) -> None:
        self.registry: Registry = registry(self.home)
        self.records = FolderRecords(self.home)

    def start(self, version: str = "2", plan: Plan | None = None, actor: str = "person:ada") -> Record:
        desk = Desk(Settings(home=self.home), self.records, AuditLog(FolderStore(self.records.root)), self.place)
        order = Order("m", version, actor, "better on June")
        return start(order, plan or Plan(), desk, clock=self.clock)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_a_rollout_starts_with_what_the_registry_says_of_both_versions(office: Office) -> None:
    record = office.start()
    assert load("m", office.records).record == record
    spec = record.spec
    assert (spec.candidate.version, spec.production.version) == ("2", "1")
    assert spec.candidate.bundle == office.registry.resolve(ModelName("m"), ModelVersion("2")).hash
    assert [step.percent for step in spec.steps] == [0, 5, 25, 50, 100]
    assert record.status.outbox[0].reason == "better on June"


def test_a_second_start_is_refused_and_changes_nothing(office: Office) -> None:
    record = office.start()
    with pytest.raises(ContractError, match="is starting: wait for its end, or `vigil rollout abort m`"):
        office.start()
    assert load("m", office.records).record == record


def test_an_unknown_version_is_refused_with_those_there_are(office: Office) -> None:
    with pytest.raises(ContractError, match="m has no version 9: it has 1, 2"):
        office.start("9")


def test_the_version_in_production_is_no_candidate(office: Office) -> None:
    with pytest.raises(ContractError, match="version 1 is in stage production"):
        office.start("1")


def test_a_model_without_production_has_nothing_to_compare_with(tmp_path: Path) -> None:
    office = Office(tmp_path)
    with pytest.raises(ContractError, match="other has no version in production"):
        start(
            Order("other", "2", "person:ada", "why not"),
            Plan(),
            Desk(Settings(home=tmp_path), office.records, AuditLog(FolderStore(tmp_path / "x")), office.place),
        )


@pytest.mark.parametrize(
    "seen",
    [
        ServingSeen(None, None),
        ServingSeen(None, RevisionSeen(OLD, 60, True), {"m-v7": 40.0}),
        ServingSeen(RevisionSeen(NEW, 30, True), RevisionSeen(OLD, 70, True)),
    ],
)
def test_production_must_serve_all_traffic_before_it_is_shared(office: Office, seen: ServingSeen) -> None:
    office.place.seen = seen
    with pytest.raises(ContractError, match="deploy it first, by `vigil deploy m`"):
        office.start()


def test_a_bundle_that_was_changed_is_not_rolled_out(office: Office) -> None:
    uri = Path(office.registry.resolve(ModelName("m"), ModelVersion("2")).uri)
    part = uri / "thresholds.json"
    part.chmod(0o644)
    part.write_text('{"alert":0.01}')
    with pytest.raises(ContractError, match=r"thresholds\.json"):
        office.start()


def test_only_a_mirrored_step_is_not_enough_where_nothing_can_be_mirrored(office: Office) -> None:
    office.place.seen = ServingSeen(None, RevisionSeen(OLD, 100, True), can_shadow=False)
    with pytest.raises(ContractError, match="take a step between 0 and 100"):
        office.start(plan=Plan(steps=(0, 100)))


def test_the_plan_that_is_printed_is_the_default_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(plan_as_yaml())
    assert read_plan(path) == read_plan(None) == Plan()


def test_steps_of_the_command_line_go_before_those_of_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("steps: [10, 100]\nbake_seconds: 5\n")
    plan = read_plan(path, "1, 50,100")
    assert (plan.steps, plan.bake_seconds) == ((1, 50, 100), 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("bake: 5", "bake: Extra inputs are not permitted"),
        ("steps: [a]", "steps.0"),
        ("- 1", "a plan has keys"),
        ("steps: [", "cannot be read as YAML"),
    ],
)
def test_a_mistake_in_a_plan_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(content)
    with pytest.raises(ContractError, match=message):
        read_plan(path)


def test_steps_that_do_not_rise_to_everything_are_refused(office: Office) -> None:
    with pytest.raises(ContractError, match="steps rise to 100, not 5, 50"):
        office.start(plan=Plan(steps=(5, 50)))


def test_an_actor_is_a_person_or_a_policy(office: Office) -> None:
    with pytest.raises(ContractError, match="actor"):
        office.start(actor="ada")


def test_what_is_asked_waits_in_the_record(office: Office) -> None:
    office.start()
    ask("m", request("pause", "person:eve", "lunch", clock=office.clock), office.records)
    ask("m", request("abort", "person:eve", "no", clock=office.clock), office.records)
    assert [one.action for one in load("m", office.records).record.requests] == ["pause", "abort"]


def test_what_cannot_be_done_is_refused_at_once(office: Office) -> None:
    record = office.start()
    with pytest.raises(ContractError, match="cannot promote m version 2: it is starting: there is no step to pass"):
        ask("m", request("promote", "person:eve", "now"), office.records)
    kept = load("m", office.records)
    over = record.status.model_copy(update={"phase": Phase.ABORTED, "settled": True})
    office.records.save(record.model_copy(update={"status": over}), kept)
    with pytest.raises(ContractError, match="cannot abort m version 2: the rollout is aborted"):
        ask("m", request("abort", "person:eve", "no"), office.records)
    with pytest.raises(ContractError, match="there is no rollout of other; there are: m"):
        ask("other", request("abort", "person:eve", "no"), office.records)


def test_of_two_changes_of_a_file_the_later_one_is_told(office: Office) -> None:
    record = office.start()
    kept = load("m", office.records)
    office.clock.advance(timedelta(seconds=1))
    ask("m", request("pause", "person:eve", "lunch", clock=office.clock), office.records)
    with pytest.raises(Changed):
        office.records.save(record, kept)


def test_a_record_that_is_broken_is_named(office: Office) -> None:
    office.start()
    path = office.records.root / "m" / "rollout.json"
    document: Any = path.read_text().replace('"starting"', '"dreaming"')
    path.write_text(document)
    with pytest.raises(ContractError, match=r"rollout\.json is no record of a rollout"):
        load("m", office.records)
