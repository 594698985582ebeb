"""One event at a time, over every store, gives what a run over the whole log gives."""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.logs import CONFIG, PROGRAM, START, deterministic, in_log_order, logs, sale, tables_of
from vigil.clock import to_micros
from vigil.contracts.events import Event, Restock, SiteReading, StockLevel
from vigil.errors import Bug, ContractError
from vigil.features.compiler import Program, compile_features
from vigil.features.definitions import define
from vigil.features.engine import Features, compute, compute_tables, new_state
from vigil.features.incremental import FeatureStore
from vigil.features.language import Aggregate, Node, children
from vigil.features.log import EventLog
from vigil.features.online import OnlineFeatures, OnlineResult
from vigil.features.store import CachedStore, MemoryStore, SqliteStore, StateStore
from vigil.features.store.redis_store import RedisStore

OpenStore = Callable[[str], AbstractContextManager[StateStore]]
"""Opens the store of a name; the same name again finds what was left there."""

_names = (f"run-{number}" for number in itertools.count())


@pytest.fixture(params=["sqlite", "redis", "cached-sqlite", "cached-redis"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """A way to open each store that outlives its process."""
    kind = request.param.removeprefix("cached-")
    url = request.getfixturevalue("redis_url") if kind == "redis" else ""

    def opened(name: str) -> StateStore:
        store = RedisStore(url, name) if kind == "redis" else SqliteStore(tmp_path / f"{name}.sqlite", name)
        return CachedStore(store, capacity=5) if request.param.startswith("cached-") else store

    return opened


def offline(events: Sequence[Event], program: Program = PROGRAM) -> dict[str, Features]:
    """Return the features of each transaction by its id."""
    table = compute_tables(program, tables_of(events))
    return dict(zip(table.event_ids.to_pylist(), table.values, strict=True))


def online(events: Sequence[Event], store: StateStore, program: Program = PROGRAM) -> dict[str, Features]:
    """Process the events in the order given, and return the features of each transaction by its id."""
    engine = OnlineFeatures(program, store)
    results = {event.event_id: engine.process(event) for event in events}
    assert not any(result.duplicate for result in results.values())
    return {key: result.values for key, result in results.items() if result.values is not None}


def assert_same(ours: dict[str, Features], theirs: dict[str, Features], names: Sequence[str] = PROGRAM.names) -> None:
    assert ours.keys() == theirs.keys()
    for key, values in ours.items():
        different = [PROGRAM.names[k] for k in np.flatnonzero(values != theirs[key])]
        assert not set(different) & set(names), key


@given(logs())
@deterministic(60)
def test_online_equals_offline(log: list[Event]) -> None:
    assert_same(online(log, MemoryStore()), offline(log))


@given(logs(), st.integers(0, 25))
@deterministic(15)
def test_online_equals_offline_through_a_small_cache(log: list[Event], capacity: int) -> None:
    assert_same(online(log, CachedStore(MemoryStore(), capacity=capacity + 1)), offline(log))


@pytest.fixture(scope="module")
def busy_log() -> list[Event]:
    """A hundred and twenty events of all kinds over three months, with missing keys."""
    draw = random.Random(7)
    events: list[Event] = []
    for n in range(90):
        keys = {name: draw.choice(values) for name, values in _KEYS.items()}
        events.append(sale(n, draw.uniform(0, 130_000), draw.choice((-5.0, 3.5, 20.0, 800.0)), **keys))
    for n in range(15):
        moment = START + timedelta(minutes=draw.uniform(0, 130_000))
        place = {"event_time": moment, "site_id": draw.choice(("s1", "s2")), "product_id": "p1"}
        events.append(StockLevel(event_id=f"l{n}", **place, on_hand=draw.randrange(9), reorder_level=5))
        events.append(Restock(event_id=f"r{n}", **place, supplier_id=draw.choice(("u1", "u2")), quantity=10))
    return in_log_order(events)


_KEYS = {
    "customer_id": ("c1", "c2", "c3", None),
    "card_id": ("k1", "k2", None),
    "terminal_id": ("m1", "m2", None),
    "site_id": ("s1", "s2"),
    "product_id": ("p1", None),
}


def test_every_store_gives_what_offline_gives_after_a_restart_in_the_middle(
    open_store: OpenStore, busy_log: list[Event]
) -> None:
    name, half = next(_names), len(busy_log) // 2
    with open_store(name) as store:
        results = online(busy_log[:half], store)
    with open_store(name) as store:
        results |= online(busy_log[half:], store)
    assert_same(results, offline(busy_log))


def test_two_processes_in_turn_share_a_store(open_store: OpenStore, busy_log: list[Event]) -> None:
    name = next(_names)
    results = {}
    with open_store(name) as left, open_store(name) as right:
        for event, store in zip(busy_log, itertools.cycle((left, right)), strict=False):
            results |= online([event], store)
    assert_same(results, offline(busy_log))


@given(logs(), st.data())
@deterministic(25)
def test_online_goes_on_from_a_feature_table(log: list[Event], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(log)))
    with TemporaryDirectory() as folder:
        table = FeatureStore(Path(folder), PROGRAM)
        table.update(tables_of(log[:cut]))
        snapshot = table.snapshot()
    store = MemoryStore()
    OnlineFeatures(PROGRAM, store).load(snapshot.state)
    open_events = [event for event in log if to_micros(event.event_time) >= snapshot.settled]
    results, expected = online(open_events, store), offline(log)
    assert_same(results, {key: expected[key] for key in results})


def test_loading_reports_how_many_entities_it_wrote(busy_log: list[Event]) -> None:
    state = new_state(PROGRAM)
    compute(PROGRAM, EventLog.of(tables_of(busy_log)), state)
    store = MemoryStore()
    assert OnlineFeatures(PROGRAM, store).load(state) == store.entries() == sum(map(len, state.indexes.values()))


def below(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from below(child)


def depends_on_order(node: Node) -> bool:
    """Return whether the past counts an event by what was known when it came: its measures look at folds themselves."""
    folds = [fold for fold in below(node) if isinstance(fold, Aggregate)]
    measures = [measure for fold in folds for measure in fold.measures if measure.name != "site_days"]
    return any(isinstance(inner, Aggregate) for measure in measures for inner in below(measure.value))


CONVERGENT = [feature.name for feature in PROGRAM.features if not depends_on_order(feature.node)]
"""Features that forget in which order the past arrived. The others hold what an event looked like when it came."""


def test_only_features_on_the_running_baseline_depend_on_the_order_of_arrival() -> None:
    assert {feature.name for feature in PROGRAM.features if feature.name not in CONVERGENT} == {
        "amount_over_baseline",
        "customer_high_count_7d",
        "customer_high_count_14d",
        "customer_days_since_high",
        "terminal_ordinary_fraud_run",
    }


@given(logs(), st.integers(0, 10**6))
@deterministic(60)
def test_after_any_order_of_arrival_later_events_see_the_same_past(log: list[Event], seed: int) -> None:
    store = MemoryStore()
    online(random.Random(seed).sample(log, len(log)), store)
    end = log[-1].event_time if log else START
    probes = [
        sale(900 + n, 0, site_id=site, customer_id=customer, product_id=product).model_copy(
            update={"event_time": end + timedelta(minutes=n)}
        )
        for n, (site, customer, product) in enumerate(itertools.product(("s1", "s3"), ("c1", "c2"), ("p1", "p2")))
    ]
    expected = offline([*log, *probes])
    assert_same(online(probes, store), {probe.event_id: expected[probe.event_id] for probe in probes}, CONVERGENT)


@given(logs(12), st.integers(0, 10**6))
@deterministic(40)
def test_whatever_was_late_before_the_latest_event_sees_all_that_arrived(log: list[Event], seed: int) -> None:
    store, arrived = MemoryStore(), list[Event]()
    for event in random.Random(seed).sample(log, len(log)):
        arrived.append(event)
        result = online([event], store)
        if in_log_order(arrived)[-1] is event and result:
            expected = {event.event_id: offline(arrived)[event.event_id]}
            assert_same(result, expected, CONVERGENT)


def test_a_late_event_does_not_count_a_day_of_its_site_twice() -> None:
    only = compile_features([feature for feature in PROGRAM.features if feature.name == "site_sales_over_group_7d"])
    store = MemoryStore()
    late, day = sale(3, 1_400, 50), 24 * 60
    rival = sale(1, 600, 10, site_id="s2")
    online([rival, sale(2, 700, 10), sale(4, day + 5, 10), late], store, only)
    probe = sale(5, day + 20, 10)
    events = in_log_order([rival, sale(2, 700, 10), sale(4, day + 5, 10), late, probe])
    assert online([probe], store, only)["t005"] == offline(events, only)["t005"]


def counted(event: Event, arrived: Sequence[Event], minutes: int, grains: int) -> int:
    """Return how many sales of the event's customer lie in its window by whole grains."""
    grain = timedelta(minutes=minutes)
    own = (event.event_time - START) // grain
    return sum(own - grains < (other.event_time - START) // grain <= own for other in arrived)


def test_a_late_event_sees_the_past_as_of_its_own_time_in_whole_grains() -> None:
    draw = random.Random(3)
    events = [sale(n, draw.uniform(0, 240)) for n in range(80)]
    arriving = sorted(events, key=lambda event: event.event_time + timedelta(minutes=draw.uniform(0, 60)))
    engine = OnlineFeatures(PROGRAM, MemoryStore())
    for position, event in enumerate(arriving):
        values = engine.process(event).values
        assert values is not None
        for name, minutes, grains in (("customer_count_1h", 5, 12), ("customer_count_24h", 60, 24)):
            expected = counted(event, arriving[:position], minutes, grains)
            assert values[PROGRAM.names.index(name)] == expected, name


def test_a_duplicate_is_counted_once_and_called_one() -> None:
    engine = OnlineFeatures(PROGRAM, MemoryStore())
    first, again, after = (engine.process(event) for event in (sale(1, 0), sale(1, 0), sale(2, 1)))
    assert (first.duplicate, again.duplicate, after.duplicate) == (False, True, False)
    column = PROGRAM.names.index("customer_count_1h")
    assert [result.values[column] for result in (first, again, after) if result.values is not None] == [0, 0, 1]


def test_a_transaction_that_is_sent_again_has_the_features_of_the_first_time(
    open_store: OpenStore, busy_log: list[Event]
) -> None:
    name = next(_names)
    with open_store(name) as store:
        first = online(busy_log, store)
    with open_store(name) as store:
        engine = OnlineFeatures(PROGRAM, store)
        for ask in (engine.process, engine.look):
            results = {event.event_id: ask(event) for event in busy_log}
            assert all(result.duplicate for result in results.values())
            assert_same({key: result.values for key, result in results.items() if result.values is not None}, first)


def test_processes_that_get_an_event_at_one_time_give_it_the_same_features(open_store: OpenStore) -> None:
    name, rounds = next(_names), 25
    with open_store(name) as left, open_store(name) as right:
        start = Barrier(2)

        def serve(store: StateStore, amounts: Sequence[float]) -> list[OnlineResult]:
            engine, results = OnlineFeatures(PROGRAM, store), []
            for n, amount in enumerate(amounts):
                start.wait()
                results.append(engine.process(sale(n, n, amount)))
            return results

        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(serve, store, range(k, k + rounds)) for k, store in enumerate((left, right))]
            ours, theirs = (call.result() for call in calls)
    assert [one.duplicate + other.duplicate for one, other in zip(ours, theirs, strict=True)] == [1] * rounds
    for one, other in zip(ours, theirs, strict=True):
        assert one.values is not None
        assert other.values is not None
        assert np.array_equal(one.values, other.values)


def test_an_event_that_was_remembered_without_features_has_those_of_now() -> None:
    store = MemoryStore()
    store.commit([], "transaction:t001")
    result = OnlineFeatures(PROGRAM, store).process(sale(1, 0))
    assert result.duplicate
    assert_same({"t001": result.values} if result.values is not None else {}, offline([sale(1, 0)]))


def test_a_second_event_of_the_same_id_is_a_duplicate_whatever_it_says() -> None:
    engine = OnlineFeatures(PROGRAM, MemoryStore())
    engine.process(sale(1, 0, 10))
    assert engine.process(sale(1, 5, 999)).duplicate
    values = engine.look(sale(2, 6)).values
    assert values is not None
    assert values[PROGRAM.names.index("customer_amount_mean_30d")] == 10


def test_looking_writes_nothing() -> None:
    store = MemoryStore()
    engine = OnlineFeatures(PROGRAM, store)
    engine.process(sale(1, 0))
    before, entries = engine.look(sale(2, 1)), store.entries()
    assert before.values is not None
    for _ in range(3):
        after = engine.look(sale(2, 1))
        assert np.array_equal(before.values, after.values)
        assert not after.duplicate
    assert store.entries() == entries
    assert engine.look(sale(1, 0)).duplicate


def test_events_that_are_no_transactions_have_no_features_of_their_own() -> None:
    level = StockLevel(event_id="l", event_time=START, site_id="s1", product_id="p1", on_hand=1, reorder_level=5)
    engine = OnlineFeatures(PROGRAM, MemoryStore())
    assert engine.process(level).values is None
    values = engine.process(sale(1, 1, product_id="p1")).values
    assert values is not None
    assert values[PROGRAM.names.index("is_stock_low")] == 1


def test_an_event_without_any_key_has_a_vector_and_leaves_no_state() -> None:
    store = MemoryStore()
    keys = dict.fromkeys(("customer_id", "card_id", "terminal_id", "site_id", "site_group"))
    nobody = sale(1, 0, **keys)
    assert_same(online([nobody], store), offline([nobody]))
    assert store.entries() == 0


def test_a_kind_that_no_feature_uses_is_refused() -> None:
    reading = SiteReading(event_id="r", event_time=START, site_id="s1", metric="sales", value=1, unit="EUR")
    with pytest.raises(ContractError, match="no feature uses a site_reading: one of verdict, stock_level"):
        OnlineFeatures(PROGRAM, MemoryStore()).process(reading)


def test_states_of_another_schema_are_never_read_as_ones_own() -> None:
    store = MemoryStore()
    other = compile_features(define(CONFIG.model_copy(update={"groups": ("protocol",)})))
    OnlineFeatures(other, store).process(sale(1, 0))
    with pytest.raises(Bug, match=r"the state of customer:c1 has .* bytes, not .*: another schema wrote it"):
        OnlineFeatures(PROGRAM, store).process(sale(2, 1))


def test_threads_on_the_same_entities_lose_no_update() -> None:
    store = MemoryStore()
    engine = OnlineFeatures(PROGRAM, store)
    events: list[Event] = [sale(n, n / 10, n % 5) for n in range(160)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(engine.process, events))
    probe = sale(999, 20)
    expected = {"t999": offline([*events, probe])["t999"]}
    assert_same(online([probe], store), expected, CONVERGENT)
