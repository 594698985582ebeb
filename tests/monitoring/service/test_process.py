"""The service as a process: killed and started again, ended in good order, set wrongly; and its command line."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.monitoring.service.events import decided, verdict
from tests.monitoring.service.stage import Process, vigil
from vigil.errors import ContractError, Unavailable
from vigil.monitoring.samples import Slot

LOST = 'vigil_monitor_outcomes_total{outcome="lost_by_a_crash"}'
DUPLICATES = 'vigil_monitor_outcomes_total{outcome="duplicates"}'


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    config = tmp_path / "monitor.yaml"
    config.write_text(json.dumps({"slot_seconds": 1, "snapshot_seconds": 0.5}))
    made = Process(tmp_path / "home", ["--config", str(config)])
    yield made
    made.close()


def slots(process: Process) -> list[Slot]:
    return [Slot.model_validate(slot) for slot in process.http.get("/v1/slots/card_fraud").json()]


def scored(process: Process) -> int:
    return sum(slot.arms["m-v1"].scored for slot in slots(process) if slot.arms)


def test_after_sigkill_it_counts_what_it_lost_and_after_sigterm_it_has_lost_nothing(process: Process) -> None:
    process.start().wait_until_ready()
    for number in range(10):
        process.send(decided(f"a{number}", 0.9))
    process.wait(lambda: scored(process) == 10)
    before = slots(process)
    state = process.home / "monitor" / "state.json"
    process.wait(lambda: state.exists() and json.loads(state.read_text())["worked_off"] == 20)
    process.send(decided("half")[:1])
    process.wait(lambda: process.metric("vigil_monitor_unpaired_events") == 1)
    process.kill()
    process.start().wait_until_ready()
    assert process.metric(LOST) == 1
    assert slots(process)[: len(before)] == before
    process.send([*decided("a0", 0.9), *decided("later"), *verdict("a1", True)])
    process.wait(lambda: scored(process) == 11)
    assert process.metric(DUPLICATES) == 2
    process.wait(lambda: sum(slot.arms["m-v1"].judged for slot in slots(process) if slot.arms) == 1)
    for number in range(100):
        process.send(decided(f"b{number}"))
    assert process.stop() == 0
    process.start().wait_until_ready()
    process.wait(lambda: scored(process) == 111)
    assert process.metric(LOST) == 0


def test_the_command_line_shows_the_service_that_the_settings_name(process: Process) -> None:
    process.start().wait_until_ready()
    process.send([*decided("a"), *decided("a")])
    process.wait(lambda: process.metric(DUPLICATES) == 2)
    shown = vigil(f"{process.http.base_url}", "status").stdout
    assert "Nothing is watched yet" in shown
    counts = "4 events, 0 dropped, 2 duplicates, 0 unpaired, 1 decisions of unknown bundles"
    assert counts in " ".join(shown.split())
    assert json.loads(vigil(f"{process.http.base_url}", "status", "--json").stdout) == []
    with pytest.raises(ContractError, match="no revision of card_fraud is watched"):
        vigil(f"{process.http.base_url}", "verdict", "card_fraud")
    process.stop()
    with pytest.raises(Unavailable, match="does not answer"):
        vigil(f"{process.http.base_url}", "status")


def test_a_wrong_configuration_ends_it_with_the_status_that_no_restart_cures(process: Process) -> None:
    Path(process.flags[1]).write_text("watch: {window_row: 3}")
    process.start()
    assert process.process.wait(timeout=60) == 78
    assert "watch.window_row" in (process.home / "out").read_text()
