"""A rollout, tick by tick."""

import random
from datetime import timedelta

import pytest

from tests.rollout.scene import STEPS, Scene, arm, drift, spec
from vigil.errors import ContractError
from vigil.monitoring.verdicts import Cause
from vigil.rollout.beginning import begin
from vigil.rollout.holds import is_wrong_share
from vigil.rollout.intents import Serve
from vigil.rollout.spec import Step
from vigil.rollout.status import FINAL, HoldKind, Phase, Record

GOOD_WAY = ["start", "step", "step", "step", "step", "promote", "step", "succeed"]


def record(scene: Scene) -> Record:
    return Record(spec=scene.spec, status=scene.status)


def test_a_good_candidate_is_mirrored_gets_more_and_more_traffic_is_baked_promoted_and_watched() -> None:
    scene, seen = Scene(), []
    while not scene.status.settled:
        scene.run()
        if not seen or seen[-1] != (scene.status.phase, scene.percent, scene.shadow, scene.production):
            seen.append((scene.status.phase, scene.percent, scene.shadow, scene.production))
    assert seen == [
        (Phase.STARTING, 0, "candidate", "1"),
        (Phase.SHADOWING, 0, "candidate", "1"),
        (Phase.CANARY, 25, "none", "1"),
        (Phase.CANARY, 50, "none", "1"),
        (Phase.BAKING, 100, "production", "1"),
        (Phase.PROMOTING, 100, "production", "2"),
        (Phase.WATCHING, 100, "production", "2"),
        (Phase.SUCCEEDED, 100, "none", "2"),
    ]
    assert scene.kinds == GOOD_WAY
    assert scene.told == ["r1-succeeded"]


def test_a_settled_rollout_does_nothing_more() -> None:
    scene = Scene().until(Phase.SUCCEEDED)
    before = scene.status
    scene.percent = 30
    assert scene.run(5).status == before
    assert scene.intents == ()


@pytest.mark.parametrize("behaviour", [{"errors": 0.05}, {"bucket": 9}, {"flagged": 0.2}])
def test_a_candidate_that_errs_is_slow_or_flags_too_much_is_rolled_back(behaviour: dict[str, float]) -> None:
    scene = Scene(behaviour=behaviour).until(*FINAL)
    assert scene.status.phase is Phase.ROLLED_BACK
    assert (scene.percent, scene.shadow, scene.production) == (0, "none", "1")
    assert scene.kinds[-2:] == ["rollback", "rolled_back"]
    assert "Worse in" in (scene.status.cause or "")


def test_what_clients_have_seen_of_a_candidate_is_counted_over_all_steps() -> None:
    shadowed = Scene(behaviour={"errors": 0.5}).until(Phase.ROLLED_BACK)
    assert shadowed.status.served == 0
    scene = Scene().until(Phase.CANARY).run(3)
    scene.behaviour = {"errors": 0.5}
    scene.until(Phase.ROLLED_BACK)
    assert 0 < scene.status.served == scene.sent


def test_a_candidate_that_goes_bad_at_full_traffic_is_rolled_back() -> None:
    scene = Scene().until(Phase.BAKING)
    scene.behaviour = {"errors": 0.2}
    scene.until(*FINAL)
    assert (scene.status.phase, scene.percent, scene.production) == (Phase.ROLLED_BACK, 0, "1")


def test_the_watch_rolls_back_after_the_bake_and_the_registry_follows() -> None:
    scene = Scene().until(Phase.WATCHING)
    assert scene.production == "2"
    scene.watch = [drift(Cause.MODEL_WORSE)]
    scene.until(Phase.ROLLED_BACK)
    assert (scene.percent, scene.production) == (0, "1")
    assert "the watch says model_worse" in (scene.status.cause or "")


def test_what_the_watch_said_of_the_candidate_before_the_start_is_not_held_against_it() -> None:
    scene = Scene(watch=[drift(Cause.MODEL_WORSE, number=1)]).until(Phase.CANARY)
    scene.watch = [drift(Cause.MODEL_WORSE, number=2)]
    scene.until(Phase.ROLLED_BACK)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("cause", [Cause.DATA_BROKEN, Cause.UNDECIDED])
def test_broken_data_and_an_undecided_watch_halt_and_blame_nobody(cause: Cause, version: str) -> None:
    scene = Scene().until(Phase.CANARY)
    scene.watch = [drift(cause, version)]
    scene.run(40)
    assert (scene.status.phase, scene.percent, scene.holds) == (Phase.CANARY, 25, {HoldKind.DRIFT})
    assert scene.status.standing == "halted"
    scene.watch = []
    scene.until(Phase.SUCCEEDED)
    assert scene.kinds.count("halt") == scene.kinds.count("resume") == 1


