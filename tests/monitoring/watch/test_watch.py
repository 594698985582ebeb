import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tests.monitoring.watch.changes import CHANGES, Change, changed_day, versions_compared
from tests.monitoring.watch.traffic import NAMES, SERVED, THRESHOLD, Business, Rows, batch, reference, score
from vigil.clock import DAY, HOUR
from vigil.errors import ContractError
from vigil.monitoring.samples import LabelBatch, ScoredBatch
from vigil.monitoring.verdicts import Answer, Cause, State
from vigil.monitoring.watch import Watch, WatchSettings

BY_NAME = {change.name: change for change in CHANGES}
QUICK = WatchSettings(learning_rows=400)


def business(seed: int, sites: int = 8) -> tuple[Business, Watch]:
    one = Business(seed, sites=sites)
    return one, Watch(SERVED, reference(one.days(14)), QUICK)


def feed(watch: Watch, rows: Rows, step: int = 100) -> int | None:
    """Give rows to a watch; return how many it took until there was a verdict."""
    for start in range(0, len(rows), step):
        watch.add(batch(rows, start, start + step))
        if watch.status().verdict is not None:
            return min(start + step, len(rows))
    return None


def scaled(rows: Rows, factor: float) -> Rows:
    for name in ("amount", "amount_over_baseline"):
        rows.column(name)[:] *= factor
    return score(rows)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return reference(Business(1).days(14))


def test_too_few_decisions_are_warming_and_never_steady(table: pa.Table) -> None:
    watch = Watch(SERVED, table, QUICK)
    assert watch.status().state == State.WARMING
    rows = Business(1).days(1)
    watch.add(batch(rows, 0, 60))
    assert watch.status().state == State.WARMING
    assert watch.status().verdict is None
    watch.add(batch(rows, 60, 300))
    assert watch.status().state == State.STEADY


@pytest.mark.parametrize("seed", [11, 12])
def test_a_stationary_business_with_seasons_raises_no_alarm_in_a_month(seed: int) -> None:
    one, watch = business(seed)
    assert feed(watch, one.days(30)) is None
    assert watch.status().state == State.STEADY
    assert watch.status().watermark is not None


def test_amounts_up_by_a_fifth_are_found_within_a_thousand_events_mostly() -> None:
    taken = []
    for seed in range(20, 24):
        one, watch = business(seed)
        assert feed(watch, one.days(5)) is None
        taken.append(feed(watch, scaled(one.days(6), 1.2)) or 10_000)
    assert np.median(taken) <= 1000
    assert max(taken) <= 3000


def test_a_larger_shift_is_found_sooner() -> None:
    taken = []
    for factor in (1.2, 1.5):
        one, watch = business(30)
        feed(watch, one.days(3))
        taken.append(feed(watch, scaled(one.days(6), factor), 25) or 10_000)
    assert taken[1] < taken[0]


def test_the_change_is_dated_and_keeps_its_id_however_often_it_is_told() -> None:
    one, watch = business(31)
    feed(watch, one.days(3))
    changed = scaled(one.days(1), 1.5)
    feed(watch, changed)
    first = watch.status().verdict
    watch.add(batch(scaled(one.days(1), 1.5)))
    last = watch.status().verdict
    assert first is not None
    assert last is not None
    assert first.id == last.id
    assert last.rows > first.rows
    assert abs(first.first_seen.timestamp() - changed.time[0] / 1e6) < 86_400 / 2
    assert "amount" in last.summary
    assert next(iter(watch.status().features)).startswith("amount")


def test_a_snapshot_in_the_middle_goes_on_as_if_nothing_had_been() -> None:
    one, whole = business(32)
    calm, changed = one.days(3), scaled(one.days(2), 1.5)
    half = Watch(SERVED, reference(Business(32).days(14)), QUICK)
    parts = [*(batch(calm, k, k + 130) for k in range(0, len(calm), 130)), batch(changed, 0, 400)]
    for part in parts:
        whole.add(part)
    for part in parts[:7]:
        half.add(part)
    again = Watch(SERVED, reference(Business(32).days(14)), QUICK)
    again.restore(json.loads(json.dumps(half.snapshot())))
    for part in parts[7:]:
        again.add(part)
    assert json.dumps(again.snapshot()) == json.dumps(whole.snapshot())
    assert again.status() == whole.status()
    assert again.status().verdict is not None


def test_a_snapshot_during_an_alarm_keeps_its_verdict() -> None:
    one, watch = business(33)
    feed(watch, one.days(2))
    feed(watch, scaled(one.days(2), 2.0))
    again = Watch(SERVED, reference(Business(33).days(14)), QUICK)
    again.restore(json.loads(json.dumps(watch.snapshot())))
    assert again.status().verdict == watch.status().verdict
    assert again.status().verdict is not None


