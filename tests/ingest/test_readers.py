import bz2
import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.conftest import GOOD, HEADER, TILL, Ingest, write
from vigil.errors import ContractError
from vigil.ingest import readers
from vigil.ingest.mapping import ReaderOptions
from vigil.ingest.readers import open_source

LINE = '{"id": "t1", "time": "2024-05-01T10:00:00", "amount": 12.5, "customer": "c1", "site": "s1"}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", (HEADER + GOOD).encode()),
        ("a.CSV", b"\xef\xbb\xbf" + (HEADER + GOOD).encode()),
        ("a.csv.gz", gzip.compress((HEADER + GOOD).encode(), mtime=0)),
        ("a.csv.bz2", bz2.compress((HEADER + GOOD).encode())),
        ("a.jsonl", LINE.encode()),
        ("a.ndjson.gz", gzip.compress(LINE.encode(), mtime=0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_format_is_told_by_the_name(ingest: Ingest, name: str, content: bytes) -> None:
    done = ingest(content, TILL.replace("format: csv", "format: auto"), name=name)
    assert done.events()["amount"].to_pylist() == [12.5]


def test_a_name_that_tells_no_format_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"set reader\.format to csv, parquet or jsonl"):
        open_source(write(tmp_path / "export.dat", "x"), ReaderOptions())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"there is no file .*gone\.csv"):
        open_source(tmp_path / "gone.csv", ReaderOptions())


def test_rows_are_counted_from_one_whatever_stands_between_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "_CSV_BLOCK", 200)
    lines = [f"{number},x" if number % 7 else "only one field" for number in range(1, 101)]
    lines[10] = '11,"two\nlines"'
    path = write(tmp_path / "a.csv", "id,b\n" + "\n".join(lines) + "\n")
    numbers, broken = [], []
    for batch in open_source(path, ReaderOptions()).batches():
        numbers += zip(batch.numbers.tolist(), map(int, batch.table.column("id").to_pylist()), strict=True)
        broken += [item.row for item in batch.unreadable]
    assert [(one, other) for one, other in numbers if one != other] == []
    assert broken == [number for number in range(1, 101) if number % 7 == 0]
    assert len(numbers) + len(broken) == 100


@settings(max_examples=60, deadline=None)
@given(good=st.lists(st.booleans(), min_size=1, max_size=80), block=st.integers(40, 300))
def test_every_row_of_a_csv_keeps_its_number_whatever_cannot_be_read(
    good: list[bool], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lines = [f"{number},x" if fine else "only one field" for number, fine in enumerate(good, 1)]
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", "id,b\n" + "\n".join(lines) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_CSV_BLOCK", block)
        batches = list(open_source(path, ReaderOptions()).batches())
    pairs = [pair for item in batches for pair in zip(item.numbers, item.table.column("id").to_pylist(), strict=True)]
    assert [(number, int(text)) for number, text in pairs] == [(n, n) for n, fine in enumerate(good, 1) if fine]
    assert [row.row for item in batches for row in item.unreadable] == [n for n, fine in enumerate(good, 1) if not fine]


def test_a_csv_of_which_no_row_can_be_split_loses_none(ingest: Ingest) -> None:
    done = ingest(HEADER + "1,2\n3,4,5\n")
    assert [(item["row"], item["rule"], item["raw"]) for item in done.quarantine] == [
        (1, "unreadable", "1,2"),
        (2, "unreadable", "3,4,5"),
    ]


def test_json_lines_that_are_no_objects_are_quarantined_in_their_place(ingest: Ingest) -> None:
    mapping = TILL.replace("csv", "jsonl")
    odd = ["[1, 2]", '{"id": "t2", broken', '{"id": "t4"} {"id": "t5"}']
    done = ingest(LINE + "\n" + "\n".join(odd) + "\n" + LINE.replace("t1", "t3"), mapping, name="a.jsonl")
    assert done.events()["event_id"].to_pylist() == ["t1", "t3"]
    assert [(item["row"], item["rule"], item["raw"]) for item in done.quarantine] == [
        (row, "unreadable", text) for row, text in enumerate(odd, 2)
    ]
    assert done.report.rows.read == 5


def test_values_of_mixed_types_in_json_lines_are_judged_one_by_one(ingest: Ingest) -> None:
    odd = LINE.replace("12.5", '"much"').replace("t1", "t2") + LINE.replace("12.5", "[1]").replace("t1", "t3")
    done = ingest(LINE + odd, TILL.replace("csv", "jsonl"), name="a.jsonl")
    assert done.events()["amount"].to_pylist() == [12.5]
    assert [(item["value"], item["rule"]) for item in done.quarantine] == [("much", "type"), ("[1]", "type")]


def test_a_key_that_is_missing_in_a_line_is_null(ingest: Ingest) -> None:
    done = ingest(
        LINE + '{"id": "t2", "time": "2024-05-01", "amount": 1}\n', TILL.replace("csv", "jsonl"), name="a.jsonl"
    )
    assert done.events().sort_by("event_id")["customer_id"].to_pylist() == ["c1", None]


def test_a_json_document_is_not_json_lines(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match="one object a line, not one document a file"):
        ingest('[\n{"id":\n"t1"}\n]', TILL.replace("csv", "jsonl"), name="a.jsonl")


def test_two_columns_of_one_name_are_refused(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match="two columns called 'id'"):
        ingest("id,id\n1,2\n")


def test_dictionary_and_large_text_columns_of_parquet_are_read(ingest: Ingest) -> None:
    table = pa.table(
        {
            "id": pa.array(["t1"], pa.large_string()),
            "time": pa.array(["2024-05-01"], pa.string_view()).cast(pa.string()),
            "amount": pa.array(["12.5"]).dictionary_encode(),
            "customer": pa.array(["c1"]).dictionary_encode(),
            "site": pa.array([b"s1"]),
        }
    )
    done = ingest(table, TILL.replace("csv", "parquet"), name="a.parquet")
    assert done.events().to_pylist()[0]["site_id"] == "s1"
