"""The evidence as a picture: what was usual beside what is now, and the path of the evidence."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vigil.clock import DAY
from vigil.figures import MUTED, SERIES, figure_png
from vigil.monitoring.cause.findings import Findings, FloatArray

_COLUMNS = 3
_BINS = 30


def draw_evidence(findings: Findings, title: str, path: Path) -> Path:
    """Write a PNG of the strongest columns and of the path of the evidence: the same findings, the same bytes."""
    panels = _panels(findings)

    def draw(figure: Figure) -> None:
        figure.suptitle("\n".join(textwrap.wrap(title, 110)), x=0.01, ha="left", fontsize=10)
        grid = figure.add_gridspec(2, max(len(panels), 1), height_ratios=(3, 2))
        for k, (name, before, after) in enumerate(panels):
            _draw_column(figure.add_subplot(grid[0, k]), name, before, after)
        figure.axes[0].legend(loc="upper right")
        _draw_path(figure.add_subplot(grid[1, :]), findings)

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(figure_png(draw, width=3.4 * max(len(panels), 2), height=5.2))
    return path


def _panels(findings: Findings) -> list[tuple[str, FloatArray, FloatArray]]:
    """Return the strongest columns of which both sides are known, the score among them."""
    names = [s.subject for s in findings.signals if s.kind in ("input", "missingness") and s.subject in findings.names]
    chosen = list(dict.fromkeys(names))[: _COLUMNS - 1]
    panels = [(name, *findings.column(name)) for name in chosen]
    panels.append(("score", findings.score_before, findings.score_after))
    return [panel for panel in panels if len(panel[1]) and len(panel[2])]


def _draw_column(axes: Axes, name: str, before: FloatArray, after: FloatArray) -> None:
    """Draw both distributions over one scale: logarithmic where values are positive and span decades."""
    together = np.concatenate([before, after])
    low, high = np.quantile(together, [0.002, 0.998])
    is_wide = low > 0 and high > 50 * low
    edges = (np.geomspace(low, high, _BINS) if is_wide else np.linspace(low, max(high, low + 1e-9), _BINS)).tolist()
    for values, label, color in ((before, "reference", MUTED), (after, "since the change", SERIES[1])):
        weights = np.full(len(values), 1 / len(values))
        clipped = np.clip(values, low, high)
        axes.hist(clipped, bins=edges, weights=weights, histtype="step", linewidth=1.6, label=label, color=color)
    if is_wide:
        axes.set_xscale("log")
    axes.set_title(name)
    axes.set_ylabel("share of rows")


def _draw_path(axes: Axes, findings: Findings) -> None:
    moments = np.array([time for time, _ in findings.path], dtype="datetime64[us]")
    axes.step(moments, np.array([strength for _, strength in findings.path]), where="post", color=SERIES[0])
    axes.axvline(findings.first_seen / DAY, color=SERIES[4], linewidth=1.0, linestyle="--")
    axes.set_title("evidence against no change (log10, all that is watched together); dashed: the change began")
    axes.set_ylabel("log10")