def test_decisions_on_broken_data_are_not_held_against_the_candidate() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.watch = [drift(Cause.DATA_BROKEN)]
    scene.behaviour = {"flagged": 0.5}
    scene.run(40)
    assert (scene.status.phase, scene.holds) == (Phase.CANARY, {HoldKind.DRIFT})


def test_a_population_that_moved_under_both_versions_stops_nothing() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.watch = [drift(Cause.POPULATION_MOVED, "1"), drift(Cause.POPULATION_MOVED, "2")]
    scene.until(Phase.SUCCEEDED)
    assert scene.kinds == GOOD_WAY


def test_a_production_version_that_got_worse_halts_and_asks_and_does_not_blame_the_candidate() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.watch = [drift(Cause.MODEL_WORSE, "1")]
    scene.run(20)
    assert (scene.status.phase, scene.holds) == (Phase.CANARY, {HoldKind.DRIFT})


PARTS = [HoldKind.SERVING, HoldKind.TRAFFIC, HoldKind.DECISIONS, HoldKind.WATCH, HoldKind.REGISTRY, HoldKind.AUDIT]


@pytest.mark.parametrize("phase", [Phase.SHADOWING, Phase.CANARY, Phase.BAKING, Phase.WATCHING])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_gone_halts_the_rollout_which_says_so_and_resumes_by_itself(
    part: HoldKind, phase: Phase
) -> None:
    scene = Scene().until(phase)
    scene.run(2)
    standing = (scene.status.phase, scene.percent, scene.production)
    scene.gone = {part}
    scene.run(100)
    assert (scene.status.phase, scene.percent, scene.production) == standing
    assert part in scene.holds
    assert "halted" in scene.status.message
    scene.gone = set()
    scene.until(Phase.SUCCEEDED)
    assert scene.kinds.count("halt") == scene.kinds.count("resume") == 1


def test_a_part_that_is_gone_for_a_moment_halts_nothing() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.gone = set(PARTS)
    scene.run(3)
    scene.gone = set()
    assert scene.until(Phase.SUCCEEDED).kinds == GOOD_WAY


def test_no_requests_are_no_pass() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.load = 0
    scene.run(50)
    assert (scene.status.phase, scene.percent) == (Phase.CANARY, 25)


def test_evidence_that_stays_inconclusive_halts_and_asks_and_never_passes() -> None:
    demanding = tuple(step.model_copy(update={"minimum_samples": 1000}) for step in STEPS)
    scene = Scene(spec=spec(steps=demanding)).until(Phase.CANARY)
    scene.load = 3
    scene.run(80)
    assert (scene.status.phase, scene.percent) == (Phase.CANARY, 25)
    assert scene.holds == {HoldKind.INCONCLUSIVE}
    scene.ask("resume")
    scene.run(2)
    assert scene.holds == set()
    scene.run(80)
    assert scene.holds == {HoldKind.INCONCLUSIVE}
    scene.load = 2000
    scene.until(Phase.SUCCEEDED)


@pytest.mark.parametrize("jump", [timedelta(days=1), timedelta(days=-1)])
def test_a_jump_of_the_clock_is_no_time_under_watch(jump: timedelta) -> None:
    scene = Scene().until(Phase.BAKING)
    scene.run(2)
    watched = scene.status.watched
    scene.now += jump
    scene.run()
    assert (scene.holds, scene.status.watched) == ({HoldKind.CLOCK}, watched)
    scene.run(2)
    assert (scene.holds, scene.status.phase) == (set(), Phase.BAKING)
    scene.until(Phase.SUCCEEDED)


def test_a_jump_of_the_clock_over_the_watch_does_not_end_it() -> None:
    scene = Scene().until(Phase.WATCHING)
    scene.now += timedelta(days=30)
    scene.run(2)
    assert scene.status.phase is Phase.WATCHING


def test_a_candidate_that_never_gets_ready_has_failed_without_any_traffic() -> None:
    scene = Scene(ready=False)
    highest = 0
    while not scene.status.settled:
        scene.run()
        highest = max(highest, scene.percent)
    assert (scene.status.phase, highest, scene.kinds) == (Phase.FAILED, 0, ["start", "fail"])
    assert "was not ready after" in (scene.status.cause or "")


