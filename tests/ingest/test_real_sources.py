"""The reference data sets, whole: every row is accounted for, and the mapping says what the data says."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.ingest.conftest import Outcome
from vigil.contracts.artifacts import verify
from vigil.contracts.events import EVENTS, arrow_schema
from vigil.ingest.run import ingest_file
from vigil.ingest.shipped import shipped_mapping
from vigil.settings import load_settings

Outcomes = Callable[[str], Outcome]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FILES = {
    "fraud_handbook": "fraud_handbook/transactions.parquet",
    "online_retail": "online_retail/transactions.parquet",
    "orange_juice": "orange_juice/sales.parquet",
    "buildings": "buildings/fontana_2022.parquet",
}


def source(name: str) -> Path:
    path = load_settings().data / FILES[name]
    if not path.exists():
        pytest.skip(f"{path} is absent: set VIGIL_DATA to the folder of the reference data sets")
    return path


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Return a function that ingests a data set, once for all tests."""
    done: dict[str, Outcome] = {}

    def get(name: str) -> Outcome:
        if name not in done:
            folder = tmp_path_factory.mktemp(name) / "out"
            done[name] = Outcome(ingest_file(source(name), shipped_mapping(name), folder, clock=lambda: NOW), folder)
        return done[name]

    return get


@pytest.mark.parametrize(
    ("name", "rows", "events"),
    [
        ("fraud_handbook", 1_504_628, {"transaction": 1_504_628, "verdict": 1_504_628}),
        ("online_retail", 541_909, {"transaction": 541_909}),
        ("orange_juice", 106_139, {"site_reading": 106_139}),
        ("buildings", 148_920, {"site_reading": 297_840}),
    ],
)
def test_every_row_is_accepted(outcome: Outcomes, name: str, rows: int, events: dict[str, int]) -> None:
    done = outcome(name)
    assert (done.report.rows.read, done.report.rows.accepted, done.report.rows.quarantined) == (rows, rows, 0)
    assert {item.kind: item.count for item in done.report.kinds} == events


@pytest.mark.parametrize("name", FILES)
def test_event_files_are_sealed_sorted_and_of_their_schema(outcome: Outcomes, name: str) -> None:
    done = outcome(name)
    verify(done.folder)
    for kind in done.report.kinds:
        path = done.folder / "events" / f"{kind.kind}.parquet"
        assert pq.read_schema(path).equals(arrow_schema(EVENTS[kind.kind]), check_metadata=True)
        times = pq.read_table(path, columns=["event_time"])["event_time"].cast(pa.int64()).to_numpy()
        assert np.all(np.diff(times) >= 0)


@pytest.mark.parametrize("name", FILES)
def test_no_feed_of_ordinary_data_is_said_to_have_changed_its_unit(outcome: Outcomes, name: str) -> None:
    assert outcome(name).report.unit_jump_count == 0


def test_terminals_of_the_handbook_are_hardly_ever_said_to_be_silent(outcome: Outcomes) -> None:
    assert outcome("fraud_handbook").report.silent_feed_count <= 20


def test_the_verdicts_of_the_handbook_come_a_week_later_with_their_scenario(outcome: Outcomes) -> None:
    done = outcome("fraud_handbook")
    raw = pq.read_table(source("fraud_handbook"), columns=["TX_DATETIME", "TX_FRAUD", "CUSTOMER_ID"])
    verdicts = done.events("verdict")
    assert pc.sum(verdicts["is_fraud"]).as_py() == pc.sum(raw["TX_FRAUD"]).as_py()
    week = np.timedelta64(7 * 86_400, "s")
    assert np.array_equal(
        verdicts["event_time"].cast(pa.timestamp("us")).to_numpy(),
        raw["TX_DATETIME"].to_numpy().astype("datetime64[us]") + week,
    )
    assert verdicts["customer_id"].cast(pa.string()).equals(raw["CUSTOMER_ID"].cast(pa.string()))
    categories = pc.value_counts(verdicts["category"].cast(pa.string())).to_pylist()
    counts = {item["values"]: item["counts"] for item in categories}
    assert counts == {
        None: 1_492_144,
        "compromised_terminal": 7_670,
        "compromised_customer": 3_969,
        "large_amount": 845,
    }


def test_cancellations_and_lines_without_a_customer_stay_in_the_retail_data(outcome: Outcomes) -> None:
    events = outcome("online_retail").events()
    assert pc.sum(pc.less(events["amount"], 0)).as_py() == 9_290
    assert events["customer_id"].null_count == 135_080
    assert pc.max(events["amount"]).as_py() == 168_469.6


def test_the_retail_shop_is_silent_at_christmas_and_easter(outcome: Outcomes) -> None:
    silences = outcome("online_retail").events("feed_silence").to_pylist()
    found = {f"{item['last_seen']:%Y-%m-%d}" for item in silences if item["site_id"] == "United Kingdom"}
    assert {"2010-12-23", "2011-04-21"} <= found


def test_orange_juice_is_sold_in_whole_packages_from_june_1990(outcome: Outcomes) -> None:
    events = outcome("orange_juice").events("site_reading")
    values = events["value"].to_numpy()
    assert np.mean(values == np.rint(values)) > 0.95
    assert events["event_time"][0].as_py() == datetime(1990, 6, 21, 5, tzinfo=UTC)


def test_local_hours_of_the_buildings_are_those_of_the_file(outcome: Outcomes) -> None:
    raw = pq.read_table(source("buildings"), columns=["hour", "building", "non_shiftable_load"]).to_pandas()
    first = raw[raw["building"] == "Building_1"]["hour"].to_numpy() % 24
    events = outcome("buildings").events("site_reading").to_pandas()
    own = events[(events["site_id"] == "Building_1") & (events["metric"] == "load")]
    local = own["event_time"] + own["utc_offset_minutes"].astype("timedelta64[m]")
    assert np.array_equal(local.dt.hour.to_numpy(), first)
