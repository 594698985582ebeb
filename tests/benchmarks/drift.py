"""How often the drift watch is wrong, how soon it is right, and whether it names the cause.

    python -m tests.benchmarks.drift

The site is that of `tests/monitoring/watch/traffic.py`: heavy-tailed amounts, day and week as in the reference of 14
days, a year that the reference does not cover (amounts 8 % up and down, volume 20 %), days that differ by 3 % for no
reason and resemble the day before, bursts of customers, sites with slow levels of their own. Compared with

- a test of Kolmogorov and Smirnov for each feature and day, p < 0.05 divided by the number of features, as a
  detector of drift is commonly set up;
- fixed thresholds as in Flagger: ten checks a day of the mean amount, alarm after five in a row outside a range around
  the reference. The range is the narrowest with at most one false alarm in a simulated stationary year, which no user
  could know: the comparison is at equal false alarms.
"""

import argparse
import sys
from collections.abc import Iterator

import numpy as np
from scipy.stats import ks_2samp

from tests.benchmarks.report import Number
from tests.monitoring.watch.changes import CHANGES, Change, changed_day, versions_compared
from tests.monitoring.watch.traffic import NAMES, SERVED, THRESHOLD, Business, Rows, batch, reference, score
from vigil.clock import HOUR
from vigil.monitoring.samples import LabelBatch
from vigil.monitoring.verdicts import Cause
from vigil.monitoring.watch import Watch

YEARS = tuple(range(1000, 1003))
"""Seeds of the simulated years."""
DELAYS = tuple(range(2000, 2008))
CAUSES = tuple(range(3000, 3007))
CHECKS_A_DAY, CHECKS_IN_A_ROW = 10, 5
HORIZON_DAYS = {500: 40, 5000: 12}
_REFERENCE_DAYS, _CALM_DAYS = 14, 5


def false_alarms(seed: int, days: int = 365) -> tuple[int, int]:
    """Return alarms of the watch, and days with an alarm of naive tests, in a stationary year."""
    business = _started(seed, 500)
    past = business.days(_REFERENCE_DAYS)
    watch, alarms, naive = Watch(SERVED, reference(past)), 0, 0
    for _ in range(days):
        rows = business.days(1)
        before = watch.alarm is not None
        watch.add(batch(rows))
        alarms += watch.alarm is not None and not before
        naive += _naive_alarm(past, rows)
    return alarms, naive


def _naive_alarm(past: Rows, rows: Rows) -> bool:
    tests = (ks_2samp(past.values[:, k], rows.values[:, k], method="asymp").pvalue for k in range(len(NAMES)))
    return any(p < 0.05 / len(NAMES) for p in tests)


def delay(seed: int, factor: float, per_day: int) -> int | None:
    """Return the events from a shift of the amounts to the alarm of the watch; None beyond the horizon."""
    business = _started(seed, per_day)
    watch = Watch(SERVED, reference(business.days(_REFERENCE_DAYS)))
    watch.add(batch(business.days(_CALM_DAYS)))
    if watch.alarm is not None:
        return 0
    events = 0
    for _ in range(HORIZON_DAYS[per_day]):
        rows = _shifted(business.days(1), factor)
        for start in range(0, len(rows), 25):
            watch.add(batch(rows, start, start + 25))
            if watch.alarm is not None:
                return events + min(start + 25, len(rows))
        events += len(rows)
    return None


def _shifted(rows: Rows, factor: float) -> Rows:
    for name in ("amount", "amount_over_baseline"):
        rows.column(name)[:] *= factor
    return score(rows)


def _started(seed: int, per_day: int) -> Business:
    """Return a business that starts at any day of the year."""
    business = Business(seed, per_day=per_day)
    business.day = int(np.random.default_rng(seed).integers(0, 52)) * 7
    return business


def fixed_range(per_day: int, seed: int = 4000) -> float:
    """Return the half width of the range, as a share of the usual mean, with at most one false alarm in a year."""
    checks = _checks(_started(seed, per_day), 365, 1.0)
    usual = checks[: _REFERENCE_DAYS * CHECKS_A_DAY].mean()
    distance = np.abs(checks / usual - 1)
    lasting = np.min(np.lib.stride_tricks.sliding_window_view(distance, CHECKS_IN_A_ROW), axis=1)
    for width in np.arange(0.02, 1.0, 0.01):
        outside = lasting > width
        if outside[0] + (outside[1:] & ~outside[:-1]).sum() <= 1:
            return float(width)
    return 1.0


