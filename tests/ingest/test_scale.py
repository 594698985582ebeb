"""A unit that changes is found and put into quarantine; ordinary life is not."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.ingest.conftest import Ingest, Outcome
from vigil.ingest.run import IngestOptions

METER = """
name: meter
reader: {format: parquet}
time_zone: UTC
events:
  - kind: site_reading
    id: "{site}/{time}"
    time: time
    fields: {site_id: site, metric: {constant: load}, value: value, unit: {constant: kW}}
limits: {max_quarantined_share: 1}
"""
HOURS = 40 * 24
START = datetime(2024, 3, 1, tzinfo=UTC)


def daily_load(seed: int, hours: int = HOURS) -> np.ndarray:
    hour = np.arange(hours)
    noise = np.random.default_rng(seed).lognormal(0, 0.3, hours)
    return (5 + 4 * np.sin(hour / 24 * 2 * np.pi)) * noise


def meter(*values: np.ndarray, start: datetime = START) -> pa.Table:
    parts = [
        pa.table(
            {
                "site": [f"s{place}"] * len(series),
                "time": [start + timedelta(hours=hour) for hour in range(len(series))],
                "value": series,
            }
        )
        for place, series in enumerate(values)
    ]
    return pa.concat_tables(parts)


def run(ingest: Ingest, *values: np.ndarray, mapping: str = METER) -> Outcome:
    return ingest(meter(*values), mapping, name="meter.parquet")


def rows_of(done: Outcome) -> set[int]:
    assert {item["rule"] for item in done.quarantine} <= {"unit_jump"}
    return {item["row"] for item in done.quarantine}


@pytest.mark.parametrize("factor", [100, 1000, 0.01, 0.001])
def test_a_stretch_in_another_unit_is_quarantined_to_the_hour(ingest: Ingest, factor: float) -> None:
    broken = daily_load(1)
    broken[500:700] *= factor
    done = run(ingest, daily_load(0), broken)
    assert rows_of(done) == {HOURS + hour + 1 for hour in range(500, 700)}
    (jump,) = done.report.unit_jumps
    assert (jump.site_id, jump.metric) == ("s1", "load")
    assert jump.ratio == pytest.approx(factor, rel=0.3)
    assert jump.start == START + timedelta(hours=499)
    assert jump.end == START + timedelta(hours=700)


def test_a_unit_that_breaks_for_good_is_quarantined_to_the_end(ingest: Ingest) -> None:
    broken = daily_load(1)
    broken[-30:] *= 1000
    done = run(ingest, broken)
    assert rows_of(done) == set(range(HOURS - 29, HOURS + 1))
    assert re.search(r"values of load of site s0 are typically [\d,]+ times larger than", done.quarantine[0]["reason"])


def test_ordinary_days_raise_no_alarm(ingest: Ingest) -> None:
    done = run(ingest, *(daily_load(seed) for seed in range(20)))
    assert rows_of(done) == set()


def test_single_outliers_stay_for_the_detectors(ingest: Ingest) -> None:
    load = daily_load(2)
    load[[100, 300, 301, 600]] *= 10_000
    assert rows_of(run(ingest, load)) == set()


def test_a_machine_that_is_switched_off_and_on_is_no_change_of_unit(ingest: Ingest) -> None:
    load = daily_load(3)
    load[300:400] = 0
    load[600:700] = 1e-7
    assert rows_of(run(ingest, load)) == set()


def test_growth_by_a_factor_of_ten_is_no_change_of_unit(ingest: Ingest) -> None:
    load = daily_load(4)
    load[500:] *= 10
    assert rows_of(run(ingest, load)) == set()


def test_a_feed_without_enough_history_is_not_judged(ingest: Ingest) -> None:
    load = daily_load(5, 110)
    load[80:] *= 1000
    assert rows_of(run(ingest, load)) == set()


def test_the_check_can_be_switched_off(ingest: Ingest) -> None:
    load = daily_load(6)
    load[500:] *= 1000
    assert rows_of(run(ingest, load, mapping=METER + "scale_check: null\n")) == set()


def test_amounts_of_a_site_are_judged_as_well(ingest: Ingest) -> None:
    mapping = METER.replace("site_reading", "transaction").replace(
        "metric: {constant: load}, value: value, unit: {constant: kW}", "amount: value"
    )
    amounts = daily_load(7)
    amounts[500:700] *= 100
    assert rows_of(run(ingest, amounts, mapping=mapping)) == set(range(501, 701))


def test_a_day_is_judged_against_the_run_before(ingest: Ingest) -> None:
    load = daily_load(8)
    before = ingest(meter(load[:-24]), METER, name="before.parquet", output="before")
    options = IngestOptions(previous=before.folder)
    today = meter(load[-24:] * 1000, start=START + timedelta(hours=HOURS - 24))
    done = ingest(today, METER, name="today.parquet", output="today", options=options)
    assert rows_of(done) == set(range(1, 25))
    assert rows_of(ingest(today, METER, name="today.parquet", output="alone")) == set()


def test_values_in_a_broken_unit_are_not_remembered_as_history(ingest: Ingest) -> None:
    load = daily_load(9)
    load[-72:] *= 1000
    before = ingest(meter(load[:-24]), METER, name="before.parquet", output="before")
    options = IngestOptions(previous=before.folder)
    today = meter(load[-24:], start=START + timedelta(hours=HOURS - 24))
    done = ingest(today, METER, name="today.parquet", output="today", options=options)
    assert rows_of(done) == set(range(1, 25))
