import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.simulate.conftest import brief, frame
from vigil.errors import ContractError
from vigil.simulate import Simulated, preset
from vigil.simulate.chain import build_world
from vigil.simulate.config import Group
from vigil.simulate.ledger import NONE
from vigil.simulate.sales import hourly_rates, hourly_sales, site_ledger


def sales_of(simulated: Simulated) -> pd.DataFrame:
    events = frame(simulated, "transaction")
    return events[events.amount > 0].assign(hour=lambda sales: sales.local.dt.hour + sales.local.dt.minute / 60)


def hours_on(group: Group, day: pd.Timestamp, holidays: tuple[str, ...]) -> tuple[int, int] | None:
    if day.dayofweek == 6 or day.strftime("%m-%d") in holidays:
        return group.sunday_hours
    return group.saturday_hours if day.dayofweek == 5 else group.weekday_hours


def test_nothing_happens_outside_opening_hours(year: Simulated, small: Simulated) -> None:
    for simulated in (year, small):
        groups = {group.name: group for group in simulated.config.chain.groups}
        events = frame(simulated, "transaction")
        for (name, day), times in events.groupby(["site_group", events.local.dt.normalize()]).local:
            hours = hours_on(groups[str(name)], day, simulated.config.demand.holidays)
            assert hours is not None, f"{name} is closed on {day}"
            assert times.min() >= day + pd.Timedelta(hours=hours[0])
            assert times.max() < day + pd.Timedelta(hours=hours[1])


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/Havana", "Pacific/Kiritimati"])
def test_opening_hours_are_local_in_the_oddest_time_zones(zone: str) -> None:
    """An offset of 45 minutes, a change of the clocks at midnight, more than half a day ahead of UTC."""
    hours = {"weekday_hours": [9, 18], "saturday_hours": [9, 18], "sunday_hours": [9, 18]}
    simulated = brief(days=90, chain={"sites": 1, "groups": [{"name": "odd", "time_zone": zone, **hours}]})
    local = frame(simulated, "transaction").event_time.dt.tz_convert(zone)
    assert local.dt.hour.between(9, 17).all()
    assert local.dt.date.nunique() == 90


def test_a_time_zone_that_changes_by_half_an_hour_is_refused() -> None:
    with pytest.raises(ContractError, match="'odd': Australia/Lord_Howe changes its clocks by half an hour"):
        brief(days=90, chain={"groups": [{"name": "odd", "time_zone": "Australia/Lord_Howe"}]})


def test_a_closed_day_has_no_sales_but_readings() -> None:
    simulated = brief(days=1, start="2025-02-09", chain={"sites": 1})
    assert (simulated.rows["transaction"], simulated.rows["site_reading"]) == (0, 24 * 4)


def test_hourly_counts_are_poisson_around_the_expected_rate() -> None:
    world = build_world(preset("quiet"))
    for site in range(4):
        calendar, ledger, expected = world.calendar(site), site_ledger(world, site), hourly_rates(world, site)
        counts = hourly_sales(calendar, ledger)
        busy = expected > 1
        surprise = (counts[busy] - expected[busy]) ** 2 / expected[busy]
        assert abs(surprise.mean() - 1) < 4 * surprise.std() / np.sqrt(busy.sum())
        assert counts[expected == 0].sum() == 0


def test_the_mean_number_of_sales_is_as_configured(year: Simulated) -> None:
    world = build_world(year.config)
    config = year.config
    expected = config.demand.sales_per_site_day * world.sites.size.sum() * config.days
    assert len(sales_of(year)) == pytest.approx(expected, rel=0.08)  # season, trend and holidays do not average out


def test_commuters_come_in_the_morning_and_in_the_evening(year: Simulated) -> None:
    sales = sales_of(year)
    weekdays = sales[(sales.site_group == "station") & (sales.local.dt.dayofweek < 5)]
    share = weekdays.hour.floordiv(1).value_counts(normalize=True)
    assert share[8] > 1.5 * share[10]
    assert share[17] > 1.5 * share[15]


def test_within_the_hour_sales_follow_the_slope_of_the_day(year: Simulated) -> None:
    sales = sales_of(year)
    dawn = sales[(sales.site_group == "city") & (sales.hour >= 10) & (sales.hour < 12)]
    quarters = np.histogram(dawn.hour, bins=8)[0]
    assert (np.diff(quarters) > 0).sum() >= 6


def test_weekdays_are_as_different_as_configured(year: Simulated) -> None:
    groups = {group.name: group for group in year.config.chain.groups}
    sales = sales_of(year)
    suburb = sales[sales.site_group == "suburb"]
    seen = suburb.local.dt.dayofweek.value_counts(normalize=True).sort_index().to_numpy()
    expected = np.array(groups["suburb"].weekday_factors) / sum(groups["suburb"].weekday_factors)
    np.testing.assert_allclose(seen, expected, rtol=0.06)


def sales_per_day_of_month(simulated: Simulated) -> "pd.Series[float]":
    day = sales_of(simulated).local.dt.normalize()
    per_day = day.value_counts()
    return per_day.groupby(per_day.index.strftime("%Y-%m")).mean()


