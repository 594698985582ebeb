from datetime import UTC, datetime

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.samples import handbook_file
from vigil.clock import DAY, to_micros
from vigil.errors import ContractError
from vigil.evaluation.splits import (
    HANDBOOK_FOLDS,
    SplitPlan,
    Window,
    handbook_split,
    latest_fold,
    rolling_folds,
    split,
    unknown_entities,
    with_history,
)

HOURS = np.arange(0, 60 * DAY, DAY // 24)


def test_the_test_window_begins_after_label_delay_and_gap() -> None:
    fold = SplitPlan(train_days=7, delay_days=5, gap_days=2, test_days=3).fold(0)
    assert fold.train == Window(start=0, end=7 * DAY)
    assert fold.fitted_at == 12 * DAY
    assert fold.test == Window(start=14 * DAY, end=17 * DAY)


@given(
    train=st.integers(2, 20),
    calibration=st.integers(0, 5),
    delay=st.integers(0, 9),
    gap=st.integers(0, 9),
    seed=st.integers(),
)
def test_no_row_is_in_two_parts_and_no_label_is_from_after_the_fit(
    train: int, calibration: int, delay: int, gap: int, seed: int
) -> None:
    plan = SplitPlan(
        train_days=train, calibration_days=min(calibration, train - 1), delay_days=delay, gap_days=gap, test_days=4
    )
    fold = plan.fold(3 * DAY)
    label_time = HOURS + np.random.default_rng(abs(seed)).integers(0, 20 * DAY, len(HOURS))
    parts = split(fold, HOURS, label_time)
    learned = np.concatenate([parts.train, parts.calibration])
    assert not set(learned) & set(parts.test)
    assert not set(parts.train) & set(parts.calibration)
    assert (label_time[learned] <= fold.fitted_at).all()
    assert (HOURS[parts.test] >= fold.fitted_at + gap * DAY).all()


def test_rows_whose_label_came_after_the_fit_are_purged_and_counted() -> None:
    fold = SplitPlan(train_days=7, delay_days=7, test_days=7).fold(0)
    label_time = HOURS + DAY
    label_time[:5] = fold.fitted_at + 1
    parts = split(fold, HOURS, label_time)
    assert parts.purged == 5
    assert parts.train[0] == 5


def test_rows_of_a_part_come_in_the_order_of_time() -> None:
    times = HOURS[::-1]
    parts = split(SplitPlan(train_days=7).fold(0), times)
    assert (np.diff(times[parts.train]) > 0).all()


def test_rolling_folds_step_forward() -> None:
    folds = rolling_folds(SplitPlan(step_days=3), 0, 4)
    assert [fold.train.start // DAY for fold in folds] == [0, 3, 6, 9]


def test_the_latest_fold_ends_where_it_is_told() -> None:
    assert latest_fold(SplitPlan(train_days=7, gap_days=1), 50 * DAY).test.end == 50 * DAY


def test_a_plan_whose_calibration_leaves_nothing_to_train_on_is_refused() -> None:
    with pytest.raises(ContractError, match="calibration_days 7 leaves nothing of train_days 7"):
        SplitPlan(train_days=7, calibration_days=7)


def test_a_window_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ContractError, match="ends before it starts"):
        Window(start=DAY, end=DAY)


def test_label_times_of_another_length_are_refused() -> None:
    with pytest.raises(ContractError, match="label_time has 2 rows"):
        split(SplitPlan().fold(0), HOURS, [1, 2])


def test_an_entity_is_left_out_from_the_day_on_which_its_fraud_is_known() -> None:
    fold = SplitPlan(train_days=7, delay_days=7, test_days=7).fold(0)
    days = np.array([3, 8, 14, 15, 16, 16])
    customers = np.array(["known", "later", "known", "later", "later", "other"])
    labels = np.array([1, 1, 0, 0, 0, 0])
    kept = unknown_entities(fold, days * DAY, customers, labels)
    assert kept.tolist() == [False, False, False, True, False, True]


def _handbook() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    table = pq.read_table(handbook_file(), columns=["TX_DATETIME", "CUSTOMER_ID", "TX_FRAUD"])
    times = table["TX_DATETIME"].to_numpy().astype("datetime64[us]").astype(np.int64)
    return times, table["CUSTOMER_ID"].to_numpy(), table["TX_FRAUD"].to_numpy()


def test_the_first_fold_of_the_published_protocol_has_the_published_counts() -> None:
    times, customers, fraud = _handbook()
    parts = handbook_split(HANDBOOK_FOLDS[0], times, customers, fraud)
    assert (len(parts.train), fraud[parts.train].sum()) == (67_240, 598)
    assert (len(parts.test), fraud[parts.test].sum()) == (58_264, 385)


def test_the_published_protocol_has_four_folds_a_week_apart() -> None:
    starts = [fold.train.start for fold in HANDBOOK_FOLDS]
    assert starts == [
        to_micros(datetime(2018, month, day, tzinfo=UTC)) for month, day in ((7, 25), (8, 1), (8, 8), (8, 15))
    ]


def test_a_longer_history_leaves_the_test_of_the_protocol_as_it_is() -> None:
    times, customers, fraud = _handbook()
    fold = HANDBOOK_FOLDS[1]
    short = handbook_split(fold, times, customers, fraud)
    long = handbook_split(with_history(fold, int(times.min())), times, customers, fraud)
    assert (long.test == short.test).all()
    assert len(long.train) > 10 * len(short.train)
