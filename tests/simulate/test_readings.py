import pandas as pd
import pytest

from tests.simulate.conftest import brief, frame
from vigil.simulate import Simulated


def hourly(simulated: Simulated, metric: str) -> "pd.Series[float]":
    """The metric's readings by site and by the hour that they report on."""
    readings = frame(simulated, "site_reading")
    readings = readings[readings.metric == metric]
    return readings.set_index(["site_id", readings.event_time - pd.Timedelta(hours=1)]).value.sort_index()


@pytest.mark.parametrize("metric", ["sales", "transactions"])
def test_readings_of_the_tills_are_those_of_the_transactions(quiet: Simulated, metric: str) -> None:
    events = frame(quiet, "transaction")
    by_hour = events.groupby(["site_id", events.event_time.dt.floor("h")]).amount
    tills = by_hour.sum().round(2) if metric == "sales" else by_hour.size()
    reported = hourly(quiet, metric)
    pd.testing.assert_series_equal(reported[tills.index], tills.astype(float), check_names=False)
    assert (reported.drop(tills.index) == 0).all()


def test_every_site_reports_every_metric_every_hour(quiet: Simulated) -> None:
    readings = frame(quiet, "site_reading")
    for _, times in readings.groupby(["site_id", "metric"]).event_time:
        assert (times.diff().dropna() == pd.Timedelta(hours=1)).all()
        assert len(times) in (60 * 24, 60 * 24 - 1)  # the clocks went forward


def test_only_the_configured_metrics_are_reported() -> None:
    simulated = brief(readings={"metrics": ["visitors"]})
    assert set(frame(simulated, "site_reading").metric) == {"visitors"}


def test_each_metric_has_one_unit(quiet: Simulated) -> None:
    readings = frame(quiet, "site_reading")
    assert readings.groupby("metric").unit.unique().map(list).to_dict() == {
        "energy": ["kWh"],
        "sales": ["EUR"],
        "transactions": ["count"],
        "visitors": ["count"],
    }


def test_the_share_of_visitors_who_buy_is_as_configured(quiet: Simulated) -> None:
    buyers = (frame(quiet, "transaction").amount > 0).sum()
    assert buyers / hourly(quiet, "visitors").sum() == pytest.approx(quiet.config.readings.conversion, rel=0.03)


def test_nobody_buys_without_visiting(quiet: Simulated) -> None:
    events = frame(quiet, "transaction")
    events = events[events.amount > 0]
    sales = events.groupby(["site_id", events.event_time.dt.floor("h")]).size()
    assert (hourly(quiet, "visitors")[sales.index] >= sales).all()


def test_an_open_site_takes_more_energy_than_a_closed_one(quiet: Simulated) -> None:
    readings = frame(quiet, "site_reading")
    energy = readings[readings.metric == "energy"].assign(hour=lambda rows: rows.local.dt.hour)
    noon, night = (energy[energy.hour == hour].groupby("site_id").value.median() for hour in (13, 3))
    assert (noon > 2 * night).all()
    assert (energy.value > 0).all()
