"""Feeds that fall silent are found at the right time; nights, Sundays and rare customers are not silences."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.ingest.conftest import NOW, Ingest, Outcome
from vigil.ingest.arrivals import Rhythm
from vigil.ingest.run import IngestOptions

MONDAY = datetime(2024, 3, 4, tzinfo=UTC)
SHOP = """
name: shop
reader: {format: parquet}
time_zone: UTC
events:
  - {kind: transaction, id: "{#row}", time: time, fields: {amount: {constant: 5}, site_id: site}}
limits: {max_quarantined_share: 0}
"""
METER = """
name: meter
reader: {format: parquet}
time_zone: UTC
events:
  - kind: site_reading
    id: "{#row}"
    time: time
    fields: {site_id: site, metric: {constant: load}, value: {constant: 1}, unit: {constant: kW}}
limits: {max_quarantined_share: 0}
"""


def table(feeds: dict[str, list[datetime]]) -> pa.Table:
    pairs = sorted((time, site) for site, times in feeds.items() for time in times)
    times = pa.array([time for time, _ in pairs], pa.timestamp("us", "UTC"))
    return pa.table({"time": times, "site": pa.array([site for _, site in pairs], pa.string())})


def hourly(days: int) -> list[datetime]:
    return [MONDAY + timedelta(hours=hour) for hour in range(24 * days)]


def opening_hours(days: int, seed: int, *, per_hour: float = 6) -> list[datetime]:
    """Customers at random between 8 and 20 o'clock, never on a Sunday."""
    rng = np.random.default_rng(seed)
    found = []
    for day in range(days):
        if day % 7 == 6:
            continue
        seconds = np.sort(rng.uniform(8 * 3600, 20 * 3600, rng.poisson(12 * per_hour)))
        found += [MONDAY + timedelta(days=day, seconds=int(second)) for second in seconds]
    return found


def without(times: list[datetime], start: datetime, end: datetime) -> list[datetime]:
    return [time for time in times if not start <= time < end]


def silences(done: Outcome) -> list[dict[str, object]]:
    found: list[dict[str, object]] = done.events("feed_silence").to_pylist()
    return found


def run(ingest: Ingest, feeds: dict[str, list[datetime]], mapping: str = SHOP, **more: object) -> Outcome:
    return ingest(table(feeds), mapping, name=f"{more.get('output', 'in')}.parquet", **more)


def test_nights_and_sundays_are_no_silence(ingest: Ingest) -> None:
    done = run(ingest, {f"s{seed}": opening_hours(56, seed) for seed in range(10)})
    assert silences(done) == []


def test_a_shop_that_is_silent_for_two_days_is_found_when_it_should_have_reported(ingest: Ingest) -> None:
    start = MONDAY + timedelta(days=23)
    whole = opening_hours(56, 1)
    feeds = {"s0": opening_hours(56, 0), "s1": without(whole, start, start + timedelta(days=2))}
    (found,) = silences(run(ingest, feeds))
    last = max(time for time in feeds["s1"] if time < start)
    back = min(time for time in feeds["s1"] if time > start)
    assert (found["site_id"], found["metric"]) == ("s1", "transaction")
    assert found["last_seen"] == last.replace(second=0)
    assert start + timedelta(hours=8) < found["event_time"] < start + timedelta(hours=12)
    assert found["silent_seconds"] == pytest.approx((back - last).total_seconds(), abs=60)
    assert found["expected_every_seconds"] == (found["event_time"] - found["last_seen"]).total_seconds()


def test_a_meter_that_misses_one_reading_is_not_silent_and_one_that_misses_six_is(ingest: Ingest) -> None:
    one = hourly(30)[:300] + hourly(30)[301:]
    six = hourly(30)[:300] + hourly(30)[306:]
    (found,) = silences(run(ingest, {"one": one, "six": six}, METER))
    assert (found["site_id"], found["metric"]) == ("six", "load")
    assert found["last_seen"] == MONDAY + timedelta(hours=299)
    assert MONDAY + timedelta(hours=302) <= found["event_time"] < MONDAY + timedelta(hours=304)
    assert found["silent_seconds"] == 7 * 3600


def test_a_feed_that_stays_silent_is_found_up_to_the_last_event_of_the_others(ingest: Ingest) -> None:
    done = run(ingest, {"a": hourly(30), "b": hourly(20)}, METER)
    (found,) = silences(done)
    assert found["silent_seconds"] == 10 * 24 * 3600
    assert done.report.silent_feeds[0].still_silent


