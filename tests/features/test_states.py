"""The states of a training run as a sealed folder, and what becomes of a store that they are loaded into."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.logs import CONFIG, PROGRAM, START, deterministic, logs, sale, tables_of
from tests.features.store.support import KINDS, Workbench, start_redis
from tests.features.test_online import assert_same, offline, online
from vigil.clock import to_micros
from vigil.contracts.events import Event
from vigil.errors import ContractError
from vigil.features.compiler import compile_features
from vigil.features.definitions import define
from vigil.features.engine import EngineState, compute, new_state
from vigil.features.incremental import FeatureStore
from vigil.features.log import EventLog
from vigil.features.online import OnlineFeatures
from vigil.features.states import (
    FILE,
    MARKER,
    Hydration,
    export_states,
    hydrate,
    read_states,
    state_at_end,
    write_states,
)
from vigil.features.store import CachedStore, Change, MemoryStore, StateStore

UNTIL = to_micros(START)
SCHEMA = PROGRAM.schema_hash
SALES = [sale(n, n, customer_id=f"c{n % 40}", terminal_id=f"m{n % 7}") for n in range(90)]


def state_after(events: list[Event]) -> EngineState:
    state = new_state(PROGRAM)
    compute(PROGRAM, EventLog.of(tables_of(events)), state)
    return state


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_states(tmp_path / "states", PROGRAM, state_after(SALES), until=UNTIL)
    return tmp_path / "states"


@pytest.fixture(params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workbench]:
    server = start_redis() if "redis" in request.param else None
    bench = Workbench(request.param, tmp_path, server.url if server else "")
    yield bench
    bench.close()
    if server:
        server.remove()


def contents(store: StateStore, keys: list[str]) -> dict[str, bytes]:
    found = zip(keys, store.get_many(keys), strict=True)
    return {key: state.value for key, state in found if state}


def test_the_folder_gives_back_every_state_and_what_it_is_of(folder: Path) -> None:
    states = read_states(folder)
    assert dict(states) == dict(export_states(PROGRAM, state_after(SALES)))
    assert (states.entities, states.feature_schema, states.settled) == (len(dict(states)), SCHEMA, START)


def test_the_same_states_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again = write_states(tmp_path / "again", PROGRAM, state_after(SALES), until=UNTIL)
    assert again.content_hash == read_states(folder).content_hash
    assert (tmp_path / "again" / FILE).read_bytes() == (folder / FILE).read_bytes()


def test_a_run_that_saw_nothing_has_states_of_nobody(tmp_path: Path) -> None:
    write_states(tmp_path / "none", PROGRAM, new_state(PROGRAM), until=UNTIL)
    assert list(read_states(tmp_path / "none")) == []


def test_a_folder_that_was_changed_is_refused(folder: Path) -> None:
    pq.write_table(pq.read_table(folder / FILE).slice(1), folder / FILE)
    with pytest.raises(ContractError, match="changed after it was sealed"):
        hydrate(MemoryStore(), folder, SCHEMA)


def test_a_folder_of_another_kind_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "kind": "features"}))
    with pytest.raises(ContractError, match="holds features, not the feature_state"):
        read_states(folder)


def test_states_of_another_schema_are_refused_and_nothing_is_written(folder: Path) -> None:
    other = compile_features(define(CONFIG.model_copy(update={"groups": ("protocol",)})))
    store = MemoryStore()
    with pytest.raises(ContractError, match="give the states that were sealed by the training run of this model"):
        hydrate(store, folder, other.schema_hash)
    assert not store.is_used()


def test_every_store_holds_the_states_afterwards(bench: Workbench, folder: Path) -> None:
    store, expected = bench.open(), dict(read_states(folder))
    outcome = hydrate(store, folder, SCHEMA)
    assert (outcome.done, outcome.entities, outcome.offered) == (Hydration.LOADED, len(expected), len(expected))
    assert contents(store, list(expected)) == expected
    assert str(outcome) == f"loaded {len(expected)} states as of 2024-01-31T00:00:00+00:00"


def test_a_second_time_nothing_is_written(bench: Workbench, folder: Path) -> None:
    hydrate(bench.open(), folder, SCHEMA)
    store = bench.open() if bench.kind not in ("memory", "cached memory") else bench.opened[0]
    OnlineFeatures(PROGRAM, store).process(sale(900, 200))
    keys = [*dict(read_states(folder)), "customer:c1"]
    before = contents(store, keys)
    outcome = hydrate(store, folder, SCHEMA)
    assert (outcome.done, outcome.entities) == (Hydration.ALREADY_LOADED, 0)
    assert contents(store, keys) == before


def test_a_store_that_live_traffic_uses_is_left_alone(bench: Workbench, folder: Path) -> None:
    store = bench.open()
    OnlineFeatures(PROGRAM, store).process(sale(900, 200))
    before = contents(store, list(dict(read_states(folder))))
    outcome = hydrate(store, folder, SCHEMA)
    assert (outcome.done, outcome.entities) == (Hydration.IN_USE, 0)
    assert "in use by live traffic" in str(outcome)
    assert contents(store, list(dict(read_states(folder)))) == before


def test_states_of_a_later_training_do_not_replace_what_lives(folder: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    hydrate(store, folder, SCHEMA)
    before = contents(store, list(dict(read_states(folder))))
    write_states(tmp_path / "later", PROGRAM, state_after([*SALES, sale(99, 500)]), until=UNTIL)
    assert hydrate(store, tmp_path / "later", SCHEMA).done is Hydration.IN_USE
    assert contents(store, list(before)) == before


def test_after_a_crash_in_the_middle_the_next_call_goes_on(folder: Path) -> None:
    store, expected = MemoryStore(), dict(read_states(folder))
    store.commit([Change(MARKER, b'{"states": "of the call that died", "is_complete": false}')])
    store.load(list(expected.items())[:20])
    live = OnlineFeatures(PROGRAM, store)
    live.process(sale(900, 200, customer_id="c3"))
    touched = ["customer:c3", "terminal:m1", "site:s1", "card:k1", "site_group:g1"]
    kept = contents(store, touched)
    outcome = hydrate(store, folder, SCHEMA)
    assert outcome.done is Hydration.LOADED
    assert 0 < outcome.entities < outcome.offered
    assert outcome.offered - outcome.entities >= 20
    assert "kept it" in str(outcome)
    assert contents(store, touched) == kept
    assert contents(store, list(expected)) == {**expected, **contents(store, touched)}


def test_processes_that_start_together_load_once_each_entity(bench: Workbench, folder: Path) -> None:
    stores = [bench.open()] * 3 if "memory" in bench.kind else [bench.open() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda store: hydrate(store, folder, SCHEMA), stores))
    expected = dict(read_states(folder))
    assert sum(outcome.entities for outcome in outcomes) == len(expected)
    assert hydrate(stores[0], folder, SCHEMA).done is Hydration.ALREADY_LOADED
    assert contents(stores[1], list(expected)) == expected


def test_a_marker_is_not_taken_for_an_entity() -> None:
    store = CachedStore(MemoryStore())
    store.commit([Change(MARKER, b'{"states": "x", "is_complete": true}')])
    assert OnlineFeatures(PROGRAM, store).process(sale(1, 0)).values is not None


@given(logs(), st.integers(1, 60))
@deterministic(15)
def test_serving_goes_on_where_training_ended(log: list[Event], minutes: int) -> None:
    with TemporaryDirectory() as name:
        table = FeatureStore(Path(name) / "table", PROGRAM)
        table.update(tables_of(log))
        snapshot = table.snapshot()
        write_states(Path(name) / "states", PROGRAM, state_at_end(PROGRAM, snapshot), until=snapshot.watermark)
        store = MemoryStore()
        hydrate(store, Path(name) / "states", SCHEMA)
    end = max((event.event_time for event in log), default=START)
    probes = [
        sale(900 + n, 0).model_copy(update={"event_time": end.replace(microsecond=n + 1)}) for n in range(minutes % 5)
    ]
    expected = offline([*log, *probes])
    assert_same(online(probes, store), {probe.event_id: expected[probe.event_id] for probe in probes})
