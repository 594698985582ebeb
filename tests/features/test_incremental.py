"""A feature table that is brought up to date bit by bit equals one that is built at once."""

import fcntl
import shutil
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.deliveries import LATENESS, Book, batches
from tests.features.logs import CONFIG, PROGRAM, START, deterministic, logs, sale, tables_of
from vigil.clock import HOUR, to_micros
from vigil.contracts.events import EVENTS, Event, to_table
from vigil.contracts.keys import hash_table
from vigil.errors import ContractError, Unavailable
from vigil.features.compiler import compile_features
from vigil.features.definitions import define
from vigil.features.engine import compute_tables, new_state, run
from vigil.features.incremental import FeatureStore
from vigil.features.log import EventLog


def by_kind(tables: dict[str, pa.Table]) -> dict[str, list[dict[str, object]]]:
    return {kind: table.to_pylist() for kind, table in tables.items() if table.num_rows}


def rows(events: list[Event]) -> dict[str, list[dict[str, object]]]:
    return by_kind(tables_of(events))


def rebuilt(events: list[Event]) -> pa.Table:
    return compute_tables(PROGRAM, tables_of(events)).to_arrow()


@given(logs(), st.data())
@deterministic(60)
def test_a_run_in_any_number_of_pieces_is_one_run(log: list[Event], data: st.DataObject) -> None:
    events = EventLog.of(tables_of(log))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(log)), max_size=5)))
    state = new_state(PROGRAM)
    pieces = [
        run(PROGRAM, events, state, start=first, stop=last).to_arrow()
        for first, last in zip([0, *cuts], [*cuts, len(log)], strict=True)
    ]
    assert pa.concat_tables(pieces).equals(rebuilt(log))


@given(batches())
@deterministic(30)
def test_updates_by_any_batches_equal_a_rebuild_and_lose_nothing(arriving: list[list[Event]]) -> None:
    book = Book()
    with TemporaryDirectory() as folder:
        for batch in arriving:
            before = len(book.accepted), book.duplicates, len(book.late), len(book.conflicting)
            # Every update starts from the files alone, as after a restart.
            admission = FeatureStore(Path(folder), PROGRAM).update(tables_of(batch)).admission
            book.take([event for kind in EVENTS for event in batch if event.kind == kind])
            handed_back = [sum(map(len, by_kind(part).values())) for part in (admission.late, admission.conflicting)]
            assert admission.accepted + admission.duplicates + sum(handed_back) == len(batch)
            assert admission.accepted == len(book.accepted) - before[0]
            assert admission.duplicates == book.duplicates - before[1]
            assert by_kind(admission.late) == rows(book.late[before[2] :])
            assert by_kind(admission.conflicting) == rows(book.conflicting[before[3] :])
        assert FeatureStore(Path(folder), PROGRAM).features().equals(rebuilt(book.accepted))


def test_an_event_at_the_settled_time_is_in_time_and_one_before_it_is_late(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, PROGRAM)
    settled = store.update(tables_of([sale(1, 600)])).settled
    assert settled == to_micros(START + timedelta(minutes=600) - LATENESS)
    admission = store.update(tables_of([sale(2, 540), sale(3, 540 - 1 / 60)])).admission
    assert admission.accepted == 1
    assert by_kind(admission.late) == rows([sale(3, 540 - 1 / 60)])


def test_a_longer_lateness_takes_what_a_shorter_one_hands_back(tmp_path: Path) -> None:
    for name, lateness, accepted in (("short", HOUR, 0), ("long", 3 * HOUR, 1)):
        store = FeatureStore(tmp_path / name, PROGRAM, lateness)
        store.update(tables_of([sale(1, 600)]))
        assert store.update(tables_of([sale(2, 480)])).admission.accepted == accepted


def test_a_late_event_changes_the_features_of_those_after_it(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, PROGRAM)
    store.update(tables_of([sale(1, 0), sale(3, 30)]))
    assert store.features()["customer_count_1h"].to_pylist() == [0, 1]
    assert store.update(tables_of([sale(2, 20)])).computed == 3
    assert store.features()["customer_count_1h"].to_pylist() == [0, 1, 2]


def test_an_empty_update_changes_nothing(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, PROGRAM)
    assert store.features().num_rows == 0
    store.update(tables_of([sale(1, 0), sale(2, 5_000)]))
    before = hash_table(store.features())
    for nothing in ({}, tables_of([])):
        assert store.update(nothing).admission.accepted == 0
        assert hash_table(store.features()) == before


def test_the_same_updates_write_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        store = FeatureStore(tmp_path / name, PROGRAM)
        for first in range(0, 60, 20):
            store.update(tables_of([sale(n, 90 * n, n % 9) for n in range(first, first + 20)]))
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def test_old_snapshots_and_partitions_are_removed(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, PROGRAM)
    for n in range(3):
        store.update(tables_of([sale(n, 1_440 * n)]))
    assert [path.name for path in tmp_path.glob("snapshot-*")] == ["snapshot-3"]
    assert sorted(path.name for path in tmp_path.glob("features-*")) == [
        "features-2024-01-31-2.parquet",
        "features-2024-02-01-3.parquet",
        "features-2024-02-02-3.parquet",
    ]


def test_a_folder_of_another_schema_is_refused(tmp_path: Path) -> None:
    FeatureStore(tmp_path, PROGRAM).update(tables_of([sale(1, 0)]))
    other = compile_features(define(CONFIG.model_copy(update={"low_amount": 11.0})))
    for call in (lambda: FeatureStore(tmp_path, other).update({}), lambda: FeatureStore(tmp_path, other).features()):
        with pytest.raises(ContractError, match=r"holds features of another schema .*: build into an empty folder"):
            call()


def test_an_unknown_kind_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="unknown event kind 'sale': one of transaction"):
        FeatureStore(tmp_path, PROGRAM).update({"sale": to_table(EVENTS["transaction"], [sale(1, 0)])})


def test_a_second_update_at_the_same_time_is_asked_to_wait(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, PROGRAM)
    with (tmp_path / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match=r"another update of .* is running: try again when it is done"):
            store.update(tables_of([sale(1, 0)]))
    assert store.update(tables_of([sale(1, 0)])).admission.accepted == 1


def test_a_copied_folder_is_a_whole_table(tmp_path: Path) -> None:
    events: list[Event] = [sale(n, 400 * n, n) for n in range(20)]
    FeatureStore(tmp_path / "here", PROGRAM).update(tables_of(events[:10]))
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    moved = FeatureStore(tmp_path / "there", PROGRAM)
    moved.update(tables_of(events[10:]))
    assert moved.features().equals(rebuilt(events))


def test_progress_counts_every_event_once_or_once_more_if_it_may_still_be_reordered(tmp_path: Path) -> None:
    done: list[int] = []
    FeatureStore(tmp_path, PROGRAM).update(tables_of([sale(n, 10 * n) for n in range(50)]), progress=done.append)
    assert sum(done) == 50
