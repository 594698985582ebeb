"""The demo as a stranger starts it: one command from raw data to live decisions, and nothing left behind."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.features.handbook import PATH
from vigil.clock import system_clock
from vigil.decisions.log import read_decisions
from vigil.registry.registry import Registry
from vigil.registry.store import FolderStore

pytestmark = [pytest.mark.xdist_group("demo"), pytest.mark.timeout(1200)]

FIRST_DAY = "2018-07-22"
MOST_LIVE = 400


def free_ports() -> int:
    """Return a port that is free, and so is the next one."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


def vigil(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vigil", *arguments]
    environment = os.environ | {"VIGIL_HOME": str(home), "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def told(home: Path) -> subprocess.CompletedProcess[str]:
    """The demo on a slice of the handbook's transactions."""
    if not PATH.exists():
        pytest.skip(f"{PATH} is absent: set VIGIL_DATA to the folder of the reference data")
    table = pq.read_table(PATH)
    table = table.filter(pc.greater_equal(table["TX_DATETIME"].cast("string"), FIRST_DAY))
    pq.write_table(table, home / "slice.parquet")
    arguments = ("--data", str(home / "slice.parquet"), "--source", "fraud_handbook", "--live-hours", "12")
    done = vigil("demo", *arguments, "--most-live", str(MOST_LIVE), "--port", str(free_ports()), home=home)
    yield done
    vigil("down", "--force", home=home / "demo")


def test_raw_data_become_a_served_model_whose_decisions_are_those_of_the_offline_path(
    told: subprocess.CompletedProcess[str],
) -> None:
    assert told.returncode == 0, told.stdout + told.stderr
    same = f"{MOST_LIVE} of {MOST_LIVE} served decisions are those of the offline path, bit for bit."
    assert same in told.stdout, told.stdout
    assert "passed every gate" in told.stdout


def test_it_says_nothing_that_nobody_can_use(told: subprocess.CompletedProcess[str]) -> None:
    assert told.stderr == ""
    for noise in ("Traceback", "Warning", "warning"):
        assert noise not in told.stdout


def test_its_model_is_registered_with_a_lineage_to_the_data(told: subprocess.CompletedProcess[str], home: Path) -> None:
    registry = Registry(FolderStore(home / "demo" / "models"))
    (version,) = registry.state(registry.models()[0]).versions.values()
    assert version.registration.run, told.stdout
    assert {"events", "features"} <= set(version.registration.metadata.parents)


def test_every_decision_is_in_the_log_of_its_revision(told: subprocess.CompletedProcess[str], home: Path) -> None:
    assert told.returncode == 0
    logged = list(read_decisions(home / "demo" / "decisions"))
    assert len({one.record.event_id for one in logged}) == MOST_LIVE
    assert all(one.record.decided_at <= system_clock() for one in logged)


def test_down_leaves_no_process_and_no_folder_of_the_runtime(
    told: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert told.returncode == 0
    down = vigil("down", home=home / "demo")
    assert down.returncode == 0, down.stderr
    assert not (home / "demo" / "runtime").exists()
    assert "no runtime is running" in vigil("status", home=home / "demo").stderr
