"""What the models of the sites are worth (`make bench-sites`): incidents caught, cost, and the same beside its peers.

`python -m tests.benchmarks.sites [incidents scale growth peers nab]` runs the named parts, or all; numbers of parts
that do not run stay as they were in the file.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tests.benchmarks import sites_incidents, sites_nab, sites_peers, sites_scale
from tests.benchmarks.report import Number, publish
from vigil.settings import load_settings

PROBLEMS = {"buildings": sites_incidents.buildings, "orange_juice": sites_incidents.orange_juice}


def incidents() -> list[Number]:
    """Return shares that are caught and false incidents, by data set and together."""
    numbers, caught, false = [], [], []
    for name, problem in PROBLEMS.items():
        outcome = sites_incidents.study(problem())
        caught.append(outcome.caught_percent)
        false.append(outcome.false_site_month)
        shares = ", ".join(f"{kind} {100 * share:.0f}" for kind, share in outcome.caught.items())
        injected = f"injected, seed {sites_incidents.SEED}: {shares}"
        numbers += [
            Number(f"caught_percent_{name}", caught[-1], "%", "higher", 90.0, injected),
            Number(f"false_incidents_site_month_{name}", false[-1], "1/month", "lower", 1.0, "on the clean twin"),
        ]
    both = "mean of buildings and orange_juice"
    return [
        Number("caught_percent", float(np.mean(caught)), "%", "higher", 90.0, both),
        Number("false_incidents_site_month", float(np.max(false)), "1/month", "lower", 1.0, "the larger of the two"),
        *numbers,
    ]


def scale() -> list[Number]:
    """Return the cost of 1,000 sites."""
    small = sites_scale.in_a_process(1_000)
    year = "1,000 sites, hourly, one year"
    return [
        Number("fit_1000_seconds", small["fit_seconds"], "s", "lower", 60.0, f"{year}, two threads"),
        Number("fit_1000_mib", small["mib"], "MiB", "lower", 2048.0, f"peak of the process with its data, {year}"),
        Number("score_hour_ms", small["hour_ms"], "ms", "lower", 200.0, "one hour of 1,000 sites"),
    ]


def growth() -> list[Number]:
    """Return how the cost grows from 1,000 to 10,000 sites."""
    small, large = sites_scale.in_a_process(1_000), sites_scale.in_a_process(10_000)
    ratio = large["fit_seconds"] / small["fit_seconds"] / 10
    compared = f"a fit of 10,000 sites ({large['fit_seconds']:.0f} s) over ten of 1,000"
    return [Number("cost_10000_over_1000", ratio, "ratio", "lower", 1.1, compared)]


def peers() -> list[Number]:
    """Return how much faster than its peers the fleet is, and the errors of all."""
    values = sites_peers.sample()
    mine = sites_peers.ours(values)
    task = f"two weeks after a year, {len(values)} of the simulated sites"
    numbers = [Number("forecast_error", mine.error, "of the mean", "lower", None, task)]
    for name, short in (("statsforecast", "mstl"), ("prophet", "prophet")):
        theirs = sites_peers.peer(name, values)
        if theirs is None:
            continue
        ratio = theirs.seconds / mine.seconds
        compared = f"{theirs.seconds:.2f} s a site against {mine.seconds:.3f}, fit and forecast"
        numbers += [
            Number(f"ratio_to_{short}", ratio, "times faster", "higher", 50.0, compared),
            Number(f"forecast_error_{short}", theirs.error, "of the mean", "lower", None, task),
            Number(f"error_over_{short}", mine.error / theirs.error, "ratio", "lower", 1.0, "forecast_error of both"),
        ]
    return numbers


def nab() -> list[Number]:
    """Return the score on NAB."""
    return sites_nab.measure(load_settings().data / "nab")


PARTS: Mapping[str, Callable[[], list[Number]]] = {
    "incidents": incidents,
    "scale": scale,
    "growth": growth,
    "peers": peers,
    "nab": nab,
}


def main(names: Sequence[str]) -> None:
    """Run the parts and publish each when it is done."""
    for name in names or list(PARTS):
        publish("sites", PARTS[name]())


if __name__ == "__main__":
    main(sys.argv[1:])
