from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigil.contracts.keys import hash_bytes, hash_file, hash_json, hash_table

rows = st.lists(
    st.tuples(st.one_of(st.none(), st.text(max_size=4)), st.one_of(st.none(), st.integers(0, 9))), max_size=9
)


def table(content: list[tuple[str | None, int | None]]) -> pa.Table:
    return pa.table(
        {"key": pa.array([a for a, _ in content], pa.string()), "n": pa.array([b for _, b in content], pa.int64())}
    )


@given(rows, st.integers(0, 9))
def test_chunks_slices_and_dictionaries_do_not_change_the_hash(
    content: list[tuple[str | None, int | None]], cut: int
) -> None:
    whole = table(content)
    chunked = pa.concat_tables([whole.slice(0, cut), whole.slice(cut)])
    coded = whole.set_column(0, "key", whole["key"].dictionary_encode())
    padded = table([("x", 1), *content]).slice(1)
    assert hash_table(whole) == hash_table(chunked) == hash_table(coded) == hash_table(padded)


@given(rows, rows)
def test_other_rows_have_another_hash(
    one: list[tuple[str | None, int | None]], other: list[tuple[str | None, int | None]]
) -> None:
    assert (hash_table(table(one)) == hash_table(table(other))) == (one == other)


def test_type_and_name_of_a_column_count() -> None:
    numbers = pa.array([1, 2])
    assert hash_table(pa.table({"a": numbers})) != hash_table(pa.table({"b": numbers}))
    assert hash_table(pa.table({"a": numbers})) != hash_table(pa.table({"a": numbers.cast(pa.int32())}))


def test_the_order_of_json_keys_does_not_count_but_values_do() -> None:
    assert hash_json({"a": 1, "b": [2]}) == hash_json({"b": [2], "a": 1})
    assert hash_json({"a": 1}) != hash_json({"a": 2})


def test_json_that_is_not_json_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        hash_json({"a": float("nan")})


def test_a_file_has_the_hash_of_its_bytes(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9_000
    (tmp_path / "file").write_bytes(content)
    assert hash_file(tmp_path / "file") == hash_bytes(content)
