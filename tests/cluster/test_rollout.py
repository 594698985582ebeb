"""Rollouts on a real KServe, by a controller in a pod, under traffic. The tests tell one story."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from math import sqrt
from typing import Any

import pytest
from kubernetes.client import ApiClient

from tests.cluster.load import Answer, Load, constant_rate, population
from tests.cluster.place import Place
from tests.cluster.published import cluster_number
from tests.cluster.traffic import MODEL
from vigil.rollout.kserve.serving import BAKE_PERCENT
from vigil.rollout.status import Phase, Record

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3_600)]

RATE = 8.0
"""Requests a second."""
STEPS = (5, 25, 50, 100)
PLAN = {
    "steps": list(STEPS),
    "bake_seconds": 25,
    "minimum_samples": 20,
    "watch_seconds": 10,
    "cool_down_seconds": 0,
    "patience": {"ready": 600, "evidence": 1200, "silence": 120, "split": 120, "gap": 120},
    "evidence": {
        "errors": {"ratio": 2, "margin": 0.2},
        "latency": {"ratio": 2, "margin": 0.5},
        "flag_rate": {"ratio": 1.5, "margin": 0.2},
        "scores": {"ratio": 2, "margin": 0.5},
    },
}
"""Quick, and tolerant of a machine that is busy with other things."""

FEWEST = 40
"""Answers that tell anything of a split."""

SETTLING = 5.0
"""Seconds that the ingress may take to route by a split that KServe has reported."""


@dataclass
class Span:
    """A time in which one split was observed to be in force."""

    percent: int
    start: float
    end: float


@dataclass
class Story:
    """What was seen of a rollout while traffic came."""

    load: Load
    record: Record
    spans: list[Span] = field(default_factory=list)

    def served(self, span: Span) -> list[Answer]:
        return [one for one in self.load.between(span.start + SETTLING, span.end) if not one.failure]


def follow(place: Place, load: Load, meanwhile: Callable[[Record], None] | None = None) -> Story:
    """Return the story of the rollout that goes on, once it is over."""
    story = Story(load, place.record())
    deadline = time.monotonic() + 1_800
    while not story.record.status.settled:
        assert time.monotonic() < deadline, story.record.status.message
        time.sleep(0.5)
        story.record = place.record()
        status, now = story.record.status, time.monotonic()
        if status.in_force is not None and status.observed is not None:
            last = story.spans[-1] if story.spans else None
            if last is None or last.percent != status.observed:
                story.spans.append(Span(status.observed, now, now))
            story.spans[-1].end = now
        if meanwhile is not None:
            meanwhile(story.record)
    return story


@pytest.fixture
def load(place: Place, ingress: str) -> Iterator[Load]:
    with constant_rate(ingress, place.deployed.url, population(11, "r"), RATE) as load:
        yield load


def mixed(answers: list[Answer], place: Place) -> list[Answer]:
    """Return the answers whose revision is not that of their version and bundle."""
    registered = {str(v.version): v.registration.bundle for v in place.registry.state(MODEL).versions.values()}
    revisions: dict[str, str] = {}
    for one in answers:
        revision = place.cluster.revision(one.revision)
        if one.revision not in revisions and revision is not None:
            revisions[one.revision] = revision["metadata"]["annotations"]["vigil/bundle"]
    return [one for one in answers if not registered[one.version] == one.bundle == revisions.get(one.revision)]


def test_a_good_candidate_takes_over_step_by_step_though_its_controller_is_killed(
    place: Place, load: Load, client: ApiClient
) -> None:
    candidate = place.version(0.9)
    killed: list[int] = []

    def kill_once(record: Record) -> None:
        if not killed and record.status.observed == 25 and record.status.in_force is not None:
            killed.append(record.status.step)
            place.delete_pod("controller")
            assert place.record().status.wish.percent == 25, "a split stays as it is while nobody controls it"

    place.start(candidate, PLAN, "better on June")
    story = follow(place, load, kill_once)
    status = story.record.status
    assert status.phase is Phase.SUCCEEDED, status.message
    assert killed
    assert place.registry.state(MODEL).production == candidate
    assert [span.percent for span in story.spans if span.percent][:4] == [5, 25, 50, 99]
    errors = {}
    for span in story.spans:
        versions = Counter(one.version for one in story.served(span))
        if 0 < span.percent < BAKE_PERCENT and versions.total() >= FEWEST:
            share, asked = versions[candidate] / versions.total(), span.percent / 100
            errors[span.percent] = 100 * abs(share - asked)
            assert abs(share - asked) <= 4 * sqrt(asked * (1 - asked) / versions.total()), (span.percent, versions)
    assert set(errors) == {5, 25, 50}
    answers = [one for one in load.answers if not one.failure]
    assert mixed(answers, place) == []
    assert load.failures == []
    shares = ", ".join(f"{percent} %: {error:.1f}" for percent, error in sorted(errors.items()))
    cluster_number("canary_split_error_points", max(errors.values()), f"served against asked share, {shares}")
    cluster_number("pairs_mixed", 0, f"of {len(answers):,} answers while versions changed")


def acts_of(place: Place) -> list[dict[str, Any]]:
    """Return what the audit log holds, oldest first."""
    return [entry["act"] for entry in json.loads(place.vigil("history", MODEL, "--verify", "--json").stdout)]


def test_the_engineer_reads_what_was_done_and_that_nothing_was_changed(place: Place) -> None:
    kinds = [act["kind"] for act in acts_of(place)]
    assert kinds[0] == "start"
    assert kinds[-1] == "succeed"
    (told,) = json.loads(place.vigil("status", MODEL, "--json").stdout)
    assert told["status"]["phase"] == "succeeded"


def test_a_candidate_that_flags_everything_is_rolled_back_by_itself(place: Place, load: Load) -> None:
    before = place.registry.state(MODEL).production
    bad = place.version(0.8, flags_all=True)
    place.start(bad, PLAN, "it looked better")
    story = follow(place, load)
    status = story.record.status
    assert status.phase is Phase.ROLLED_BACK, status.message
    assert "flag" in (status.cause or "")
    last = max(one.sent for one in load.answers if one.version == bad)
    assert {one.version for one in load.between(last + 1, time.monotonic())} <= {str(before), ""}
    assert mixed([one for one in load.answers if not one.failure], place) == []
    assert load.failures == []
    assert place.registry.state(MODEL).production == before
    acts = {act["kind"]: datetime.fromisoformat(act["at"]) for act in acts_of(place)}
    assert status.ended is not None
    seconds = (status.ended - acts["rollback"]).total_seconds()
    cluster_number("rollback_seconds", seconds, "from the verdict until the candidate was observed without traffic")


def test_a_candidate_that_never_gets_ready_gets_no_traffic_and_is_reported(place: Place, load: Load) -> None:
    broken = place.version(0.7)
    plan = {**PLAN, "image": "dev.local/there-is-no-such-image:1", "patience": {**PLAN["patience"], "ready": 90}}  # type: ignore[dict-item]
    place.start(broken, plan, "a wrong image")
    story = follow(place, load)
    assert story.record.status.phase is Phase.FAILED, story.record.status.message
    assert "image" in (story.record.status.cause or "").lower()
    assert broken not in {one.version for one in load.answers}
    assert load.failures == []


def test_a_person_takes_a_candidate_back_by_command_line(place: Place, load: Load) -> None:
    candidate = place.version(0.91)
    place.start(candidate, {**PLAN, "bake_seconds": 600}, "to be stopped")
    asked: list[bool] = []

    def abort(record: Record) -> None:
        if not asked and record.status.in_force is not None and record.status.observed == 5:
            asked.append(True)
            place.vigil("abort", MODEL, "--reason", "customers complain")

    story = follow(place, load, abort)
    assert story.record.status.phase is Phase.ABORTED, story.record.status.message
    assert load.failures == []
