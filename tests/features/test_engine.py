"""The engine on much data: one entity, many entities, and chunk borders."""

import numpy as np
import pyarrow as pa
import pytest

from tests.features.logs import PROGRAM, sale, tables_of
from vigil.contracts.events import EVENTS, Event, check_table
from vigil.features import engine
from vigil.features.compiler import compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.engine import compute, compute_tables, new_state, run
from vigil.features.log import EventLog
from vigil.simulate import preset, simulate

MILLION = 1_000_000
SECOND = 1_000_000
FIRST = 1_700_006_400 * SECOND


@pytest.fixture(scope="module")
def one_customer() -> dict[str, pa.Table]:
    """A million sales of one customer, one a second, of 1.00 and 3.00 in turn."""
    numbers = np.arange(MILLION)
    table = pa.table(
        {
            "event_id": pa.array(numbers).cast(pa.string()),
            "event_time": pa.array(FIRST + numbers * SECOND).cast(pa.timestamp("us", tz="UTC")),
            "amount": 1.0 + 2.0 * (numbers % 2),
            "customer_id": pa.DictionaryArray.from_arrays(pa.array(np.zeros(MILLION, np.int32)), pa.array(["c"])),
        }
    )
    return {"transaction": check_table(EVENTS["transaction"], table)}


def test_a_million_events_of_one_customer_have_their_features(one_customer: dict[str, pa.Table]) -> None:
    table = compute_tables(compile_features(define(FeatureConfig(groups=("sales", "customer")))), one_customer)
    values = dict(zip(table.names, table.values.T, strict=True))
    assert len(table) == MILLION
    assert np.array_equal(values["customer_count_30d"], np.arange(MILLION, dtype=np.float32))
    assert values["customer_count_7d"][-1] == 6 * 86_400 + (MILLION - 1) % 86_400
    assert np.abs(values["customer_amount_mean_30d"][2::2] - 2).max() < 1e-6
    assert np.abs(values["customer_amount_std_30d"][1000:] - 1).max() < 1e-3


def test_a_state_holds_entities_and_not_events(one_customer: dict[str, pa.Table]) -> None:
    sizes = []
    for rows in (10, 100_000):
        state = new_state(PROGRAM)
        log = EventLog.of({"transaction": one_customer["transaction"].slice(0, rows)})
        run(PROGRAM, log, state)
        sizes.append(sum(block.rows.nbytes for block in state.blocks.values()))
    assert sizes[0] == sizes[1]


def test_chunk_borders_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = [sale(n, 31 * n, n % 13, customer_id=f"c{n % 5}", product_id="p") for n in range(300)]
    whole = compute_tables(PROGRAM, tables_of(events)).values
    monkeypatch.setattr(engine, "LEAST_ROWS", 7)
    monkeypatch.setattr(engine, "CHUNK_BYTES", 1)
    assert engine.chunk_rows(PROGRAM) == 7
    assert np.array_equal(compute_tables(PROGRAM, tables_of(events)).values, whole)


def test_progress_tells_of_every_event() -> None:
    done: list[int] = []
    log = EventLog.of(tables_of([sale(n, n) for n in range(40)]))
    run(PROGRAM, log, new_state(PROGRAM), progress=done.append)
    assert sum(done) == 40


def test_a_copied_state_is_left_alone_by_the_original() -> None:
    state = new_state(PROGRAM)
    compute(PROGRAM, EventLog.of(tables_of([sale(1, 0)])), state)
    copy = state.copy()
    probe = EventLog.of(tables_of([sale(3, 20)]))
    compute(PROGRAM, EventLog.of(tables_of([sale(2, 10, customer_id="c9"), sale(4, 11)])), state)
    column = PROGRAM.names.index("customer_count_1h")
    assert compute(PROGRAM, probe, copy).values[0, column] == 1
    assert compute(PROGRAM, probe, state).values[0, column] == 2


def test_a_table_has_a_row_for_each_transaction_with_its_id_and_time() -> None:
    events: list[Event] = [sale(2, 5), sale(1, 9)]
    table = compute_tables(PROGRAM, tables_of(events)).to_arrow()
    assert table["event_id"].to_pylist() == ["t002", "t001"]
    assert table["event_time"].to_pylist() == [event.event_time for event in events]
    assert all(table[name].type == pa.float32() for name in PROGRAM.names)


def test_the_number_of_threads_does_not_change_a_bit() -> None:
    tables = simulate(preset("quiet", {"days": 20, "chain": {"sites": 3}})).tables
    features = define(FeatureConfig())
    alone, together = (compute_tables(compile_features(features, threads=n), tables) for n in (1, 4))
    assert np.array_equal(alone.values, together.values)
