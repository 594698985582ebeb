"""Files as they arrive on a bad day: nothing is lost, and every failure is a sentence with cause and cure."""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.conftest import GOOD, HEADER, NOW, TILL, Ingest, mapping_of, write
from vigil.contracts.artifacts import verify
from vigil.errors import ContractError
from vigil.ingest import readers
from vigil.ingest.report import read_report
from vigil.ingest.run import ingest_file

PARQUET = TILL.replace("csv", "parquet")
STRICT = TILL.replace("max_quarantined_share: 1", "max_quarantined_share: 0.1")


def columns(count: int, **changed: object) -> pa.Table:
    plain = {
        "id": [f"t{number}" for number in range(count)],
        "time": ["2024-05-01T10:00:00"] * count,
        "amount": [1.0] * count,
        "customer": ["c"] * count,
        "site": ["s"] * count,
    }
    return pa.table({name: values for name, values in (plain | changed).items() if values is not None})


def test_an_empty_file(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match=r"till\.csv is empty \(0 bytes\): .* run it again"):
        ingest("")


def test_a_file_of_blank_lines(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match=r"the first line of .* is blank: it must name the columns"):
        ingest("\n\n")


def test_a_header_without_rows(ingest: Ingest, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"till\.csv has 0 rows, at least 1 are expected: .* limits\.min_rows"):
        ingest(HEADER)
    assert read_report(tmp_path / "out.rejected").rows.read == 0


def test_a_header_without_rows_where_the_mapping_allows_it(ingest: Ingest) -> None:
    done = ingest(HEADER, TILL.replace("limits: {", "limits: {min_rows: 0, "))
    assert done.events().num_rows == 0


def test_a_parquet_file_without_rows(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match="has 0 rows"):
        ingest(columns(0), PARQUET, name="till.parquet")


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_wrong_delimiter(ingest: Ingest, delimiter: str) -> None:
    with pytest.raises(ContractError, match=r"its header is one column, .*: set reader\.delimiter to") as caught:
        ingest((HEADER + GOOD).replace(",", delimiter))
    assert repr(delimiter) in str(caught.value)


@pytest.mark.parametrize("part", [0.3, 0.9, 0.999])
def test_a_truncated_parquet_file(ingest: Ingest, tmp_path: Path, part: float) -> None:
    whole = write(tmp_path / "whole.parquet", columns(1000)).read_bytes()
    with pytest.raises(ContractError, match=r"till\.parquet is not a whole Parquet file, it may be cut off: copy"):
        ingest(whole[: int(len(whole) * part)], PARQUET, name="till.parquet")


