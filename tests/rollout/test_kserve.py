"""Rollouts in KServe, against an API server on a loopback port."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.deployment.samples import IMAGE
from tests.registry.samples import metadata, parts
from tests.rollout.kube import Pods, World, serve
from tests.rollout.scene import START, arm
from tests.rollout.scene import spec as make_spec
from vigil.clock import ManualClock
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.deployment.cluster import Cluster
from vigil.deployment.request import Target
from vigil.deployment.template import render
from vigil.errors import ContractError, Unavailable
from vigil.registry.bundle import write_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import FolderStore
from vigil.rollout.asking import ask, request
from vigil.rollout.beginning import begin
from vigil.rollout.evidence import EvidenceSettings, Tolerance
from vigil.rollout.kserve.keeping import ClusterObjects, ClusterRecords
from vigil.rollout.kserve.lease import Lease
from vigil.rollout.kserve.serving import KServeServing
from vigil.rollout.kserve.site import cluster_controller, cluster_site
from vigil.rollout.kserve.traffic import PodTraffic
from vigil.rollout.opening import deploy_request
from vigil.rollout.spec import Place, Spec, Step
from vigil.rollout.status import Phase, Record, Status, Wish
from vigil.rollout.stores import Busy, Changed
from vigil.settings import Settings

OLD, NEW = "m-predictor-00001", "m-predictor-00002"
TOLERANT = EvidenceSettings(errors=Tolerance(ratio=2, margin=0.1), latency=Tolerance(ratio=2, margin=0.3))
STEPS = tuple(Step(percent=percent, bake_seconds=20, minimum_samples=50) for percent in (0, 30, 100))


class Ground:
    """A namespace in which version 1 serves, with a registry and a controller whose clock is moved by hand."""

    def __init__(self, cluster: Cluster, world: World, home: Path) -> None:
        self.cluster, self.world = cluster, world
        self.settings = Settings(home=home, tracking_uri="none")
        self.clock = ManualClock(START)
        self.pods = Pods(world)
        self.registry = Registry(FolderStore(home / "models"))
        self.spec = self._spec()
        self.controller = cluster_controller(self.settings, cluster, clock=self.clock, slot_seconds=10)
        self.records = ClusterRecords(cluster, Lease(cluster))
        self.worse = False
        cluster.create(render(deploy_request(self.spec, self.spec.production)))

    def _spec(self) -> Spec:
        model = ModelName("m")
        bundles = [write_bundle(parts(cut), metadata("m", auc=cut), self.registry.store) for cut in (0.5, 0.625)]
        for bundle in bundles:
            self.registry.register(bundle, actor="policy:gates", reason="all gates passed")
        for stage in (Stage.STAGING, Stage.PRODUCTION):
            self.registry.promote(
                model, ModelVersion("1"), stage, expected_production=None, actor="person:ada", reason="first"
            )
        old, new = (
            arm(str(number)).model_copy(update={"bundle": bundle.hash, "uri": f"gs://models/{number}"})
            for number, bundle in enumerate(bundles, 1)
        )
        place = Place(target=Target.KSERVE, namespace="fraud", image=IMAGE)
        return make_spec(
            candidate=new,
            production=old,
            steps=STEPS,
            place=place,
            detector=False,
            evidence=TOLERANT,
            watch_seconds=60,
        )

    def begin(self) -> None:
        self.records.save(begin(self.spec), None)

    @property
    def status(self) -> Status:
        kept = self.records.load("m")
        assert kept is not None
        return kept.record.status

    def traffic(self) -> dict[str, int]:
        component = self.world.services["m"]["status"]["components"]["predictor"]
        return {one["revisionName"]: one["percent"] for one in component["traffic"] if one["percent"]}

    def tick(self) -> None:
        """Let ten seconds pass in which requests are answered as the split says."""
        for revision, percent in self.traffic().items():
            if f"{revision}-1" not in self.pods.metrics:
                self.pods.start(revision)
            self.pods.answer(revision, 4 * percent, "500" if self.worse and revision == NEW else "200")
        self.clock.advance(timedelta(seconds=10))
        self.controller.tick_all()

    def until(self, *phases: Phase) -> Status:
        for _ in range(150):
            status = self.status
            if status.phase in phases and (not status.over or status.settled):
                return status
            self.tick()
        raise AssertionError(f"it is {self.status.phase} still: {self.status.message}")

    def production(self) -> str | None:
        return self.registry.state(ModelName("m")).production


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def cluster(world: World) -> Iterator[Cluster]:
    with serve(world) as client:
        yield Cluster("fraud", client)


@pytest.fixture
def stage(cluster: Cluster, world: World, tmp_path: Path) -> Iterator[Ground]:
    made = Ground(cluster, world, tmp_path)
    yield made
    made.pods.close()


def patches(world: World) -> list[dict[str, object]]:
    return [one.body for one in world.requests if one.method == "PATCH"]


def test_model_and_share_change_in_one_patch_and_a_null_promotes(stage: Ground) -> None:
    stage.begin()
    seen: list[dict[str, int]] = []
    while not stage.status.settled:
        stage.tick()
        if not seen or seen[-1] != stage.traffic():
            seen.append(stage.traffic())
    assert stage.status.phase is Phase.SUCCEEDED, stage.status.message
    assert seen == [{OLD: 100}, {OLD: 70, NEW: 30}, {OLD: 1, NEW: 99}, {NEW: 100}]
    assert stage.production() == "2"
    first, *others = [patch["spec"]["predictor"] for patch in patches(stage.world)]  # type: ignore[index]
    assert (first["canaryTrafficPercent"], first["annotations"]["vigil/bundle"]) == (0, stage.spec.candidate.bundle)
    assert others == [{"canaryTrafficPercent": percent} for percent in (30, 99, None)]
    assert all("resourceVersion" in patch["metadata"] for patch in patches(stage.world))  # type: ignore[operator]


def test_the_acts_say_that_requests_cannot_be_mirrored_and_hold_when_verified(stage: Ground) -> None:
    stage.begin()
    status = stage.until(Phase.SUCCEEDED)
    log = cluster_site(stage.settings, "fraud", stage.cluster).log
    assert log.verify("m", status) is None
    assert "cannot be mirrored" in log.entries("m")[1].act.reason
    name = next(name for kind, name in stage.world.kept if name.endswith("audit-00000002"))
    kept = stage.world.kept["configmaps", name]
    assert kept["immutable"]
    kept["data"]["content"] = kept["data"]["content"].replace("policy:rollout", "person:mallory")
    assert cluster_site(stage.settings, "fraud", stage.cluster).log.verify("m", status) is not None


def test_a_worse_candidate_loses_its_share_and_its_revision_stays_for_a_look(stage: Ground) -> None:
    stage.begin()
    stage.worse = True
    stage.until(Phase.ROLLED_BACK)
    assert (stage.traffic(), stage.production()) == ({OLD: 100}, "1")
    assert stage.world.services["m"]["spec"]["predictor"]["canaryTrafficPercent"] == 0
    assert NEW in stage.world.revisions


@pytest.mark.parametrize("phase", [Phase.CANARY, Phase.BAKING, Phase.WATCHING])
def test_an_abort_gives_everything_back_before_and_after_the_promotion(stage: Ground, phase: Phase) -> None:
    stage.begin()
    stage.until(phase)
    ask("m", request("abort", "person:ada", "customers complain"), stage.records)
    stage.until(Phase.ABORTED)
    assert (stage.traffic(), stage.production()) == ({OLD: 100}, "1")


def test_a_rollback_beyond_kserves_one_step_brings_the_old_version_up_first(stage: Ground) -> None:
    stage.begin()
    stage.until(Phase.WATCHING)
    component = stage.world.services["m"]["status"]["components"]["predictor"]
    component["previousRolledoutRevision"] = "m-predictor-00000"
    ask("m", request("abort", "person:ada", "customers complain"), stage.records)
    stage.until(Phase.ABORTED)
    last = stage.world.services["m"]["spec"]["predictor"]
    assert last["annotations"]["vigil/bundle"] == stage.spec.production.bundle
    assert stage.traffic() == {"m-predictor-00003": 100}


def test_a_candidate_that_fails_gets_no_traffic_and_is_named(stage: Ground) -> None:
    stage.world.outlook = "failing"
    stage.begin()
    status = stage.until(Phase.FAILED)
    assert "Container failed with: no such bundle" in (status.cause or "")
    assert stage.traffic() == {OLD: 100}


def test_an_api_server_that_is_gone_halts_and_the_rollout_goes_on_when_it_is_back(stage: Ground) -> None:
    stage.begin()
    stage.until(Phase.CANARY)
    stage.world.gone = True
    for _ in range(3):
        stage.clock.advance(timedelta(seconds=10))
        stage.controller.tick_all()
    stage.world.gone = False
    assert stage.until(Phase.SUCCEEDED)


def test_pods_that_do_not_tell_their_counts_halt_the_rollout(stage: Ground) -> None:
    stage.begin()
    stage.until(Phase.CANARY)
    stage.tick()
    stage.pods.silent = {f"{NEW}-1"}
    for _ in range(12):
        stage.tick()
    assert "no counts of requests come" in stage.status.message
    assert "503" in stage.status.message
    stage.pods.silent = set()
    stage.until(Phase.SUCCEEDED)


def test_another_mode_is_refused(stage: Ground) -> None:
    stage.world.services["m"]["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] = "Standard"
    with pytest.raises(ContractError, match="mode Standard, where a canary gets no traffic"):
        KServeServing(stage.cluster).see(stage.spec)


def test_a_split_over_the_wrong_version_is_refused(stage: Ground) -> None:
    stranger = stage.spec.model_copy(update={"production": arm("7")})
    with pytest.raises(ContractError, match="is not version 7"):
        KServeServing(stage.cluster).serve(stranger, Wish(percent=5))


def test_counts_of_pods_are_summed_by_revision_and_survive_restarts(stage: Ground) -> None:
    clock = ManualClock(START)
    traffic = PodTraffic(stage.cluster, seconds=10, clock=clock)
    status = Status(since=START, candidate_revision=NEW, production_revision=OLD)
    for revision, number in ((OLD, 1), (OLD, 2), (NEW, 1)):
        stage.pods.start(revision, number)
    stage.pods.answer(OLD, 100)
    assert traffic.slots(stage.spec, status) == []
    stage.pods.answer(OLD, 40)
    stage.pods.answer(NEW, 6, "503", 0.3)
    stage.pods.metrics[f"{NEW}-1"].answered("other", "other", "200", "ok", 0.0)
    clock.advance(timedelta(seconds=10))
    (slot,) = traffic.slots(stage.spec, status)
    assert (slot.arms[OLD].requests, slot.arms[OLD].errors, sum(slot.arms[OLD].latency)) == (40, 0, 40)
    assert (slot.arms[NEW].requests, slot.arms[NEW].errors, sum(slot.arms[NEW].latency[10:])) == (6, 6, 6)
    stage.pods.restart(NEW)
    stage.pods.answer(NEW, 3)
    clock.advance(timedelta(seconds=10))
    (slot,) = traffic.slots(stage.spec, status)
    assert (slot.arms[OLD].requests, slot.arms[NEW].requests) == (0, 3)


def test_of_two_changes_of_a_record_the_later_one_is_told(stage: Ground) -> None:
    record = begin(stage.spec)
    first = stage.records.save(record, None)
    with pytest.raises(Changed):
        stage.records.save(record, None)
    second = stage.records.save(Record(spec=record.spec, status=record.status), first)
    with pytest.raises(Changed):
        stage.records.save(record, first)
    assert stage.records.load("m") == second
    assert stage.records.models() == ["m"]


def test_an_object_of_the_log_is_created_once(cluster: Cluster) -> None:
    objects = ClusterObjects(cluster)
    assert objects.create("card_fraud/audit/00000001.json", b"one")
    assert not objects.create("card_fraud/audit/00000001.json", b"two")
    assert objects.read("card_fraud/audit/00000001.json") == b"one"
    assert objects.paths("card_fraud/audit") == ["card_fraud/audit/00000001.json"]


def test_one_controller_holds_the_lease_until_it_stands_still(cluster: Cluster) -> None:
    first, second = (Lease(cluster, seconds=0.4, clock=ManualClock(START)) for _ in range(2))
    first.acquire()
    assert first.is_held()
    with pytest.raises(Busy, match="another controller has taken over"):
        second.renew()
    second.acquire()
    with pytest.raises(Busy, match="another controller has taken over"):
        first.renew()
    first.release()
    second.renew()
    second.release()
    assert not second.is_held()
    first.acquire()


def test_a_service_that_is_gone_is_no_reason_to_decide_anything(stage: Ground) -> None:
    stage.world.services.clear()
    with pytest.raises(Unavailable, match="there is no InferenceService m"):
        KServeServing(stage.cluster).see(stage.spec)
