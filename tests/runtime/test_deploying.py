"""A deployment starts processes, waits for them, and only then moves traffic."""

import threading
import time
from collections import Counter

import pytest

from tests.runtime.world import World, alive
from vigil.errors import ContractError, Unavailable
from vigil.monitoring.samples import LATENCY_BOUNDS
from vigil.runtime.status import State


def test_the_first_revision_gets_everything_and_the_next_its_share(runtime: World) -> None:
    runtime.deploy("1", traffic=5)
    assert runtime.traffic() == {"m-v1": 100}
    found = runtime.deploy("2", traffic=20)
    assert (found.state, found.traffic, found.version) == (State.READY, 20, "2")
    assert runtime.traffic() == {"m-v1": 80, "m-v2": 20}
    served = Counter(runtime.post()[1]["revision"] for _ in range(100))
    assert served == {"m-v1": 80, "m-v2": 20}
    latency = runtime.client.revision("m-v2").served.latency
    assert (len(latency), sum(latency)) == (len(LATENCY_BOUNDS) + 1, 20)


def test_a_third_revision_takes_from_the_others_in_their_proportion(runtime: World) -> None:
    for name, traffic in (("1", 100), ("2", 20), ("3", 50)):
        runtime.deploy(name, traffic=traffic)
    assert runtime.traffic() == {"m-v1": 40, "m-v2": 10, "m-v3": 50}


def test_a_displaced_revision_is_drained_stopped_and_kept_for_a_rollback(runtime: World) -> None:
    pid = runtime.deploy("1").processes[0].pid
    runtime.deploy("2")
    runtime.until(lambda: runtime.state("m-v1") is State.STOPPED)
    assert pid is not None
    assert alive([pid]) == []
    runtime.deploy("1")
    assert runtime.traffic() == {"m-v1": 100}
    assert runtime.post()[1]["revision"] == "m-v1"


def test_only_the_last_stopped_revisions_are_kept(runtime: World) -> None:
    runtime.configure(grace_seconds=0.0)
    for name in "1234":
        runtime.deploy(name)
    runtime.until(lambda: runtime.state("m-v3") is State.STOPPED)
    runtime.until(lambda: [one.name for one in runtime.client.status().revisions] == ["m-v2", "m-v3", "m-v4"])


def test_deploying_the_same_bundle_again_starts_nothing(runtime: World) -> None:
    first = runtime.deploy("1")
    again = runtime.deploy("1")
    assert [one.pid for one in again.processes] == [one.pid for one in first.processes]
    assert len(runtime.client.status().revisions) == 1


def test_another_bundle_under_the_same_name_is_refused(runtime: World) -> None:
    runtime.deploy("1")
    other = runtime.bundle("2").model_copy(update={"name": "m-v1"})
    with pytest.raises(ContractError, match=r"m-v1 serves another bundle.*another name"):
        runtime.client.deploy(other)


def test_a_revision_that_never_gets_ready_gets_no_traffic_and_says_why(runtime: World) -> None:
    runtime.deploy("1")
    with pytest.raises(ContractError, match=r"(?s)m-v2 failed and gets no traffic.*status 7 2 times.*the key is wrong"):
        runtime.deploy("2", predictor_dies="the key is wrong")
    assert runtime.traffic() == {"m-v1": 100}
    assert runtime.state("m-v2") is State.FAILED
    assert runtime.client.revision("m-v2").processes[1].pid is None


def test_a_revision_that_takes_too_long_is_given_up(place: World) -> None:
    place.configure(policy=place.config.policy.__class__(start_seconds=1.5, stop_seconds=5))
    place.up()
    with pytest.raises(ContractError, match=r"(?s)not ready within 1.5 seconds.*the last lines of the transformer"):
        place.deploy("1", ready_after=3600)
    assert place.post()[0] == 503


