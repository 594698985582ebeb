"""An update that is killed leaves the table as it was or as it shall be, and running it again completes it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from tests.features import crash
from tests.features.logs import PROGRAM, tables_of
from vigil.contracts.events import Event
from vigil.features.engine import compute_tables
from vigil.features.incremental import FeatureStore


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stores")
    subprocess.run([sys.executable, "-m", "tests.features.crash", str(folder)], check=True, timeout=300)
    return folder


def table(folder: Path) -> pa.Table:
    return FeatureStore(folder, PROGRAM).features()


def rebuilt(batches: list[list[Event]]) -> pa.Table:
    events = {event.event_id: event for batch in batches for event in batch}
    return compute_tables(PROGRAM, tables_of(list(events.values()))).to_arrow()


def test_an_update_killed_at_any_change_to_the_folder_leaves_the_old_table_or_the_new_one(stores: Path) -> None:
    old, new = rebuilt(crash.HALF), rebuilt(crash.batches()[:4])
    steps = sorted(int(path.name.removeprefix("step-")) for path in stores.glob("step-*"))
    seen = [table(stores / f"step-{step}") for step in steps]
    assert all(found.equals(old) or found.equals(new) for found in seen)
    is_new = [found.equals(new) for found in seen]
    assert is_new == sorted(is_new)
    assert min(is_new.count(False), is_new.count(True)) > 0


def test_an_update_killed_at_any_moment_leaves_a_whole_number_of_updates(stores: Path) -> None:
    whole = [rebuilt(crash.batches()[:count]) for count in range(3, 7)]
    for delay in crash.MILLISECONDS:
        assert any(table(stores / f"after-{delay}").equals(expected) for expected in whole), delay


def test_after_a_kill_the_same_updates_give_the_table_of_an_undisturbed_run_and_leave_nothing_else(
    stores: Path, tmp_path: Path
) -> None:
    expected, names = rebuilt(crash.batches()), set()
    for wreck in stores.iterdir():
        folder = shutil.copytree(wreck, tmp_path / wreck.name)
        crash.update(folder, crash.batches()[3:])
        assert table(folder).equals(expected), wreck.name
        names.add(tuple(sorted(path.name.rpartition("-")[0] for path in folder.iterdir())))
    assert len(list(stores.iterdir())) > 15
    assert len(names) == 1