def test_what_a_candidate_waits_for_is_told_when_it_never_gets_ready() -> None:
    scene = Scene(deployed=True, ready=False, lacks="kserve-container waits: ImagePullBackOff").until(Phase.FAILED)
    assert (scene.status.cause or "").endswith("s: kserve-container waits: ImagePullBackOff")


def test_a_candidate_that_crashes_before_it_is_ready_has_failed_with_the_reason() -> None:
    scene = Scene(ready=False).run(2)
    scene.failed = "no such bundle"
    scene.until(Phase.FAILED)
    assert "no such bundle" in (scene.status.cause or "")


def test_a_failure_of_an_earlier_attempt_is_not_that_of_this_one() -> None:
    scene = Scene(deployed=True, failed="no such bundle").run(2)
    assert scene.status.phase is Phase.STARTING
    assert any(isinstance(intent, Serve) for intent in scene.intents)
    scene.failed = None
    assert scene.until(Phase.SUCCEEDED).kinds == GOOD_WAY


def test_a_failure_that_comes_again_and_again_is_one_at_last() -> None:
    scene = Scene(deployed=True, failed="no such bundle", ready=False).until(Phase.FAILED)
    assert scene.kinds == ["start", "fail"]


def test_a_candidate_that_is_unready_for_a_while_halts_and_is_rolled_back_when_it_stays_so() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.ready = False
    scene.run(3)
    assert (scene.status.phase, scene.holds) == (Phase.CANARY, {HoldKind.CANDIDATE})
    scene.run(40)
    scene.ready = True
    scene.until(Phase.ROLLED_BACK)


def test_a_split_that_is_not_obeyed_halts_before_anything_is_counted_as_baked() -> None:
    scene = Scene().until(Phase.SHADOWING)
    scene.obeys = False
    scene.until(Phase.CANARY)
    scene.run(50)
    assert (scene.holds, scene.status.watched) == ({HoldKind.SPLIT}, 0)
    scene.obeys = True
    scene.until(Phase.SUCCEEDED)


@pytest.mark.parametrize("routed", [0.0, 0.05, 0.6])
def test_a_split_that_the_status_promises_and_the_counts_deny_halts(routed: float) -> None:
    scene = Scene().until(Phase.CANARY)
    scene.routed = routed
    scene.run(30)
    assert (scene.status.phase, scene.percent, scene.holds) == (Phase.CANARY, 25, {HoldKind.SPLIT})


def test_the_share_of_the_requests_may_vary_as_chance_does() -> None:
    rng = random.Random(7)
    for asked in (0.05, 0.25, 0.5):
        for requests in (10, 100, 1000, 10_000):
            served = sum(rng.random() < asked for _ in range(requests))
            assert not is_wrong_share(served, requests, asked)
    assert not is_wrong_share(272_700, 529_850, 0.5), "a few who buy much make a split uneven for good"
    assert is_wrong_share(350_000, 529_850, 0.5)
    assert is_wrong_share(0, 2000, 0.05)
    assert is_wrong_share(2000, 2000, 0.5)


def test_another_version_with_traffic_halts_and_is_left_alone() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.strangers = {"m-v3": 10.0}
    scene.run(30)
    assert scene.holds == {HoldKind.SPLIT}
    assert scene.intents == ()


def test_a_promotion_by_someone_else_halts() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.production = "7"
    scene.run(2)
    assert scene.holds == {HoldKind.REGISTRY}
    assert "version 7 was made production meanwhile (person:eve)" in scene.status.message


def test_where_requests_cannot_be_mirrored_the_first_share_follows_at_once() -> None:
    scene = Scene(can_shadow=False).until(Phase.CANARY)
    assert scene.percent == 25
    assert any("left out" in act.reason for act in scene.log)


def test_without_a_detector_only_errors_and_latency_are_asked_for() -> None:
    scene = Scene(spec=spec(detector=False), gone={HoldKind.DECISIONS, HoldKind.WATCH})
    scene.until(Phase.SUCCEEDED)
    assert scene.kinds == GOOD_WAY


PHASES = [
    Phase.STARTING,
    Phase.SHADOWING,
    Phase.CANARY,
    Phase.BAKING,
    Phase.PROMOTING,
    Phase.WATCHING,
]


