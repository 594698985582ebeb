"""A till that sends cents, is mended, and a population that moves days later: each is told once, by its own cause."""

from tests.monitoring.watch.traffic import SERVED, Business, Rows, batch, reference, score
from vigil.monitoring.service.making import steady_features
from vigil.monitoring.verdicts import Cause
from vigil.monitoring.watch import Watch

SITES, BROKEN = 16, 5


def told(watch: Watch, rows: Rows) -> list[tuple[Cause | None, tuple[str, ...]]]:
    """Return what the watch tells after each window, without repetitions."""
    heard: list[tuple[Cause | None, tuple[str, ...]]] = []
    for start in range(0, len(rows), 50):
        watch.add(batch(rows, start, start + 50))
        verdict = watch.status().verdict
        now = (None, ()) if verdict is None else (verdict.cause, verdict.sites)
        heard += [] if heard[-1:] == [now] else [now]
    return heard


def scaled(rows: Rows, factor: float, site: int | None = None) -> Rows:
    chosen = (rows.site == site) | (site is None)
    for name in ("amount", "amount_over_baseline"):
        rows.column(name)[chosen] *= factor
    return score(rows)


def test_a_unit_is_told_at_its_site_and_ends_when_it_is_mended_and_a_later_drift_is_the_populations() -> None:
    one = Business(61, per_day=700, sites=SITES)
    watch = Watch(SERVED, reference(one.days(14)))
    nothing = (None, ())
    assert told(watch, one.days(4)) == [nothing]
    assert told(watch, scaled(one.days(1), 100.0, BROKEN)) == [nothing, (Cause.DATA_BROKEN, (f"site-{BROKEN}",))]
    assert told(watch, one.days(2)) == [(Cause.DATA_BROKEN, (f"site-{BROKEN}",)), nothing]
    assert told(watch, scaled(one.days(2), 1.5)) == [nothing, (Cause.POPULATION_MOVED, ())]


def test_features_that_more_than_a_day_of_events_makes_raise_no_alarm_by_default() -> None:
    windows = {"amount": [], "count_1h": ["1h"], "mean_24h": ["24h"], "long_48h": ["48h"], "mean_30d": ["30d"]}
    windows |= {"days_known": ["lifetime"], "burst": ["24h", "30d"], "rate_5min": ["5min"]}
    features = [{"name": name, "windows": found} for name, found in windows.items()]
    assert steady_features(features) == ("amount", "count_1h", "mean_24h", "rate_5min")
