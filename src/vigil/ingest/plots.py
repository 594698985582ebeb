"""The plots of a report as SVG text: the same report gives the same bytes."""

import math
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vigil.figures import SERIES, figure_svg
from vigil.ingest.report import Distribution, IngestReport, SilentFeed

_ALARM = "#b3261e"
MOST_DISTRIBUTIONS = 12
MOST_SILENCES = 25

Times = npt.NDArray[np.datetime64]
"""UTC, without saying so."""


def events_by_day(report: IngestReport) -> Markup | None:
    """Return how many events of each kind fell on each day; None if there are fewer than two days."""
    kinds = [kind for kind in report.kinds if len(kind.days) > 1]
    if not kinds:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for kind in kinds:
            days, counts = _every_day(kind.days)
            axes.step(days, counts, where="mid", label=kind.kind, linewidth=0.9)
        axes.set_ylim(bottom=0)
        axes.set_ylabel("events a day")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)

    return figure_svg(draw, "Accepted events by day", 10, 2.8)


def _every_day(days: dict[str, int]) -> tuple[Times, list[int]]:
    """Return the days from the first to the last, those without events included."""
    first, last = (datetime.fromisoformat(day) for day in (min(days), max(days)))
    span = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    return _times(span), [days.get(f"{day:%Y-%m-%d}", 0) for day in span]


def _times(moments: list[datetime]) -> Times:
    return np.array([moment.replace(tzinfo=None) for moment in moments], "datetime64[us]")


def distributions(report: IngestReport) -> Markup | None:
    """Return histograms of the numbers that vary, on a logarithmic scale where they go beyond a hundred."""
    numbers = [(kind.kind, item) for kind in report.kinds for item in kind.numbers if len(item.histogram) > 1]
    if not numbers:
        return None
    chosen = numbers[:MOST_DISTRIBUTIONS]
    rows = -(-len(chosen) // 3)

    def draw(figure: Figure) -> None:
        grid = figure.add_gridspec(rows, 3)
        for place, (kind, item) in enumerate(chosen):
            axes = figure.add_subplot(grid[divmod(place, 3)])
            _histogram(axes, item)
            axes.set_title(item.metric or f"{kind}.{item.field}", fontsize=9, loc="left")

    return figure_svg(draw, "Distributions of the values", 10, 2.1 * rows)


def _histogram(axes: Axes, item: Distribution) -> None:
    middles = [middle for middle, _ in item.histogram]
    counts = [count for _, count in item.histogram]
    axes.fill_between(middles, counts, step="mid", color=SERIES[0], alpha=0.25, linewidth=0)
    axes.step(middles, counts, where="mid", color=SERIES[0], linewidth=1)
    axes.set_ylim(bottom=0)
    if max(abs(middle) for middle in middles) > 100:
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(_decades(middles[0], middles[-1]))
        axes.minorticks_off()
    axes.set_ylabel("values")


def _decades(low: float, high: float) -> list[float]:
    """Return zero and at most some powers of ten on either side."""
    most = math.ceil(math.log10(max(abs(low), abs(high))))
    step = max(most // 3, 1)
    powers = [10.0**power for power in range(step, most + 1, step)]
    return (
        [-power for power in reversed(powers) if -power >= low] + [0.0] + [power for power in powers if power <= high]
    )


def silences(report: IngestReport) -> Markup | None:
    """Return when the feeds were silent, the longest silences first; None if there are none."""
    chosen = longest_silences(report)
    if not chosen:
        return None

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for place, item in enumerate(reversed(chosen)):
            begin = item.until - timedelta(seconds=item.silent_seconds)
            axes.plot(_times([begin, item.overdue]), [place, place], color="#8a94a3", linewidth=2)
            axes.plot(_times([item.overdue, item.until]), [place, place], color=_ALARM, linewidth=5)
        axes.set_yticks(range(len(chosen)), [feed_name(item) for item in reversed(chosen)])
        axes.set_ylim(-0.7, len(chosen) - 0.3)

    return figure_svg(draw, "Silent feeds over time", 10, 0.7 + 0.24 * len(chosen))


def longest_silences(report: IngestReport) -> list[SilentFeed]:
    """Return the longest silences of the report."""
    return sorted(report.silent_feeds, key=lambda item: -item.silent_seconds)[:MOST_SILENCES]


def feed_name(item: SilentFeed) -> str:
    """Return site and metric, cut to what fits beside a plot."""
    name = f"{item.site_id} / {item.metric}"
    return name if len(name) <= 40 else name[:39] + "…"
