"""The figures of the evaluation report, each from its numbers alone."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vigil.evaluation.ablation import Ablation
from vigil.evaluation.curves import RATES, CalibrationBin, CostCurve, Curve, ScoreBins
from vigil.figures import INK, MUTED, SERIES, figure_svg

_MAX_LINES = len(SERIES)


def _axes(figure: Figure, title: str, x: str, y: str) -> Axes:
    axes = figure.add_subplot()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return axes


def _lines(axes: Axes, curves: Mapping[str, Curve]) -> None:
    """Draw the first curve with its interval, the others thinner."""
    for i, (name, curve) in enumerate(list(curves.items())[:_MAX_LINES]):
        axes.plot(curve.x, curve.y, label=name, color=SERIES[i], linewidth=2 if i == 0 else 1.1, zorder=3 - (i > 0))
        if i == 0 and curve.low:
            axes.fill_between(curve.x, curve.low, curve.high, color=SERIES[0], alpha=0.15, linewidth=0)


def plot_precision_recall(curves: Mapping[str, Curve], chance: float) -> Markup:
    """Return precision over recall of each scorer; `chance` is the share of positive rows."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure, "Precision over recall", "recall", "precision")
        _lines(axes, curves)
        axes.axhline(chance, color=MUTED, linewidth=0.9, linestyle=":", label=f"chance, {chance:.2%}")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.legend(loc="upper right")

    return figure_svg(draw, "Precision over recall of the candidate and the baselines")


def plot_roc(curves: Mapping[str, Curve]) -> Markup:
    """Return recall over the false positive rate on a logarithmic scale: what matters lies far left."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure, "ROC", "false positive rate (logarithmic)", "recall")
        _lines(axes, curves)
        axes.plot(RATES, RATES, color=MUTED, linewidth=0.9, linestyle=":", label="chance")
        axes.set_xscale("log")
        axes.set_xlim(RATES[0], 1)
        axes.set_ylim(0, 1.02)
        axes.legend(loc="upper left")

    return figure_svg(draw, "Recall over the false positive rate of the candidate and the baselines")


def plot_calibration(bins: Sequence[CalibrationBin]) -> Markup:
    """Return the share of positives over the mean score of each bin."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure, "Calibration", "mean score of the bin", "share of positives")
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=":", label="perfect")
        x, y = [one.mean_score for one in bins], [one.share for one in bins]
        below = [one.share - one.share_low for one in bins]
        above = [one.share_high - one.share for one in bins]
        axes.errorbar(
            x, y, yerr=[below, above], color=SERIES[0], marker="o", markersize=4, capsize=2, label="candidate"
        )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.legend(loc="upper left")

    return figure_svg(draw, "Share of positive rows over the mean score")


def plot_scores(bins: ScoreBins, threshold: float | None) -> Markup:
    """Return the distribution of the scores of both labels, counts on a logarithmic scale."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure, "Scores", "score", "rows (logarithmic)")
        for counts, name, color in ((bins.negatives, "negative", SERIES[0]), (bins.positives, "positive", SERIES[1])):
            axes.stairs(counts, bins.edges, label=name, color=color, fill=True, alpha=0.35)
            axes.stairs(counts, bins.edges, color=color)
        if threshold is not None:
            axes.axvline(threshold, color=INK, linewidth=1, linestyle="--", label=f"threshold {threshold:.3g}")
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.7)
        axes.legend(loc="upper right")

    return figure_svg(draw, "Distribution of the scores by label")


def plot_cost(curve: CostCurve, alerts_per_day: float | None, budget: float) -> Markup:
    """Return the cost per 1,000 rows over the alerts a day."""

    def draw(figure: Figure) -> None:
        axes = _axes(figure, "Cost", "alerts a day (logarithmic)", "cost per 1,000 rows")
        axes.plot(curve.alerts_per_day, curve.cost_per_1000, color=SERIES[0], linewidth=2, label="candidate")
        axes.axhline(curve.nothing_alerted, color=MUTED, linewidth=0.9, linestyle=":", label="nothing alerted")
        axes.axvline(budget, color=SERIES[1], linewidth=1, linestyle="--", label=f"budget, {budget:g} a day")
        if alerts_per_day:
            label = f"threshold, {alerts_per_day:.3g} a day"
            axes.axvline(alerts_per_day, color=INK, linewidth=1, linestyle="--", label=label)
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.legend(loc="lower left")

    return figure_svg(draw, "Cost per 1,000 rows over the alerts a day")


def plot_ablation(groups: Sequence[Ablation], metric: str) -> Markup:
    """Return what the model loses without each group of features, with intervals."""
    shown = list(reversed(groups))

    def draw(figure: Figure) -> None:
        axes = _axes(figure, "What each group of features is worth", f"loss of {metric} without the group", "")
        gains = [one.gain.difference or 0.0 for one in shown]
        axes.barh([one.group for one in shown], gains, color=SERIES[0], alpha=0.75, height=0.6)
        for place, one in enumerate(shown):
            if one.gain.low is not None and one.gain.high is not None:
                axes.plot([one.gain.low, one.gain.high], [place, place], color=INK, linewidth=1.4)
        axes.axvline(0, color=MUTED, linewidth=0.9)
        axes.grid(visible=False, axis="y")

    return figure_svg(draw, "Loss without each group of features", height=1.3 + 0.32 * len(shown))