def test_another_bundles_snapshot_is_refused(table: pa.Table) -> None:
    watch = Watch(SERVED, table, QUICK)
    other = Watch(replace(SERVED, bundle="sha256:" + "9" * 64), table, QUICK)
    with pytest.raises(ContractError, match="start the watch anew"):
        other.restore(watch.snapshot())


def test_order_within_the_allowed_lateness_does_not_matter(table: pa.Table) -> None:
    rows = Business(34).days(2)
    random = np.random.default_rng(5)
    straight, shuffled = (Watch(SERVED, table, QUICK.model_copy(update={"lateness_seconds": 7200})) for _ in "ab")
    straight.add(batch(rows))
    order = np.argsort(rows.time + random.integers(0, HOUR, len(rows)))
    whole = batch(rows)
    for chosen in np.array_split(order, 40):
        shuffled.add(_taken(whole, chosen))
    assert shuffled.queue.late == 0
    assert shuffled.status() == straight.status()


def test_a_later_event_is_counted_and_judged_all_the_same(table: pa.Table) -> None:
    rows = Business(35).days(2)
    watch = Watch(SERVED, table, QUICK)
    whole = batch(rows)
    late = np.arange(100, 110)
    watch.add(_taken(whole, np.setdiff1d(np.arange(len(rows)), late)))
    before = watch.status().rows
    watch.add(_taken(whole, late))
    watch.advance(int(rows.time[-1]) + DAY)
    assert watch.queue.late == 10
    assert watch.status().rows == len(rows) > before


def test_time_alone_closes_a_window(table: pa.Table) -> None:
    rows = Business(36).days(1)
    watch = Watch(SERVED, table, QUICK)
    watch.add(batch(rows, 0, 20))
    assert watch.status().rows == 0
    watch.advance(int(rows.time[19]) + 7 * HOUR)
    assert watch.status().rows == 20


def test_missing_values_do_not_hide_a_shift_and_are_a_finding_of_their_own() -> None:
    one, watch = business(37)
    feed(watch, one.days(2))
    rows = scaled(one.days(2), 1.6)
    rows.column("amount_over_baseline")[::4] = np.nan
    score(rows)
    feed(watch, rows)
    watch.add(batch(scaled(one.days(1), 1.6)))
    alarms = {(signal.kind, signal.subject) for signal in watch.signals() if signal.is_alarm}
    assert ("missingness", "amount_over_baseline") in alarms
    assert ("input", "amount_over_baseline") in alarms


def test_a_flood_of_flagged_decisions_is_told() -> None:
    one, watch = business(38)
    feed(watch, one.days(2))
    rows = one.days(1)
    flood = replace(batch(rows), flagged=np.random.default_rng(1).random(len(rows)) < 0.4)
    watch.add(flood)
    assert any(signal.kind == "anomaly_rate" and signal.is_alarm for signal in watch.signals())
    assert watch.status().state == State.DRIFTING
    assert (watch.status().anomaly_rate or 0) > 0.25


def test_an_anomaly_rate_that_collapses_to_nothing_is_told() -> None:
    one, watch = business(39)
    feed(watch, one.days(2))
    for _ in range(4):
        rows = one.days(1)
        watch.add(replace(batch(rows), flagged=np.zeros(len(rows), dtype=np.bool_)))
    alarms = {(signal.kind, signal.aspect) for signal in watch.signals() if signal.is_alarm}
    assert ("anomaly_rate", "usual") in alarms
    assert watch.status().anomaly_rate == pytest.approx(0.0, abs=0.005)


def test_a_flood_of_too_few_decisions_is_no_alarm_yet(table: pa.Table) -> None:
    watch = Watch(SERVED, table, QUICK)
    rows = Business(40).days(1)
    watch.add(replace(batch(rows, 0, 80), flagged=np.ones(80, dtype=np.bool_)))
    assert watch.status().state == State.WARMING


def test_precision_that_falls_on_matured_verdicts_is_told_and_a_steady_one_is_not() -> None:
    for share, expected in ((0.6, False), (0.15, True)):
        one, watch = business(41)
        random = np.random.default_rng(6)
        for day in range(16):
            rows = one.days(1)
            watch.add(batch(rows))
            _judge(watch, rows, 0.6 if day < 5 else share, random)
        alarms = {signal.kind for signal in watch.signals() if signal.is_alarm}
        assert ("precision" in alarms) is expected
        assert watch.status().precision == pytest.approx(share, abs=0.2)


def test_a_verdict_on_a_decision_that_was_not_flagged_says_nothing_about_precision(table: pa.Table) -> None:
    watch = Watch(SERVED, table, QUICK)
    watch.add(batch(Business(42).days(1)))
    watch.add_labels(LabelBatch("card_fraud", ["unheard"], np.zeros(1, np.int64), np.ones(1, np.bool_)))
    assert watch.status().precision is None


