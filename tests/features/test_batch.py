"""Many events at once give what one by one in log order gives: features, states, and what the store remembers."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.deliveries import batches
from tests.features.logs import CONFIG, PROGRAM, START, deterministic, logs, sale
from tests.features.store.support import KINDS as STORES
from tests.features.store.support import Workbench, start_redis
from tests.features.test_online import CONVERGENT as CONVERGENT_NAMES
from tests.features.test_states import contents
from vigil.contracts.events import EVENTS, Event, Restock, SiteReading, StockLevel, Transaction, to_table
from vigil.errors import Bug, ContractError, Unavailable
from vigil.features import batch
from vigil.features.batch import OnlineBatch
from vigil.features.compiler import compile_features
from vigil.features.definitions import define
from vigil.features.fields import KINDS
from vigil.features.online import OnlineFeatures
from vigil.features.store import MemoryStore, StateStore, Versioned

CONVERGENT = [PROGRAM.names.index(name) for name in CONVERGENT_NAMES]


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    server = start_redis()
    yield server.url
    server.remove()


@pytest.fixture(params=STORES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Workbench]:
    url = request.getfixturevalue("redis") if "redis" in request.param else ""
    bench = Workbench(request.param, tmp_path, url)
    yield bench
    bench.close()


def in_log(event: Event) -> tuple[datetime, int, str]:
    """Return what events are ordered by."""
    return event.event_time, KINDS.index(event.kind), event.event_id


def one_by_one(events: Sequence[Event], store: StateStore) -> OnlineBatch:
    """Process the events singly in log order, and return the results in the order given."""
    engine = OnlineFeatures(PROGRAM, store)
    order = sorted(
        range(len(events)), key=lambda k: (events[k].event_time, KINDS.index(events[k].kind), events[k].event_id)
    )
    values = np.full((len(events), len(PROGRAM.names)), np.nan, dtype=np.float32)
    duplicates = np.zeros(len(events), dtype=np.bool_)
    for k in order:
        result = engine.process(events[k])
        duplicates[k] = result.duplicate
        if result.values is not None:
            values[k] = result.values
    return OnlineBatch(values, duplicates)


def assert_same(ours: OnlineBatch, theirs: OnlineBatch) -> None:
    assert ours.duplicates.tolist() == theirs.duplicates.tolist()
    assert ours.values.dtype == theirs.values.dtype == np.float32
    assert ours.values.tobytes() == theirs.values.tobytes()


def everything(store: MemoryStore) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Return all states and all notes of a memory store."""
    keys, events = list(store._states), list(store._events)
    notes = {key: note for key, note in zip(events, store.recall(events), strict=True) if note is not None}
    return contents(store, keys), notes


@given(batches())
@deterministic(60)
def test_batches_give_what_one_by_one_gives(arrived: list[list[Event]]) -> None:
    at_once, singly = MemoryStore(), MemoryStore()
    engine = OnlineFeatures(PROGRAM, at_once)
    for events in arrived:
        assert_same(engine.process_many(events), one_by_one(events, singly))
    assert everything(at_once) == everything(singly)


@given(batches(), st.integers(1, 4))
@deterministic(40)
def test_a_batch_of_several_commits_gives_the_same(arrived: list[list[Event]], size: int) -> None:
    at_once, singly = MemoryStore(), MemoryStore()
    engine = OnlineFeatures(PROGRAM, at_once)
    whole, batch.BATCH_EVENTS = batch.BATCH_EVENTS, size
    try:
        for events in arrived:
            assert_same(engine.process_many(events), one_by_one(events, singly))
    finally:
        batch.BATCH_EVENTS = whole
    assert everything(at_once) == everything(singly)


@given(logs(), st.data())
@deterministic(60)
def test_looking_at_many_gives_what_looking_at_each_gives(log: list[Event], data: st.DataObject) -> None:
    store, cut = MemoryStore(), data.draw(st.integers(0, len(log)))
    engine = OnlineFeatures(PROGRAM, store)
    engine.process_many(log[:cut])
    before = everything(store)
    many = engine.look_many(log)
    for event, values, duplicate in zip(log, many.values, many.duplicates, strict=True):
        single = engine.look(event)
        assert single.duplicate == duplicate
        assert np.isnan(values).all() if single.values is None else single.values.tobytes() == values.tobytes()
    assert everything(store) == before


def busy(count: int, seed: int = 5) -> list[Event]:
    """Return events that share few entities, some of them late, in the order of arrival."""
    draw, events = random.Random(seed), list[Event]()
    for n in range(count):
        keys = {"customer_id": draw.choice(("c1", "c2", None)), "site_id": draw.choice(("s1", "s2"))}
        minutes = n + draw.choice((0, 0, -30, -90))
        events.append(sale(n, minutes, draw.choice((1.0, 20.0)), product_id="p1", **keys))
        place = {"event_time": START + timedelta(minutes=minutes), "site_id": "s1", "product_id": "p1"}
        if n % 5 == 0:
            events.append(Restock(event_id=f"r{n}", **place, supplier_id=draw.choice(("u1", "u2")), quantity=3))
            events.append(StockLevel(event_id=f"l{n}", **place, on_hand=draw.randrange(9), reorder_level=5))
    return events