def test_december_is_the_busiest_month(year: Simulated) -> None:
    assert sales_per_day_of_month(year).idxmax() == "2025-12"


def test_summer_is_busier_than_late_winter(year: Simulated) -> None:
    per_day = sales_per_day_of_month(year)
    assert 1.08 < per_day["2025-07"] / per_day["2025-03"] < 1.3


def test_sales_grow_by_the_trend() -> None:
    flat, growing = (
        brief(days=400, chain={"sites": 3}, demand={"trend_per_year": trend, "sales_per_site_day": 60.0})
        for trend in (0.0, 0.5)
    )
    ratio = []
    for simulated in (flat, growing):
        local = sales_of(simulated).local
        ratio.append((local >= "2026-02-03").sum() / (local < "2025-03-10").sum())
    assert ratio[1] / ratio[0] == pytest.approx(1.5, rel=0.08)


def test_the_day_before_a_holiday_is_busier(year: Simulated) -> None:
    sales = sales_of(year)
    station = sales[sales.site_group == "station"]
    per_day = station.groupby(station.local.dt.strftime("%Y-%m-%d")).size()
    assert per_day["2025-04-30"] > 1.1 * per_day[["2025-04-23", "2025-05-07", "2025-05-14"]].mean()


def test_closed_groups_sell_nothing_on_a_holiday(year: Simulated) -> None:
    sales = sales_of(year)
    assert set(sales.site_group[sales.local.dt.strftime("%m-%d") == "12-25"]) == {"station", "suburb"}


def test_customers_of_a_higher_level_pay_more(year: Simulated) -> None:
    world = build_world(year.config)
    sales = sales_of(year).dropna(subset="customer_id")
    median = sales.groupby("customer_id").amount.median()
    numbers = median.index.str[1:].astype(int).to_numpy() - 1
    assert stats.spearmanr(world.customers.level[numbers], median).statistic > 0.7


def test_customers_keep_their_hours(year: Simulated) -> None:
    world = build_world(year.config)
    sales = sales_of(year).dropna(subset="customer_id")
    evening = (sales.hour >= 18).groupby(sales.customer_id).mean()
    numbers = evening.index.str[1:].astype(int).to_numpy() - 1
    habit = world.customers.habit[numbers, 3] / world.customers.habit[numbers].sum(axis=1)
    assert stats.spearmanr(habit, evening).statistic > 0.6


def test_most_visits_are_to_the_home_site(year: Simulated) -> None:
    world = build_world(year.config)
    sales = sales_of(year).dropna(subset="customer_id")
    home = world.customers.home[sales.customer_id.str[1:].astype(int) - 1]
    share = (sales.site_id.str[1:].astype(int) - 1 == home).mean()
    assert 0.7 < share < 0.95


def test_a_few_customers_buy_much_of_everything(year: Simulated) -> None:
    visits = sales_of(year).customer_id.value_counts()
    assert 0.15 < visits.head(len(visits) // 10).sum() / visits.sum() < 0.6


def test_customers_come_and_go(year: Simulated) -> None:
    world = build_world(year.config)
    ledger = site_ledger(world, 0)
    rows = ledger.is_sale & (ledger.customer != NONE)
    day, customer = world.day_of(ledger.site[rows], ledger.time[rows]), ledger.customer[rows]
    assert (day >= world.customers.joined[customer]).all()
    assert (day < world.customers.left[customer]).all()
    assert (world.customers.left < year.config.days).mean() == pytest.approx(0.1, abs=0.02)


def test_cash_has_neither_customer_nor_card(year: Simulated) -> None:
    assert sales_of(year).customer_id.isna().mean() == pytest.approx(0.12, abs=0.02)


def test_amounts_are_price_times_quantity(year: Simulated) -> None:
    sales = sales_of(year)
    unit = (sales.amount / sales.quantity).round(4)
    assert (unit.groupby([sales.site_id, sales.product_id]).nunique() == 1).all()


def test_amounts_are_skewed_and_cover_small_and_large(year: Simulated) -> None:
    amounts = sales_of(year).amount
    low, median, high = amounts.quantile([0.01, 0.5, 0.999])
    assert low < 2
    assert 8 < median < 30
    assert 150 < high < 1_000
    assert amounts.mean() > 1.2 * median


def test_every_refund_gives_back_one_earlier_sale(year: Simulated) -> None:
    events = frame(year, "transaction")
    refunds, sales = events[events.amount < 0], events[events.amount > 0]
    assert len(refunds) / len(sales) == pytest.approx(year.config.demand.refund_share, rel=0.1)
    key = ["site_id", "product_id", "customer_id", "card_id"]
    named = refunds.dropna(subset="customer_id").assign(
        paid=lambda rows: -rows.amount, number=lambda rows: range(len(rows))
    )
    pairs = named.merge(sales.assign(paid=sales.amount), on=[*key, "paid"], suffixes=("", "_of_sale"))
    wait = pairs.local.dt.normalize() - pairs.local_of_sale.dt.normalize()
    earlier = pairs[(wait >= pd.Timedelta(days=1)) & (wait <= pd.Timedelta(days=34))]
    assert earlier.number.nunique() == len(named)