def test_the_window_may_be_longer_than_the_data(ingest: Ingest) -> None:
    until = MONDAY + timedelta(days=40)
    done = run(ingest, {"a": hourly(30), "b": hourly(30)}, METER, options=IngestOptions(until=until))
    assert [item["site_id"] for item in silences(done)] == ["a", "b"]
    assert all(item.still_silent and item.until == until for item in done.report.silent_feeds)


def test_customers_at_random_times_are_no_silence_however_rare_they_are(ingest: Ingest) -> None:
    rng = np.random.default_rng(5)
    feeds = {
        f"t{number}": [MONDAY + timedelta(minutes=int(minute)) for minute in np.cumsum(rng.exponential(480, 120))]
        for number in range(150)
    }
    end = min(max(times) for times in feeds.values())
    done = run(ingest, {site: without(times, end, NOW) for site, times in feeds.items()})
    assert len(silences(done)) <= 1


def test_a_feed_of_which_little_is_known_is_not_judged(ingest: Ingest) -> None:
    assert silences(run(ingest, {"a": hourly(30), "b": hourly(1)}, METER)) == []


EXPECTED = (
    METER
    + """
arrivals:
  expected:
    - {site_id: a, metric: load, every: 12h}
    - {site_id: c, metric: load, every: 1d}
"""
)


def test_a_configured_expectation_replaces_the_learned_one(ingest: Ingest) -> None:
    gap = hourly(10)[:100] + hourly(10)[111:]
    done = run(ingest, {"a": gap, "c": hourly(10)}, EXPECTED)
    assert silences(done) == []


def test_a_configured_expectation_that_is_not_met_is_a_silence(ingest: Ingest) -> None:
    gap = hourly(10)[:100] + hourly(10)[120:]
    (found,) = silences(run(ingest, {"a": gap, "c": hourly(10)}, EXPECTED))
    assert found["event_time"] == MONDAY + timedelta(hours=99 + 12)
    assert found["expected_every_seconds"] == 12 * 3600


def test_an_expected_feed_that_never_reported_is_a_silence(ingest: Ingest) -> None:
    (found,) = silences(run(ingest, {"a": hourly(10)}, EXPECTED))
    assert (found["site_id"], found["last_seen"]) == ("c", None)
    assert found["event_time"] == MONDAY + timedelta(days=1)


def test_the_watch_can_be_switched_off(ingest: Ingest) -> None:
    assert silences(run(ingest, {"a": hourly(30), "b": hourly(20)}, METER + "arrivals: null\n")) == []


def test_a_site_that_is_missing_from_the_file_of_a_day_is_found_by_the_run_before(ingest: Ingest) -> None:
    before = run(ingest, {"a": hourly(20), "b": hourly(20)}, METER, output="before")
    today = {"a": [time + timedelta(days=20) for time in hourly(1)]}
    done = run(ingest, today, METER, output="today", options=IngestOptions(previous=before.folder))
    (found,) = silences(done)
    assert (found["site_id"], found["last_seen"]) == ("b", MONDAY + timedelta(days=20, hours=-1))


def test_an_ordinary_day_after_the_run_before_has_no_silence_and_a_silent_afternoon_is_one(ingest: Ingest) -> None:
    whole = {f"s{seed}": opening_hours(37, seed, per_hour=30) for seed in range(4)}
    morning = MONDAY + timedelta(days=36)
    before = {site: [time for time in times if time < morning] for site, times in whole.items()}
    known = IngestOptions(previous=run(ingest, before, output="before").folder)
    today = {site: [time for time in times if time >= morning] for site, times in whole.items()}
    assert silences(run(ingest, today, output="today", options=known)) == []
    noon = morning + timedelta(hours=13)
    today["s2"] = without(today["s2"], noon, NOW)
    (found,) = silences(run(ingest, today, output="again", options=known))
    assert found["site_id"] == "s2"
    assert noon + timedelta(hours=2) < found["event_time"] < noon + timedelta(hours=6)


def test_a_silence_that_ended_before_is_not_told_again(ingest: Ingest) -> None:
    gap = hourly(20)[:300] + hourly(20)[320:]
    before = run(ingest, {"a": gap, "b": hourly(20)}, METER, output="before")
    assert len(silences(before)) == 1
    today = {site: [time + timedelta(days=20) for time in hourly(1)] for site in "ab"}
    done = run(ingest, today, METER, output="today", options=IngestOptions(previous=before.folder))
    assert silences(done) == []


def test_the_clock_of_a_rhythm_can_be_read_in_both_directions() -> None:
    counts = np.zeros(168, np.int64)
    counts[8:20] = 5
    rhythm = Rhythm(counts, np.full(168, 5))
    for minute in (0, 59, 700, 5_000, 10_079, 1_000_000):
        assert rhythm.when(float(rhythm.at(np.array([minute]))[0])) == minute