def test_every_store_gives_the_same_batch_and_the_same_again(bench: Workbench) -> None:
    store, events = bench.open(), busy(60)
    expected = one_by_one(events, MemoryStore())
    engine = OnlineFeatures(PROGRAM, store)
    assert_same(engine.process_many(events), expected)
    again = engine.process_many(events)
    assert again.duplicates.all()
    assert_same(OnlineBatch(again.values, expected.duplicates), expected)
    assert_same(engine.look_many(events), again)


def test_a_batch_goes_on_where_single_events_stopped(bench: Workbench) -> None:
    store, events = bench.open(), busy(40)
    events.sort(key=in_log)
    expected = one_by_one(events, MemoryStore())
    engine = OnlineFeatures(PROGRAM, store)
    for event in events[:20]:
        engine.process(event)
    batch_part = engine.process_many(events[10:])
    assert batch_part.duplicates.tolist() == [True] * 10 + [False] * (len(events) - 20)
    assert batch_part.values.tobytes() == expected.values[10:].tobytes()


def test_a_fresh_batch_costs_one_look_up_for_each_stage_that_leads_on_and_one_commit() -> None:
    store = MemoryStore()
    OnlineFeatures(PROGRAM, store).process_many(busy(200))
    assert store.counts.commits == {"applied": 1}
    assert store.counts.lookups <= 2


def test_a_table_of_transactions_is_as_good_as_events() -> None:
    events = [event for event in busy(80) if isinstance(event, Transaction)]
    expected = one_by_one(events, MemoryStore())
    table = to_table(Transaction, list(events))
    assert_same(OnlineFeatures(PROGRAM, MemoryStore()).process_many(table), expected)
    plain = pa.table(
        {name: table[name].cast(pa.string()) if "_id" in name else table[name] for name in table.column_names}
    )
    several = pa.concat_tables([plain.slice(0, 33), plain.slice(33)])
    assert_same(OnlineFeatures(PROGRAM, MemoryStore()).process_many(several), expected)


def test_a_table_of_something_else_is_refused() -> None:
    readings = to_table(EVENTS["restock"], [])
    with pytest.raises(ContractError, match="columns that a transaction does not have: supplier_id"):
        OnlineFeatures(PROGRAM, MemoryStore()).process_many(readings)


def test_a_kind_that_no_feature_uses_is_refused_before_anything_is_written() -> None:
    reading = SiteReading(event_id="r", event_time=START, site_id="s1", metric="sales", value=1, unit="EUR")
    store = MemoryStore()
    with pytest.raises(ContractError, match="no feature uses a site_reading: one of verdict, stock_level"):
        OnlineFeatures(PROGRAM, store).process_many([sale(1, 0), reading])
    assert not store.is_used()


def test_no_events_are_a_batch_too() -> None:
    engine = OnlineFeatures(PROGRAM, MemoryStore())
    for nothing in ([], to_table(Transaction, [])):
        assert engine.process_many(nothing).values.shape == (0, len(PROGRAM.names))
        assert engine.look_many(nothing).duplicates.shape == (0,)


def test_of_events_with_one_id_in_a_batch_the_first_in_the_log_counts() -> None:
    engine = OnlineFeatures(PROGRAM, MemoryStore())
    found = engine.process_many([sale(1, 5, 999), sale(2, 1, 10), sale(1, 0, 10)])
    assert found.duplicates.tolist() == [True, False, False]
    assert found.values[0].tobytes() == found.values[2].tobytes()
    values = engine.look(sale(3, 6)).values
    assert values is not None
    assert values[PROGRAM.names.index("customer_amount_mean_30d")] == 10


def test_an_event_that_was_remembered_without_features_has_those_of_now() -> None:
    store = MemoryStore()
    store.commit([], "transaction:t001")
    found = OnlineFeatures(PROGRAM, store).process_many([sale(1, 0), sale(2, 1)])
    assert found.duplicates.tolist() == [True, False]
    assert np.isfinite(found.values).all()


def test_states_and_notes_of_another_schema_are_never_read_as_ones_own() -> None:
    other = compile_features(define(CONFIG.model_copy(update={"groups": ("protocol",)})))
    store = MemoryStore()
    OnlineFeatures(other, store).process(sale(1, 0))
    with pytest.raises(Bug, match=r"the state of customer:c1 has .* bytes, not .*: another schema wrote it"):
        OnlineFeatures(PROGRAM, store).process_many([sale(2, 1)])
    store = MemoryStore()
    store.commit([], "transaction:t001", b"vector")
    with pytest.raises(Bug, match="noted with 6 bytes, not 352: another schema wrote it"):
        OnlineFeatures(PROGRAM, store).process_many([sale(1, 0)])


