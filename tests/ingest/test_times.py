from datetime import UTC, datetime

import pyarrow as pa
import pytest

from tests.ingest.conftest import HEADER, TILL, Ingest


def timed(source: str, zone: str = "UTC") -> str:
    return TILL.replace("time: time", f"time: {source}").replace("time_zone: UTC", f'time_zone: "{zone}"')


def moment(ingest: Ingest, text: str, mapping: str) -> tuple[datetime, int]:
    rows = ingest(HEADER + f"t1,{text},1,c,s\n", mapping).events().to_pylist()
    assert len(rows) == 1
    return rows[0]["event_time"], rows[0]["utc_offset_minutes"]


MAY = datetime(2024, 5, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("source", "zone", "text", "expected", "offset"),
    [
        ("time", "UTC", "2024-05-01 10:00:00", datetime(2024, 5, 1, 10, tzinfo=UTC), 0),
        ("time", "UTC", "2024-05-01T10:00:00.250", datetime(2024, 5, 1, 10, 0, 0, 250_000, tzinfo=UTC), 0),
        ("time", "UTC", "2024-05-01 10:00:00.000000999", MAY, 0),
        ("time", "+02:00", "2024-05-01T10:00:00", datetime(2024, 5, 1, 8, tzinfo=UTC), 120),
        ("time", "-08:00", "2024-05-01T10:00:00", datetime(2024, 5, 1, 18, tzinfo=UTC), -480),
        ("time", "Europe/London", "2024-01-10T10:00:00", datetime(2024, 1, 10, 10, tzinfo=UTC), 0),
        ("time", "Europe/London", "2024-05-01T10:00:00", datetime(2024, 5, 1, 9, tzinfo=UTC), 60),
        ("time", "Europe/London", "2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10, tzinfo=UTC), 60),
        ("time", "Asia/Kolkata", "2024-05-01T10:00:00", datetime(2024, 5, 1, 4, 30, tzinfo=UTC), 330),
        ("time", "UTC", "2024-05-01T10:00:00+02:00", datetime(2024, 5, 1, 8, tzinfo=UTC), 0),
        ("{column: time, format: '%d.%m.%Y %H:%M'}", "UTC", "01.05.2024 10:00", MAY, 0),
        ("{column: time, unit: h, origin: 2024-05-01}", "UTC", "10", MAY, 0),
        ("{column: time, unit: w, origin: 2024-01-03T11:00:00}", "Europe/London", "17", MAY, 60),
        ("{column: time, unit: s, origin: 1970-01-01T00:00:00Z}", "UTC", "1714557600.5",
         datetime(2024, 5, 1, 10, 0, 0, 500_000, tzinfo=UTC), 0),
        ("{column: time, delay: 7d}", "UTC", "2024-05-01T10:00:00", datetime(2024, 5, 8, 10, tzinfo=UTC), 0),
        ("{column: time, delay: 7d}", "Europe/London", "2024-03-28T10:00:00", datetime(2024, 4, 4, 10, tzinfo=UTC), 60),
    ],
)  # fmt: skip
def test_a_time_becomes_a_moment_and_an_offset(
    ingest: Ingest, source: str, zone: str, text: str, expected: datetime, offset: int
) -> None:
    assert moment(ingest, text, timed(source, zone)) == (expected, offset)


def test_of_a_local_time_that_comes_twice_the_first_is_taken(ingest: Ingest) -> None:
    found = moment(ingest, "2023-10-29T01:30:00", timed("time", "Europe/London"))
    assert found == (datetime(2023, 10, 29, 0, 30, tzinfo=UTC), 60)


def test_a_local_time_that_the_clocks_skipped_is_quarantined(ingest: Ingest) -> None:
    done = ingest(HEADER + "t1,2024-03-31T01:30:00,1,c,s\n", timed("time", "Europe/London"))
    assert [item["rule"] for item in done.quarantine] == ["no_such_local_time"]


def test_times_with_and_without_a_zone_may_be_mixed(ingest: Ingest) -> None:
    rows = "t1,2024-05-01T10:00:00,1,c,s\nt2,2024-05-01T10:00:00Z,1,c,s\n"
    done = ingest(HEADER + rows, timed("time", "+02:00"))
    assert [item.hour for item in done.events()["event_time"].to_pylist()] == [8, 10]


@pytest.mark.parametrize("text", ["yesterday", "2024-13-01", "31/12/2023"])
def test_what_is_no_time_is_quarantined_as_such(ingest: Ingest, text: str) -> None:
    done = ingest(HEADER + f"t1,{text},1,c,s\nt2,2024-05-01,1,c,s\n")
    assert [(item["field"], item["rule"], item["value"]) for item in done.quarantine] == [("event_time", "type", text)]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["2024-05-01T10:00:00"]).cast(pa.timestamp("ns")),
        pa.array(["2024-05-01T10:00:00"]).cast(pa.timestamp("s")),
        pa.array([datetime(2024, 5, 1, 10, tzinfo=UTC)], pa.timestamp("ms", "America/New_York")),
    ],
)
def test_timestamps_of_any_unit_are_read(ingest: Ingest, column: pa.Array) -> None:
    table = pa.table({"id": ["a"], "time": column, "amount": [1.0], "customer": ["c"], "site": ["s"]})
    done = ingest(table, TILL.replace("csv", "parquet"), name="till.parquet")
    assert done.events()["event_time"].to_pylist() == [datetime(2024, 5, 1, 10, tzinfo=UTC)]


def test_a_timestamp_beyond_the_calendar_is_quarantined(ingest: Ingest) -> None:
    times = pa.array([2**60, 1714557600_000], pa.int64()).cast(pa.timestamp("ms"))
    table = pa.table({"id": ["a", "b"], "time": times, "amount": [1.0] * 2, "customer": ["c"] * 2, "site": ["s"] * 2})
    done = ingest(table, TILL.replace("csv", "parquet"), name="till.parquet")
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(1, "type")]


def test_a_column_of_offsets_is_used_and_the_zone_where_it_says_nothing(ingest: Ingest) -> None:
    mapping = timed("time", "Europe/London").replace("    fields:", "    utc_offset_minutes: site\n    fields:")
    mapping = mapping.replace("      site_id: site\n", "")
    done = ingest(HEADER + "t1,2024-05-01T10:00:00,1,c,-300\nt2,2024-05-01T10:00:00,1,c,\n", mapping)
    assert done.events()["utc_offset_minutes"].to_pylist() == [-300, 60]


def test_an_offset_that_no_zone_has_is_quarantined(ingest: Ingest) -> None:
    mapping = TILL.replace("    fields:", "    utc_offset_minutes: site\n    fields:").replace(
        "      site_id: site\n", ""
    )
    done = ingest(HEADER + "t1,2024-05-01,1,c,2000\nt2,2024-05-01,1,c,1.5\n", mapping)
    assert [(item["field"], item["rule"]) for item in done.quarantine] == [
        ("utc_offset_minutes", "range"),
        ("utc_offset_minutes", "type"),
    ]