def test_an_alarm_ends_when_all_is_as_before() -> None:
    one, watch = business(43)
    feed(watch, one.days(2))
    assert feed(watch, scaled(one.days(2), 2.0)) is not None
    watch.add(batch(one.days(6)))
    assert watch.status().state == State.STEADY
    assert watch.status().verdict is None


def test_decisions_of_another_revision_or_with_other_features_are_refused(table: pa.Table) -> None:
    watch = Watch(SERVED, table, QUICK)
    rows = Business(44).days(1)
    with pytest.raises(ContractError, match="card-fraud-00002"):
        watch.add(batch(rows, served=replace(SERVED, revision="card-fraud-00002")))
    with pytest.raises(ContractError, match="another order"):
        watch.add(replace(batch(rows), names=NAMES[::-1]))
    with pytest.raises(ContractError, match="no column 'score'"):
        Watch(SERVED, table.drop_columns(["score"]))


def test_raw_fields_are_watched_where_answers_carry_no_vectors() -> None:
    one, watch = business(45)
    rows = one.days(3)
    bare = {"names": (), "values": np.zeros((len(rows), 0), np.float32)}
    watch.add(replace(batch(rows), **bare))
    assert watch.status().state == State.STEADY
    changed = scaled(one.days(2), 100.0)
    changed.fields["amount"] = [100 * amount for amount in changed.fields["amount"]]
    watch.add(replace(batch(changed), names=(), values=np.zeros((len(changed), 0), np.float32)))
    verdict = watch.status().verdict
    assert verdict is not None
    assert verdict.cause == Cause.DATA_BROKEN
    assert "multiplied by 100" in verdict.summary


@pytest.mark.parametrize("change", CHANGES, ids=[change.name for change in CHANGES])
def test_a_change_is_found_and_its_cause_is_told(change: Change) -> None:
    one, watch = business(50)
    random = np.random.default_rng(8)
    for _ in range(4):
        rows = one.days(1)
        watch.add(batch(rows))
        _judge(watch, rows, 0.6, random)
    assert watch.status().state == State.STEADY
    watch.compare(versions_compared(change.versions))
    for day in range(20):
        rows = changed_day(one, change, day, random)
        watch.add(batch(rows))
        _judge(watch, rows, change.precision, random)
        if (verdict := watch.status().verdict) is not None:
            break
    assert verdict is not None
    assert verdict.cause == change.cause
    answers = {
        Cause.DATA_BROKEN: Answer.HOLD,
        Cause.MODEL_WORSE: Answer.ROLL_BACK,
        Cause.POPULATION_MOVED: Answer.RERUN,
    }
    assert verdict.answer == answers[change.cause]
    assert verdict.sites == tuple(sorted(verdict.sites))
    assert bool(verdict.sites) == ("site" in change.name)


def _judge(watch: Watch, rows: Rows, precision: float, random: np.random.Generator) -> None:
    flagged = [
        one for one, is_flagged in zip(batch(rows).event_ids, rows.score >= THRESHOLD, strict=True) if is_flagged
    ]
    known = np.full(len(flagged), rows.time[-1] + HOUR)
    watch.add_labels(LabelBatch("card_fraud", flagged, known, random.random(len(flagged)) < precision))


def _taken(whole: ScoredBatch, chosen: np.ndarray) -> ScoredBatch:
    return replace(
        whole,
        event_ids=[whole.event_ids[k] for k in chosen],
        event_time=whole.event_time[chosen],
        sites=[whole.sites[k] for k in chosen],
        values=whole.values[chosen],
        fields={name: [entries[k] for k in chosen] for name, entries in whole.fields.items()},
        score=whole.score[chosen],
        levels={name: level[chosen] for name, level in whole.levels.items()},
        flagged=whole.flagged[chosen],
    )


def test_a_second_hump_is_found_by_the_detector_of_the_port_and_without_one_it_is_not_looked_for() -> None:
    for settings, expected in ((QUICK, True), (QUICK.model_copy(update={"detector": None}), False)):
        one = Business(60)
        watch = Watch(SERVED, reference(one.days(14)), settings)
        rows = one.days(4)
        random = np.random.default_rng(2)
        humps = 0.48 * random.choice([-1.0, 1.0], len(rows)) + 0.1 * random.standard_normal(len(rows))
        rows.column("amount_over_baseline")[:] = np.exp(humps)
        watch.add(batch(score(rows)))
        alarms = {(signal.subject, signal.aspect) for signal in watch.signals() if signal.is_alarm}
        assert (("amount_over_baseline", "shape") in alarms) is expected