class InterruptibleStore(MemoryStore):
    """A memory store where another client is faster than a commit, as often as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: Callable[[], object] | None = None

    def _read(self, keys: Sequence[str]) -> tuple[list[Versioned | None], int]:
        found = super()._read(keys)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile:
            meanwhile()
            self.meanwhile = meanwhile
        return found


def test_a_batch_that_met_a_faster_writer_starts_again_on_what_that_one_wrote() -> None:
    store, events = InterruptibleStore(), busy(30)
    rival = OnlineFeatures(PROGRAM, store)
    rivals = iter([sale(900, -200, 77), sale(901, -199, 78)])

    def interrupt() -> None:
        if (event := next(rivals, None)) is not None:
            rival.process(event)

    store.meanwhile = interrupt
    found = OnlineFeatures(PROGRAM, store).process_many(events)
    assert store.counts.commits["conflict"] >= 2
    expected = one_by_one([sale(900, -200, 77), sale(901, -199, 78), *events], MemoryStore())
    assert found.values.tobytes() == expected.values[2:].tobytes()


def test_a_writer_that_is_faster_than_any_batch_is_met_event_by_event() -> None:
    store, events = InterruptibleStore(), busy(12)
    rival, turns = OnlineFeatures(PROGRAM, store), iter(range(25))

    def interrupt() -> None:
        if (turn := next(turns, None)) is not None:
            rival.process(sale(900 + turn, -500))

    store.meanwhile = interrupt
    found = OnlineFeatures(PROGRAM, store).process_many(events)
    assert store.counts.commits["conflict"] > batch.BATCH_CONFLICTS
    assert not found.duplicates.any()
    past = [sale(900 + turn, -500) for turn in range(25)]
    last = OnlineFeatures(PROGRAM, store).look(sale(990, 30)).values
    singly = MemoryStore()
    one_by_one([*past, *events], singly)
    expected = OnlineFeatures(PROGRAM, singly).look(sale(990, 30)).values
    assert last is not None
    assert expected is not None
    assert last[CONVERGENT].tobytes() == expected[CONVERGENT].tobytes()


def test_a_writer_that_never_stops_makes_the_batch_unavailable_and_a_repetition_completes_it() -> None:
    store = InterruptibleStore()
    rival, turns = OnlineFeatures(PROGRAM, store), itertools.count(900)
    store.meanwhile = lambda: rival.process(sale(next(turns), -500))
    engine = OnlineFeatures(PROGRAM, store)
    with pytest.raises(Unavailable, match="32 other writers in a row were faster on the same entities"):
        engine.process_many([sale(1, 0), sale(2, 1)])
    store.meanwhile = None
    assert not engine.process_many([sale(1, 0), sale(2, 1)]).duplicates.any()


def test_the_same_batch_at_two_servers_is_applied_once_and_answered_alike(bench: Workbench) -> None:
    events = busy(120)
    left = bench.open()
    right = left if "memory" in bench.kind else bench.open()
    engines = [OnlineFeatures(PROGRAM, store) for store in (left, right)]
    with ThreadPoolExecutor(2) as pool:
        ours, theirs = pool.map(lambda engine: engine.process_many(events), engines)
    assert (ours.duplicates ^ theirs.duplicates).all()
    assert ours.values.tobytes() == theirs.values.tobytes()
    assert_same(OnlineBatch(ours.values, np.zeros(len(events), np.bool_)), one_by_one(events, MemoryStore()))


def test_batches_and_single_events_on_the_same_entities_lose_no_update(bench: Workbench) -> None:
    sales = [sale(n, n / 10, n % 5) for n in range(150)]
    left = bench.open()
    right = left if "memory" in bench.kind else bench.open()
    with ThreadPoolExecutor(3) as pool:
        single = pool.submit(lambda: [OnlineFeatures(PROGRAM, left).process(event) for event in sales[:50]])
        many = [
            pool.submit(lambda part=part, store=store: OnlineFeatures(PROGRAM, store).process_many(part))
            for part, store in ((sales[50:100], left), (sales[100:], right))
        ]
        assert not any(result.duplicate for result in single.result())
        assert not any(call.result().duplicates.any() for call in many)
    column = PROGRAM.names.index("customer_count_24h")

    bench.pass_time(timedelta(0))  # what the caches hold may be as old as their TTL
    values = OnlineFeatures(PROGRAM, right).look(sale(999, 20)).values
    assert values is not None
    assert values[column] == 150