def fixed_delay(seed: int, factor: float, per_day: int, width: float) -> int | None:
    """Return the events from a shift to the alarm of fixed thresholds; None beyond the horizon."""
    business = _started(seed, per_day)
    usual = _checks(business, _REFERENCE_DAYS, 1.0).mean()
    business.days(_CALM_DAYS)
    checks = _checks(business, HORIZON_DAYS[per_day], factor)
    row = 0
    for k, mean in enumerate(checks):
        row = row + 1 if abs(mean / usual - 1) > width else 0
        if row == CHECKS_IN_A_ROW:
            return (k + 1) * (per_day // CHECKS_A_DAY)
    return None


def _checks(business: Business, days: int, factor: float) -> np.ndarray:
    """Return the mean amount of one check after another, each of a tenth of a day's events."""
    size = business.per_day // CHECKS_A_DAY
    amounts = np.concatenate([business.next_day().column("amount") for _ in range(days)]) * factor
    return amounts[: len(amounts) // size * size].reshape(-1, size).mean(axis=1)


def told_cause(seed: int, change: Change) -> Cause | None:
    """Return the first cause that the watch tells of a change; None if it finds none, or finds one before."""
    business, random = _started(seed, 500), np.random.default_rng([9, seed])
    watch = Watch(SERVED, reference(business.days(_REFERENCE_DAYS)))
    for _ in range(_CALM_DAYS):
        rows = business.days(1)
        watch.add(batch(rows))
        _verdicts(watch, rows, 0.6, random)
    if watch.alarm is not None:
        return None
    watch.compare(versions_compared(change.versions))
    for day in range(21):
        rows = changed_day(business, change, day, random)
        for start in range(0, len(rows), 50):
            watch.add(batch(rows, start, start + 50))
            if (verdict := watch.status().verdict) is not None:
                return verdict.cause
        _verdicts(watch, rows, change.precision, random)
    return None


def _verdicts(watch: Watch, rows: Rows, precision: float, random: np.random.Generator) -> None:
    ids = batch(rows).event_ids
    flagged = [one for one, is_flagged in zip(ids, rows.score >= THRESHOLD, strict=True) if is_flagged]
    known = np.full(len(flagged), rows.time[-1] + HOUR)
    watch.add_labels(LabelBatch(SERVED.model, flagged, known, random.random(len(flagged)) < precision))


def measure_false_alarms(seeds: tuple[int, ...] = YEARS) -> Iterator[Number]:
    """Yield the false alarms of the watch and of naive tests in a year of a site."""
    counts = np.array([false_alarms(seed) for seed in seeds])
    site = f"stationary seasonal site, 500 events a day, {len(seeds)} years, seeds {seeds[0]} to {seeds[-1]}"
    yield Number("false_alarms_site_year", counts[:, 0].mean(), "alarms a year", "lower", 1.0, site)
    naive = f"{site}; Kolmogorov-Smirnov each day and feature, p < 0.05 / {len(NAMES)}"
    yield Number("naive_ks_alarm_days_site_year", counts[:, 1].mean(), "days a year", "lower", None, naive)


def measure_delays(seeds: tuple[int, ...] = DELAYS) -> Iterator[Number]:
    """Yield the median delays of the watch and of fixed thresholds by size of the shift and events a day."""
    for per_day in HORIZON_DAYS:
        width, chosen = fixed_range(per_day), seeds if per_day == 500 else seeds[: (len(seeds) + 1) // 2]
        for factor in (1.1, 1.2, 1.5):
            ending = f"{factor}x" if per_day == 500 else f"{factor}x_{per_day}_a_day"
            about = f"amounts x{factor} at {per_day} events a day, median of {len(chosen)}, seeds from {seeds[0]}"
            ours = [delay(seed, factor, per_day) for seed in chosen]
            fixed = [fixed_delay(seed, factor, per_day, width) for seed in chosen]
            yield _delay(f"delay_events_{ending}", ours, per_day, about, 700.0 if factor == 1.2 else None)
            words = f"{about}; mean of a tenth of a day outside +-{width:.0%} five times in a row"
            yield _delay(f"fixed_threshold_delay_events_{ending}", fixed, per_day, words, None)


def _delay(name: str, found: list[int | None], per_day: int, about: str, aim: float | None) -> Number:
    """Return the median; a shift that was not found counts as the horizon, and is told."""
    horizon = HORIZON_DAYS[per_day] * per_day
    missed = sum(one is None for one in found)
    words = f"{about}; {missed} not found in {horizon:,} events" if missed else about
    median = float(np.median([horizon if one is None else one for one in found]))
    return Number(name, median, "events", "lower", aim, words)


def measure_causes(seeds: tuple[int, ...] = CAUSES, changes: tuple[Change, ...] = CHANGES) -> Iterator[Number]:
    """Yield how many causes are told rightly; each wrong one is told on stderr."""
    right = 0
    for change in changes:
        for seed in seeds:
            told = told_cause(seed, change)
            right += told == change.cause
            if told != change.cause:
                print(f"{change.name}, seed {seed}: {told}, not {change.cause}", file=sys.stderr, flush=True)
    total = len(changes) * len(seeds)
    about = f"{total} changes of {len(changes)} kinds, seeds {seeds[0]} to {seeds[-1]}; first verdict within 21 days"
    yield Number("cause_correct_percent", 100 * right / total, "%", "higher", 95.0, about)


def measure() -> Iterator[Number]:
    """Yield all numbers of the watch, for `bench/rollout.json`."""
    yield from measure_false_alarms()
    yield from measure_delays()
    yield from measure_causes()


def main() -> None:
    """Print the numbers as they come; a few minutes on one core."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {
        "alarms": (measure_false_alarms, YEARS),
        "delays": (measure_delays, DELAYS),
        "causes": (measure_causes, CAUSES),
    }
    parser.add_argument("part", nargs="*", help=", ".join(parts))
    parser.add_argument("--seeds", type=int, help="only the first so many")
    given = parser.parse_args()
    for part in given.part or parts:
        measured, seeds = parts[part]
        for number in measured(seeds[: given.seeds]):
            print(f"{number.name} = {number.value:,.4g} {number.unit} ({number.compared_with})", flush=True)


if __name__ == "__main__":
    main()
