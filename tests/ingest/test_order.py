from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest.conftest import HEADER, TILL, Ingest
from vigil.contracts.events import SiteReading, arrow_schema
from vigil.ingest import spill
from vigil.ingest.merge import FAN_IN, merged
from vigil.ingest.spill import SEQUENCE, Runs


def rows(*times: str, sites: str = "s" * 9) -> str:
    return HEADER + "".join(
        f"t{n},2024-05-{time},1,c,{site}\n" for n, (time, site) in enumerate(zip(times, sites, strict=False))
    )


def late(text: str) -> str:
    return TILL.replace("limits: {", "limits: {lateness: " + text + ", ")


def test_rows_in_any_order_are_accepted_counted_and_sorted_if_no_lateness_is_set(ingest: Ingest) -> None:
    done = ingest(rows("03", "01", "02", "04"))
    assert [item.day for item in done.events()["event_time"].to_pylist()] == [1, 2, 3, 4]
    assert (done.report.events[0].out_of_order, done.report.events[0].furthest_behind_seconds) == (2, 2 * 86_400)


def test_a_row_within_the_lateness_is_accepted_and_sorted(ingest: Ingest) -> None:
    done = ingest(rows("03", "01"), late("2d"))
    assert [item.day for item in done.events()["event_time"].to_pylist()] == [1, 3]


def test_a_row_beyond_the_lateness_is_quarantined(ingest: Ingest) -> None:
    done = ingest(rows("03", "01"), late("47h"))
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(2, "late")]
    assert "more than 1d 23h older than a row before it" in done.quarantine[0]["reason"]


def test_a_row_that_is_refused_for_its_time_makes_no_later_row_late(ingest: Ingest) -> None:
    done = ingest(HEADER + "a,2100-01-01,1,c,s\nb,2024-05-01,1,c,s\n", late("1h"))
    assert [item["rule"] for item in done.quarantine] == ["future"]


def test_order_is_judged_within_each_value_of_the_columns_that_the_mapping_names(ingest: Ingest) -> None:
    mapping = TILL.replace("limits: {", "limits: {lateness: 1h, order_by: [site], ")
    done = ingest(rows("03", "01", "02", "02", sites="abab"), mapping)
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(3, "late")]


def test_order_is_judged_within_pairs_of_columns(ingest: Ingest) -> None:
    mapping = TILL.replace("limits: {", "limits: {lateness: 1h, order_by: [site, customer], ")
    done = ingest(rows("03", "01", "02", "02", sites="abab"), mapping)
    assert [(item["row"], item["rule"]) for item in done.quarantine] == [(3, "late")]


def test_events_of_one_moment_keep_the_order_of_the_source(ingest: Ingest) -> None:
    done = ingest(rows("01", "01", "01"))
    assert done.events()["event_id"].to_pylist() == ["t0", "t1", "t2"]


SCHEMA = arrow_schema(SiteReading)


def readings(minutes: list[int]) -> list[pa.Array]:
    count = len(minutes)
    key = pa.array([f"site{minute % 3}" for minute in minutes], pa.string()).dictionary_encode()
    times = pa.array([datetime.fromtimestamp(minute * 60, UTC) for minute in minutes], pa.timestamp("us", "UTC"))
    ids = pa.array([str(minute) for minute in minutes], pa.string())
    return [ids, times, pa.array(np.zeros(count, np.int16)), key, key, pa.array(np.zeros(count)), key]


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=30), max_size=12))
def test_merged_runs_are_the_sorted_whole(batches: list[list[int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    runs = Runs(tmp_path_factory.mktemp("runs") / "r", SCHEMA)
    start = 0
    for minutes in batches:
        runs.append(readings(minutes), np.arange(start, start + len(minutes)))
        runs.close()
        start += len(minutes)
    tables = list(merged(runs))
    found = [(row["event_id"], row["site_id"], row[SEQUENCE]) for table in tables for row in table.to_pylist()]
    expected = sorted((minute, place) for place, minute in enumerate(chain(*batches)))
    assert found == [(str(minute), f"site{minute % 3}", place) for minute, place in expected]


def test_more_runs_than_can_be_open_are_merged_in_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "STREAM_ROWS", 2)
    runs = Runs(tmp_path / "r", SCHEMA)
    count = FAN_IN * 2 + 3
    for place in range(count):
        runs.append(readings([place % 7, place % 5 + 10]), np.arange(place * 2, place * 2 + 2))
        runs.close()
    found = [int(text) for table in merged(runs) for text in table["event_id"].to_pylist()]
    assert found == sorted(found)
    assert len(found) == 2 * count
