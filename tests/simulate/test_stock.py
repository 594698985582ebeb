import numpy as np
import pandas as pd
import pytest

from tests.simulate.conftest import brief, frame
from vigil.simulate import Simulated
from vigil.simulate.chain import build_world

KEY = ["site_id", "product_id"]


def history(simulated: Simulated) -> pd.DataFrame:
    """Levels, and what moved before each of them, in order."""
    levels = frame(simulated, "stock_level").assign(change=0.0)
    changes = [frame(simulated, kind).rename(columns={"quantity": "change"}) for kind in ("stock_movement", "restock")]
    columns = [*KEY, "event_time", "change", "on_hand", "reorder_level"]
    return pd.concat([levels, *changes])[columns].sort_values([*KEY, "event_time"], kind="stable")


@pytest.fixture(scope="module")
def booked(small: Simulated) -> pd.DataFrame:
    return history(small)


def test_every_level_is_the_previous_one_and_what_moved_since(booked: pd.DataFrame) -> None:
    pairs = booked.groupby(KEY)
    first = pairs.on_hand.transform("first")
    levels = booked[booked.on_hand.notna()]
    assert len(levels) > 10_000
    np.testing.assert_array_equal((first + pairs.change.cumsum())[booked.on_hand.notna()], levels.on_hand)


def test_every_product_has_a_level_at_every_site_before_anything_moves(small: Simulated, booked: pd.DataFrame) -> None:
    firsts = booked.groupby(KEY).head(1)
    assert firsts.on_hand.notna().all()
    assert len(firsts) == small.config.chain.sites * small.config.chain.products


def test_no_level_is_ever_negative_not_even_between_two_bookings(booked: pd.DataFrame) -> None:
    pairs = booked.groupby(KEY)
    assert (pairs.on_hand.transform("first") + pairs.change.cumsum()).min() >= 0


@pytest.mark.parametrize(("reason", "sign"), [("sale", 1), ("return", -1)])
def test_movements_are_the_days_transactions(quiet: Simulated, reason: str, sign: int) -> None:
    events = frame(quiet, "transaction")
    events = events[events.quantity * sign > 0]
    sold = events.groupby([*KEY, events.local.dt.normalize()]).quantity.sum().sort_index()
    moved = frame(quiet, "stock_movement")
    moved = moved[moved.reason == reason]
    booked = -moved.groupby([*KEY, (moved.local - pd.Timedelta(hours=2)).dt.normalize()]).quantity.sum().sort_index()
    pd.testing.assert_series_equal(booked, sold)


def test_movements_bear_the_sign_of_their_reason(small: Simulated) -> None:
    moved = frame(small, "stock_movement")
    signs = moved.quantity.gt(0).groupby(moved.reason).unique()
    assert {reason: list(sign) for reason, sign in signs.items()} == {
        "correction": [False],
        "return": [True],
        "sale": [False],
        "transfer": [True],
        "waste": [False],
    }


def test_what_is_low_is_delivered_soon_and_nothing_else_is(quiet: Simulated) -> None:
    levels, restocks = frame(quiet, "stock_level"), frame(quiet, "restock").assign(delivered=True)
    low = levels[levels.on_hand <= levels.reorder_level].assign(low=True)
    ten_days = pd.Timedelta(days=10)
    due = low[low.event_time < levels.event_time.max() - ten_days]
    together = {"on": "event_time", "by": KEY, "tolerance": ten_days}
    assert pd.merge_asof(
        due, restocks[[*KEY, "event_time", "delivered"]], direction="forward", **together
    ).delivered.all()
    assert pd.merge_asof(restocks, low[[*KEY, "event_time", "low"]], **together).low.all()


def test_deliveries_are_whole_packs(quiet: Simulated) -> None:
    restocks = frame(quiet, "restock")
    pack = build_world(quiet.config).products.pack[restocks.product_id.str[1:].astype(int) - 1]
    assert (restocks.quantity % pack == 0).all()


def test_deliveries_come_before_the_first_customer(small: Simulated) -> None:
    restocks, sales = frame(small, "restock"), frame(small, "transaction")
    first = sales.groupby(["site_id", sales.local.dt.normalize().rename("day")]).local.min()
    both = restocks.assign(day=restocks.local.dt.normalize()).join(first, on=["site_id", "day"], rsuffix="_of_sale")
    both = both.dropna(subset="local_of_sale")
    assert len(both) > 5_000
    assert (both.local < both.local_of_sale).all()


def test_a_stock_out_empties_the_shelf_and_stops_the_sales() -> None:
    simulated = brief({"kind": "stock_out", "site": "S0002", "start_day": 20, "days": 8})
    (truth,) = simulated.incidents
    here = {"site_id": truth.site_id, "product_id": truth.entity_id}
    during = {}
    for kind in ("transaction", "stock_level", "restock"):
        events = frame(simulated, kind)
        events = events[(events[list(here)] == pd.Series(here)).all(axis=1)]
        during[kind] = events[(events.event_time >= truth.start) & (events.event_time < truth.end)]
    assert len(during["stock_level"]) >= 1
    assert (during["stock_level"].on_hand == 0).all()
    assert len(during["transaction"].query("amount > 0")) == len(during["restock"]) == 0
    assert truth.affected["prevented"] >= 5


def test_after_a_stock_out_the_product_is_delivered_and_sold_again() -> None:
    simulated = brief({"kind": "stock_out", "site": "S0002", "start_day": 20, "days": 8})
    (truth,) = simulated.incidents
    for kind in ("restock", "transaction"):
        events = frame(simulated, kind)
        later = events[(events.site_id == truth.site_id) & (events.product_id == truth.entity_id)]
        later = later[later.event_time >= truth.end]
        assert later.event_time.min() < pd.Timestamp(truth.end) + pd.Timedelta(days=7)
