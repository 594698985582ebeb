"""Whatever dies, nothing is left over, and what can come back does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest

from tests.runtime.world import World, alive
from vigil.errors import ContractError, Unavailable
from vigil.runtime.child import RestartPolicy
from vigil.runtime.daemon import check_start
from vigil.runtime.files import Running, mark_of
from vigil.runtime.status import ProcessMark, State


def _pids(world: World) -> list[int]:
    return [one.pid for revision in world.client.status().revisions for one in revision.processes if one.pid]


def test_pauses_between_restarts_grow_up_to_a_limit() -> None:
    policy = RestartPolicy(first_seconds=0.5, factor=2, max_seconds=3)
    assert [policy.pause(crashes) for crashes in range(1, 6)] == [0.5, 1, 2, 3, 3]


@pytest.mark.parametrize("role", ["predictor", "transformer"])
def test_a_process_that_is_killed_comes_back(runtime: World, role: str) -> None:
    runtime.deploy("1")
    pid = runtime.pid("m-v1", role)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    runtime.until(lambda: runtime.pid("m-v1", role) not in (pid, None))
    runtime.until(lambda: runtime.state("m-v1") is State.READY)
    assert runtime.post()[0] == 200
    assert runtime.client.revision("m-v1").restarts == 1


def test_a_revision_that_crashes_again_and_again_is_given_up_and_shows_its_last_lines(runtime: World) -> None:
    runtime.deploy("1")

    def crash() -> bool:
        if runtime.state("m-v1") is State.READY:
            runtime.crash()
        return runtime.state("m-v1") is State.FAILED

    runtime.until(crash)
    found = runtime.client.revision("m-v1")
    assert found.why is not None
    assert "the transformer ended with status 3 4 times in a row" in found.why
    assert "m-v1 listens" in found.why
    assert found.restarts == 3
    assert all(one.pid is None for one in found.processes)
    status, answer = runtime.post()
    assert (status, answer["error"]["code"]) == (503, "not_ready")


def test_requests_go_to_the_other_revision_while_one_is_down(runtime: World) -> None:
    runtime.deploy("1")
    runtime.deploy("2", traffic=50)
    pid = runtime.pid("m-v1")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert {runtime.post()[0] for _ in range(40)} == {200}


def test_when_the_supervisor_is_killed_its_children_die_and_the_next_one_goes_on(runtime: World) -> None:
    runtime.deploy("1")
    runtime.deploy("2", traffic=25)
    children = _pids(runtime)
    runtime.supervisors[-1].kill()
    runtime.supervisors[-1].wait()
    assert len(children) == 4
    runtime.until(lambda: alive(children) == [])
    with pytest.raises(Unavailable, match="vigil up"):
        runtime.client.status()
    runtime.up()
    runtime.until(lambda: [one.state for one in runtime.client.status().revisions] == [State.READY] * 2)
    assert runtime.traffic() == {"m-v1": 75, "m-v2": 25}
    assert runtime.post()[0] == 200


def test_orphans_are_refused_with_the_cure_and_the_cure_works(place: World) -> None:
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    folder = place.client.folder
    folder.create()
    dead = ProcessMark(pid=2**22 - 1, started=1.0)
    folder.note(Running(supervisor=dead, endpoint="http://x", children={"m-v1/predictor": mark_of(orphan.pid)}))
    with pytest.raises(ContractError, match=rf"m-v1/predictor \(pid {orphan.pid}\); run `vigil down --force` first"):
        check_start(place.config, folder)
    with pytest.raises(ContractError, match="vigil down --force"):
        place.client.down()
    assert place.client.down(force=True)
    assert alive([orphan.pid]) == []
    check_start(place.config, folder)


def test_a_stale_pid_file_whose_pid_belongs_to_another_now_is_no_obstacle_and_harms_nobody(place: World) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        folder = place.client.folder
        folder.create()
        stale = mark_of(other.pid).model_copy(update={"started": mark_of(other.pid).started - 3600})
        folder.note(Running(supervisor=stale, endpoint="http://x", children={"m-v1/predictor": stale}))
        folder.socket.touch()
        place.up()
        place.client.down(force=True)
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_second_runtime_in_the_same_home_is_refused(runtime: World) -> None:
    pid = runtime.supervisors[-1].pid
    with pytest.raises(ContractError, match=rf"running already \(pid {pid}, http://127.0.0.1:\d+\).*vigil down"):
        check_start(runtime.config, runtime.client.folder)


@pytest.mark.parametrize(("option", "which"), [("--port", "port"), ("--grpc-port", "grpc_port")])
def test_a_port_in_use_is_named_with_another_that_is_free(place: World, option: str, which: str) -> None:
    port = getattr(place.config, which)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(ContractError, match=rf"port {port} on 127.0.0.1 is in use.*`vigil up {option} \d+`"):
            check_start(place.config, place.client.folder)


def test_a_state_file_that_is_no_state_is_refused_with_the_cure(place: World) -> None:
    folder = place.client.folder
    folder.create()
    folder.state.write_text('{"revisions": 3}')
    with pytest.raises(ContractError, match="begin anew by `vigil down --force`"):
        check_start(place.config, folder)


def test_down_ends_everything_and_leaves_nothing_behind(runtime: World) -> None:
    runtime.deploy("1")
    children = _pids(runtime)
    assert runtime.client.down()
    assert runtime.supervisors[-1].wait(timeout=10) == 0
    assert alive(children) == []
    assert not runtime.client.folder.path.exists()
    assert not runtime.client.down()


def test_down_can_keep_the_deployments_for_the_next_runtime(runtime: World) -> None:
    runtime.deploy("1")
    runtime.client.down(keep=True)
    assert "m-v1 has stopped" in (runtime.client.folder.logs("m-v1") / "transformer.log").read_text()
    runtime.up()
    runtime.until(lambda: runtime.traffic() == {"m-v1": 100} and runtime.state("m-v1") is State.READY)


def test_forced_down_ends_a_revision_that_ignores_its_signal(runtime: World) -> None:
    runtime.deploy("1")
    children = _pids(runtime)
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    runtime.supervisors[-1].send_signal(signal.SIGSTOP)
    assert runtime.client.down(force=True)
    runtime.until(lambda: alive(children) == [])
    assert not runtime.client.folder.path.exists()


def test_a_signal_lets_requests_on_the_way_finish(runtime: World) -> None:
    runtime.deploy("1", delay=1.0)
    command = [sys.executable, "-c", _SLOW_REQUEST, str(runtime.config.port)]
    asking = subprocess.Popen(command, stdout=subprocess.PIPE)
    runtime.until(lambda: _in_flight(runtime))
    runtime.supervisors[-1].send_signal(signal.SIGTERM)
    output, _ = asking.communicate(timeout=30)
    assert json.loads(output)["revision"] == "m-v1"
    assert runtime.supervisors[-1].wait(timeout=20) == 0


_SLOW_REQUEST = """
import sys, urllib.request
address = f"http://127.0.0.1:{sys.argv[1]}/v1/models/m:predict"
print(urllib.request.urlopen(address, data=b"{}", timeout=30).read().decode())
"""


def _in_flight(world: World) -> bool:
    """Return whether a client is connected and has been for long enough to have sent its request."""
    connections = psutil.Process(world.supervisors[-1].pid).connections()
    connected = any(one.status == "ESTABLISHED" and one.laddr.port == world.config.port for one in connections)
    time.sleep(0.2)
    return connected
