from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest

from tests.registry import emulator
from tests.training.samples import use_case
from vigil.clock import ManualClock, system_clock
from vigil.contracts.artifacts import verify
from vigil.errors import ContractError
from vigil.registry.store import open_store
from vigil.training.folders import events_hash, read_events
from vigil.training.ingest import ingest, report_page
from vigil.training.raw import raw_hash

pytestmark = pytest.mark.xdist_group("training")


def write_sales(path: Path, amounts: list[str]) -> Path:
    rows = {
        "event_id": [f"t{row}" for row in range(len(amounts))],
        "event_time": [f"2026-03-01T10:{row:02d}:00Z" for row in range(len(amounts))],
        "amount": amounts,
        "site_id": ["S1"] * len(amounts),
    }
    pv.write_csv(pa.table(rows), path)
    return path


def test_a_raw_file_becomes_events_and_its_bad_rows_go_to_quarantine(tmp_path: Path) -> None:
    raw = write_sales(tmp_path / "sales.csv", ["1.5"] * 40 + ["a lot"])
    with pytest.raises(ContractError, match=r"1 of 41 rows of sales.csv .* were quarantined.*'a lot'"):
        ingest(use_case(), str(raw), "", tmp_path / "events", system_clock)
    raw = write_sales(tmp_path / "good.csv", ["1.5"] * 40)
    manifest = ingest(use_case(), str(raw), "canonical-transaction", tmp_path / "events", system_clock)
    assert manifest.rows["accepted"] == 40
    assert read_events(tmp_path / "events")["transaction"]["amount"].to_pylist() == [1.5] * 40
    assert report_page(tmp_path / "events").is_file()


def test_a_folder_of_canonical_events_is_checked_table_by_table(raw: Path, tmp_path: Path) -> None:
    manifest = ingest(use_case(), str(raw), "", tmp_path / "events", system_clock)
    assert verify(tmp_path / "events").content_hash == manifest.content_hash
    given = pq.read_table(raw / "events" / "transaction.parquet").num_rows
    assert manifest.rows["transaction.accepted"] + manifest.rows["transaction.quarantined"] == given
    assert (tmp_path / "events" / "incidents.json").is_file(), "known incidents are kept for the sanitation"
    assert report_page(tmp_path / "events").is_file()


def test_a_bad_row_in_a_table_of_events_is_found(raw: Path, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    table = pq.read_table(raw / "events" / "transaction.parquet")
    twice = pa.concat_tables([table, table.slice(0, 3)])
    pq.write_table(twice, folder / "transaction.parquet")
    manifest = ingest(use_case(), str(folder), "", tmp_path / "events", system_clock)
    assert manifest.rows["transaction.quarantined"] >= 3
    assert (tmp_path / "events" / "checked" / "transaction" / "quarantine.parquet").is_file()


def test_the_events_have_the_same_hash_whenever_they_are_read(tmp_path: Path) -> None:
    raw = write_sales(tmp_path / "sales.csv", ["1.5"] * 40)
    hashes = set()
    for year in (2026, 2027):
        clock = ManualClock(datetime(year, 6, 1, tzinfo=UTC))
        ingest(use_case(), str(raw), "", tmp_path / f"events-{year}", clock)
        hashes.add(events_hash(tmp_path / f"events-{year}"))
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [(("verdict",), "has no transaction.parquet"), (("transaction", "weather"), "weather.parquet is no kind of event")],
)
def test_a_folder_that_is_none_of_events_is_refused(
    raw: Path, tmp_path: Path, names: tuple[str, ...], message: str
) -> None:
    for name in names:
        pq.write_table(pq.read_table(raw / "events" / "verdict.parquet"), tmp_path / f"{name}.parquet")
    with pytest.raises(ContractError, match=message):
        ingest(use_case(), str(tmp_path), "", tmp_path / "events", system_clock)


def test_raw_data_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"there are no raw data at .*nowhere"):
        ingest(use_case(), str(tmp_path / "nowhere"), "", tmp_path / "events", system_clock)
    raw = write_sales(tmp_path / "sales.csv", ["1"])
    with pytest.raises(ContractError, match="there is no source 'handbook'"):
        ingest(use_case(), str(raw), "handbook", tmp_path / "events", system_clock)


def test_raw_data_in_a_bucket_are_read_like_those_in_a_folder(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sales = write_sales(tmp_path / "sales.csv", ["1.5"] * 40)
    tables = {f"daily/{name}.parquet": raw / "events" / f"{name}.parquet" for name in ("transaction", "verdict")}
    bucket = emulator.Bucket()
    with emulator.serve(bucket) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        store = open_store("gs://raw/chain")
        for path, file in {"sales.csv": sales, **tables}.items():
            store.create(path, file)
        one = ingest(use_case(), "gs://raw/chain/sales.csv", "", tmp_path / "one", system_clock)
        many = ingest(use_case(), "gs://raw/chain/daily", "", tmp_path / "many", system_clock)
        assert raw_hash("gs://raw/chain/sales.csv") == raw_hash(str(sales))
        with pytest.raises(ContractError, match=r"absent\.csv does not exist"):
            ingest(use_case(), "gs://raw/chain/absent.csv", "", tmp_path / "none", system_clock)
    assert one.rows["accepted"] == 40
    assert many.rows["verdict.accepted"] > 0


def test_the_version_of_raw_data_is_that_of_their_bytes(tmp_path: Path) -> None:
    raw = write_sales(tmp_path / "sales.csv", ["1"])
    before = raw_hash(str(raw))
    assert raw_hash(str(raw)) == before
    write_sales(raw, ["2"])
    assert raw_hash(str(raw)) != before
    folder = raw_hash(str(tmp_path))
    raw.rename(tmp_path / "other.csv")
    assert raw_hash(str(tmp_path)) != folder