def test_a_failed_revision_can_be_deployed_again_once_its_cause_is_gone(runtime: World) -> None:
    with pytest.raises(ContractError, match="no memory"):
        runtime.deploy("1", transformer_dies="no memory")
    assert runtime.deploy("1").state is State.READY


def test_without_waiting_the_traffic_moves_by_itself_when_the_revision_is_ready(runtime: World) -> None:
    runtime.deploy("1")
    found = runtime.client.deploy(runtime.bundle("2", ready_after=1).model_copy(update={"traffic": 30}), wait=False)
    assert (found.state, found.traffic, found.awaits) == (State.STARTING, 0, 30)
    runtime.until(lambda: runtime.traffic() == {"m-v1": 70, "m-v2": 30})


def test_waiting_ends_with_a_sentence_when_it_takes_too_long(runtime: World) -> None:
    with pytest.raises(Unavailable, match=r"starting after 0.1 seconds: `vigil logs m-v1`"):
        runtime.client.deploy(runtime.bundle("1", ready_after=3600), timeout=0.1)


def test_a_shadow_is_deployed_without_traffic_and_sees_the_requests(runtime: World) -> None:
    runtime.deploy("1")
    runtime.deploy("2", shadow=True)
    for _ in range(10):
        assert runtime.post()[1]["revision"] == "m-v1"
    runtime.until(lambda: runtime.client.revision("m-v2").served.mirrored == {"200": 10})
    runtime.client.set_shadow("m-v2", False)
    runtime.until(lambda: runtime.state("m-v2") is State.STOPPED)


def test_weights_are_set_all_at_once_and_only_for_what_can_serve(runtime: World) -> None:
    runtime.deploy("1")
    runtime.deploy("2", traffic=10)
    runtime.client.set_traffic({"m-v1": 40, "m-v2": 60})
    assert runtime.traffic() == {"m-v1": 40, "m-v2": 60}
    with pytest.raises(ContractError, match="sum to 90, not to 100: m-v1 30, m-v2 60"):
        runtime.client.set_traffic({"m-v1": 30, "m-v2": 60})
    with pytest.raises(ContractError, match="there is no revision m-v9; there are: m-v1, m-v2"):
        runtime.client.set_traffic({"m-v9": 100})
    runtime.client.deploy(runtime.bundle("3", ready_after=3600), wait=False)
    with pytest.raises(ContractError, match="m-v3 is starting and cannot take more traffic"):
        runtime.client.set_traffic({"m-v1": 40, "m-v3": 60})
    assert runtime.traffic() == {"m-v1": 40, "m-v2": 60}


def test_a_revision_with_a_share_is_not_removed_and_one_without_is(runtime: World) -> None:
    runtime.deploy("1")
    runtime.deploy("2", traffic=10)
    with pytest.raises(ContractError, match="m-v2 has 10 % of the traffic"):
        runtime.client.remove("m-v2")
    runtime.client.set_traffic({"m-v1": 100, "m-v2": 0})
    pid = runtime.pid("m-v2")
    assert pid is not None
    assert [one.name for one in runtime.client.remove("m-v2").revisions] == ["m-v1"]
    assert alive([pid]) == []
    assert runtime.client.remove("m-v1").revisions == []
    assert runtime.post()[0] == 503


def test_not_one_request_fails_while_revisions_replace_each_other_under_load(runtime: World) -> None:
    runtime.deploy("1", delay=0.05)
    answers: Counter[tuple[int, str]] = Counter()
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            status, document = runtime.post()
            answers[status, document.get("revision", str(document))] += 1

    threads = [threading.Thread(target=load) for _ in range(6)]
    for thread in threads:
        thread.start()
    for name in ("2", "3"):
        runtime.deploy(name, delay=0.05)
        runtime.until(lambda name=name: runtime.state(f"m-v{int(name) - 1}") is State.STOPPED)
    time.sleep(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(answers) == {(200, "m-v1"), (200, "m-v2"), (200, "m-v3")}