@pytest.mark.parametrize("phase", PHASES)
def test_an_abort_in_any_phase_gives_all_traffic_back(phase: Phase) -> None:
    scene = Scene().until(phase)
    scene.ask("abort")
    scene.until(Phase.ABORTED)
    assert (scene.percent, scene.shadow, scene.production) == (0, "none", "1")
    assert [act.actor for act in scene.log if act.kind == "abort"] == ["person:ada"]


@pytest.mark.parametrize("part", PARTS)
def test_an_abort_works_whatever_is_gone_and_ends_when_it_is_back(part: HoldKind) -> None:
    scene = Scene().until(Phase.CANARY)
    scene.gone = {part}
    scene.run(30)
    scene.ask("abort")
    scene.run(5)
    if part is not HoldKind.SERVING:
        assert scene.percent == 0
    scene.gone = set()
    scene.until(Phase.ABORTED)


def test_a_pause_holds_the_split_and_not_the_protection() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.ask("pause")
    scene.run(50)
    assert (scene.status.standing, scene.percent) == ("paused", 25)
    scene.behaviour = {"errors": 0.3}
    scene.until(Phase.ROLLED_BACK)


def test_a_paused_rollout_goes_on_when_it_is_resumed() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.ask("pause")
    scene.run(50)
    scene.ask("resume")
    scene.until(Phase.SUCCEEDED)
    assert [kind for kind in scene.kinds if kind in ("pause", "resume")] == ["pause", "resume"]


def test_a_person_can_pass_one_step_or_all() -> None:
    scene = Scene(load=10).until(Phase.SHADOWING)
    scene.ask("promote")
    scene.run(2)
    assert (scene.status.phase, scene.percent) == (Phase.CANARY, 25)
    scene.ask("promote", fully=True)
    scene.until(Phase.WATCHING, ticks=4)
    assert (scene.percent, scene.production) == (100, "2")


def test_a_person_cannot_pass_a_candidate_that_is_known_to_be_worse() -> None:
    scene = Scene(behaviour={"errors": 0.3}).until(Phase.ROLLING_BACK)
    scene.ask("promote")
    scene.until(Phase.ROLLED_BACK)
    assert "refuse" in scene.kinds


def test_what_cannot_be_done_is_noted_with_who_asked_for_it() -> None:
    scene = Scene().until(Phase.CANARY)
    scene.ask("resume")
    scene.run(2)
    (refused,) = [act for act in scene.log if act.kind == "refuse"]
    assert (refused.actor, "neither paused" in refused.reason) == ("person:ada", True)


def test_the_same_tick_twice_decides_the_same() -> None:
    left, right = Scene(), Scene()
    for _ in range(60):
        left.run()
        right.run()
        assert left.status == right.status
        assert left.intents == right.intents


def test_a_rollout_that_runs_is_not_pushed_aside() -> None:
    scene = Scene().until(Phase.CANARY)
    with pytest.raises(ContractError, match="rollout r1 of m version 2 is canary"):
        begin(spec(id="r2", candidate=arm("3")), record(scene))


def test_the_watch_of_a_rollout_ends_when_the_next_one_starts() -> None:
    scene = Scene().until(Phase.WATCHING)
    after = begin(spec(id="r2", candidate=arm("3"), production=arm("2")), record(scene), logged=len(scene.log))
    assert [act.kind for act in after.status.outbox if act.number > len(scene.log)] == ["succeed", "start"]


def test_in_the_cool_down_after_a_rollback_only_a_person_starts_again() -> None:
    scene = Scene(behaviour={"errors": 0.3}).until(Phase.ROLLED_BACK)
    again = {"id": "r2", "created": scene.now + timedelta(hours=1)}
    with pytest.raises(ContractError, match="only a person starts another"):
        begin(spec(**again, actor="policy:rerun"), record(scene))
    assert begin(spec(**again), record(scene)).status.phase is Phase.STARTING
    later = {"id": "r2", "created": scene.now + timedelta(hours=7)}
    assert begin(spec(**later, actor="policy:rerun"), record(scene)).status.phase is Phase.STARTING


@pytest.mark.parametrize("percents", [(5, 50), (50, 25, 100), (100,), (0, 0, 100)])
def test_steps_rise_to_everything(percents: tuple[int, ...]) -> None:
    steps = tuple(Step(percent=percent, bake_seconds=1, minimum_samples=1) for percent in percents)
    with pytest.raises(ValueError, match="steps"):
        spec(steps=steps)


def test_a_version_is_not_rolled_out_over_itself() -> None:
    with pytest.raises(ValueError, match="same bundle"):
        spec(candidate=arm("1"), steps=STEPS)
