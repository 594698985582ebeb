"""The Fraud Detection Handbook's transactions as canonical events; verdicts become known seven days later."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from vigil.clock import DAY
from vigil.contracts.events import EVENTS, check_table
from vigil.settings import load_settings

VERDICT_DELAY = 7 * DAY
PATH = load_settings().data / "fraud_handbook" / "transactions.parquet"

needs_handbook = pytest.mark.skipif(
    not PATH.exists(), reason=f"{PATH} is absent: set VIGIL_DATA to the folder of the reference data"
)


def read_raw() -> pa.Table:
    """Return the file's columns as they are, in the order of time and id."""
    raw = pq.read_table(PATH).replace_schema_metadata(None)
    return raw.sort_by([("TX_DATETIME", "ascending"), ("TRANSACTION_ID", "ascending")])


def canonical(raw: pa.Table) -> dict[str, pa.Table]:
    """Return transactions, and a verdict on each of them."""
    time = raw["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.int64())
    digits = pc.utf8_lpad(raw["TRANSACTION_ID"].cast(pa.string()), 8, "0")
    event_id = pc.binary_join_element_wise("t", digits, "")
    keys = {"customer_id": _named("c", raw["CUSTOMER_ID"]), "terminal_id": _named("m", raw["TERMINAL_ID"])}
    transaction = {"event_id": event_id, "event_time": _moment(time), "amount": raw["TX_AMOUNT"], **keys}
    verdict = {
        "event_id": pc.binary_join_element_wise("v", digits, ""),
        "event_time": _moment(pc.add(time, VERDICT_DELAY)),
        "transaction_id": event_id,
        "is_fraud": pc.equal(raw["TX_FRAUD"], 1),
        "amount": raw["TX_AMOUNT"],
        "source": pa.array(["handbook"] * raw.num_rows),
        **keys,
    }
    tables = {"transaction": pa.table(transaction), "verdict": pa.table(verdict)}
    return {kind: check_table(EVENTS[kind], table).combine_chunks() for kind, table in tables.items()}


def customers_slice(raw: pa.Table, customers: int) -> pa.Table:
    """Return all events of the first customers, and of whoever else used one in ten of their terminals."""
    mine = pc.less(raw["CUSTOMER_ID"], customers)
    theirs = pc.less(raw["TERMINAL_ID"], 100)
    return raw.filter(pc.or_(mine, theirs))


def _moment(micros: pa.ChunkedArray) -> pa.ChunkedArray:
    return micros.cast(pa.timestamp("us", tz="UTC"))


def _named(letter: str, numbers: pa.ChunkedArray) -> pa.DictionaryArray:
    found, position = np.unique(numbers.to_numpy(), return_inverse=True)
    return pa.DictionaryArray.from_arrays(_int32(position), pa.array([f"{letter}{number}" for number in found]))


def _int32(values: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(values.astype(np.int32))
