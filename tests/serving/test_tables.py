"""How a batch is cut into parts: never between events of the same time, never if their times do not rise."""

import pyarrow as pa
import pytest

from vigil.serving.tables import parts_in_order


def cut(times: list[int], rows: int) -> list[list[int]]:
    table = pa.table({"event_time": pa.array(times, pa.timestamp("us", tz="UTC"))})
    return [part["event_time"].cast(pa.int64()).to_pylist() for part in parts_in_order(table, rows)]


@pytest.mark.parametrize(
    ("times", "parts"),
    [
        ([1, 2, 3, 4, 5], [[1, 2], [3, 4], [5]]),
        ([1, 2], [[1, 2]]),
        ([1, 1, 1, 2, 3], [[1, 1, 1], [2], [3]]),
        ([1, 1, 1, 1, 1], [[1, 1, 1, 1, 1]]),
        ([1, 3, 2, 4, 5], [[1, 3, 2, 4, 5]]),
        ([1, 2, 2, 2, 2, 2, 3], [[1, 2, 2, 2, 2, 2], [3]]),
    ],
)
def test_a_table_is_cut_where_time_rises(times: list[int], parts: list[list[int]]) -> None:
    assert cut(times, 2) == parts