def test_a_parquet_file_with_damaged_pages_keeps_what_was_read_in_its_counts(
    ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BATCH_ROWS", 100)
    path = tmp_path / "whole.parquet"
    pq.write_table(columns(300), path, row_group_size=100, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    content[place : place + 64] = b"\xff" * 64
    with pytest.raises(ContractError, match=r"till\.parquet is damaged after row \d+: copy or write it again"):
        ingest(bytes(content), PARQUET, name="till.parquet")
    rows = read_report(tmp_path / "out.rejected").rows
    assert rows.read == rows.accepted + rows.quarantined > 0


def test_a_truncated_gzip(ingest: Ingest, tmp_path: Path) -> None:
    packed = gzip.compress((HEADER + "".join(GOOD.replace("t1", f"t{n}") for n in range(5000))).encode())
    with pytest.raises(ContractError, match=r"till\.csv\.gz cannot be read as CSV after row"):
        ingest(packed[: len(packed) // 2], name="till.csv.gz")


def test_text_that_is_no_csv_at_all(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match="has no column 'id'"):
        ingest("<html>\n<body>503</body>\n</html>\n")


def test_mixed_encodings_cost_only_the_rows_that_are_not_utf_8(ingest: Ingest) -> None:
    rows = [GOOD.replace("c1", "Zoë").encode(), GOOD.replace("t1", "t2").replace("c1", "Zoë").encode("latin-1")]
    done = ingest(HEADER.encode() + b"".join(rows))
    assert done.events()["customer_id"].to_pylist() == ["Zoë"]
    (refused,) = done.quarantine
    assert (refused["row"], refused["rule"], refused["field"], refused["value"]) == (
        2,
        "encoding",
        "customer_id",
        "Zo\\xeb",
    )
    assert "set reader.encoding, or repair the row" in refused["reason"]


def test_a_declared_encoding_is_used(ingest: Ingest) -> None:
    mapping = TILL.replace("{format: csv}", "{format: csv, encoding: latin-1}")
    done = ingest((HEADER + GOOD.replace("c1", "Zoë")).encode("latin-1"), mapping)
    assert done.events()["customer_id"].to_pylist() == ["Zoë"]


def test_a_declared_encoding_that_is_wrong(ingest: Ingest) -> None:
    mapping = TILL.replace("{format: csv}", "{format: csv, encoding: utf-16}")
    with pytest.raises(ContractError, match=r"is not utf-16: set reader\.encoding"):
        ingest(HEADER + GOOD, mapping)


def test_an_encoding_that_nobody_knows(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match=r"set reader\.encoding"):
        ingest(HEADER + GOOD, TILL.replace("{format: csv}", "{format: csv, encoding: utf-9}"))


def test_a_column_that_is_missing_is_named_with_the_field_that_needs_it(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match=r"no column 'site', which transaction\.site_id of the mapping till reads"):
        ingest(columns(1, site=None), PARQUET, name="till.parquet")


def test_a_column_that_was_renamed_is_answered_with_the_nearest(ingest: Ingest) -> None:
    with pytest.raises(ContractError, match=r"is 'Amount ' meant\? \(the file has .*customer"):
        ingest(HEADER.replace("amount", "Amount ") + GOOD)


@pytest.mark.parametrize("values", [["x", "y"], [[1], [2]], [{"a": 1}, {"a": 2}], [NOW, NOW], [b"\xff", b"\xfe"]])
def test_a_column_of_another_type_fails_with_rule_field_count_and_first_row(
    ingest: Ingest, values: list[object]
) -> None:
    with pytest.raises(
        ContractError,
        match=r"2 of 2 rows of till\.parquet \(100\.00%\) .* 10\.00% are allowed; most broke the rule "
        r"(type|encoding) of transaction\.amount: 2, first row 1: amount is",
    ):
        ingest(columns(2, amount=values), STRICT.replace("csv", "parquet"), name="till.parquet")


def test_numbers_that_arrive_as_text_are_accepted(ingest: Ingest) -> None:
    assert ingest(columns(2, amount=["1", "2.5"]), PARQUET, name="till.parquet").events().num_rows == 2


def test_nan_and_infinity(ingest: Ingest) -> None:
    done = ingest(columns(3, amount=[math.nan, math.inf, 1.0]), PARQUET, name="till.parquet")
    assert [(item["row"], item["rule"], item["value"]) for item in done.quarantine] == [
        (1, "not_finite", "nan"),
        (2, "not_finite", "inf"),
    ]
    assert json.loads(done.quarantine[0]["raw"])["amount"] == "nan"


def test_negative_amounts_are_refunds_and_absurd_ones_are_refused(ingest: Ingest) -> None:
    done = ingest(columns(4, amount=[-20.0, 1e12, -1e12, 1e300]), PARQUET, name="till.parquet")
    assert done.events()["amount"].to_pylist() == [-20.0]
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(2, "range"), (3, "range"), (4, "range")]


def test_times_in_1970_and_2100(ingest: Ingest) -> None:
    done = ingest(columns(3, time=["1970-01-01", "2100-01-01", "2024-05-01"]), PARQUET, name="till.parquet")
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(1, "too_early"), (2, "future")]
    assert "a clock that was never set" in done.quarantine[0]["reason"]


def test_one_id_with_other_contents(ingest: Ingest) -> None:
    done = ingest(columns(3, id=["a", "a", "a"], amount=[1.0, 2.0, 1.0]), PARQUET, name="till.parquet")
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(2, "conflicting_duplicate"), (3, "duplicate")]


def test_an_unclosed_quote(ingest: Ingest) -> None:
    done = ingest(HEADER + GOOD + 't2,"2024-05-01,1,c,s\n')
    rows = done.report.rows
    assert (rows.read, rows.accepted, rows.quarantined) == (2, 1, 1)


def test_a_file_that_is_nothing_but_bad_rows_is_all_in_the_quarantine(ingest: Ingest) -> None:
    count = 20_000
    done = ingest(columns(count, amount=[None] * count).cast(_amount_as_double()), PARQUET, name="till.parquet")
    assert done.report.rows.quarantined == count == len(done.quarantine)


def _amount_as_double() -> pa.Schema:
    return pa.schema([(name, pa.float64() if name == "amount" else pa.string()) for name in columns(1).column_names])


def test_a_million_rows_of_one_customer(ingest: Ingest) -> None:
    count = 1_000_000
    start = np.datetime64("2024-01-01T00:00:00", "us")
    table = pa.table(
        {
            "id": np.arange(count),
            "time": start + np.arange(count) * np.timedelta64(10, "s"),
            "amount": np.full(count, 9.99),
            "customer": np.zeros(count, np.int32),
            "site": np.zeros(count, np.int32),
        }
    )
    done = ingest(table, PARQUET, name="till.parquet")
    assert done.report.rows.accepted == count
    assert done.report.kinds[0].sites == {"0": count}


def test_a_failed_run_leaves_quarantine_and_report_sealed_and_no_events(tmp_path: Path) -> None:
    path = write(tmp_path / "till.csv", HEADER + GOOD + GOOD.replace("12.50", "x"))
    with pytest.raises(ContractError, match=r"see .*out\.rejected/report\.html"):
        ingest_file(path, mapping_of(STRICT), tmp_path / "out", clock=lambda: NOW)
    assert not (tmp_path / "out").exists()
    manifest = verify(tmp_path / "out.rejected")
    assert manifest.kind == "rejected_events"
    assert sorted(manifest.files) == ["quarantine.parquet", "report.html", "report.json"]
    assert manifest.rows == {"read": 2, "accepted": 1, "quarantined": 1}


def test_a_share_that_is_just_allowed_passes(ingest: Ingest) -> None:
    rows = "".join(GOOD.replace("t1", f"t{number}") for number in range(9))
    done = ingest(HEADER + rows + GOOD.replace("12.50", "x"), STRICT)
    assert done.report.problem is None
