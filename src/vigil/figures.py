"""Figures of reports as SVG inside the page: one style, and the same input gives the same bytes."""

import io
import re
from collections.abc import Callable
from typing import Any

from vigil.errors import MissingExtra

try:
    import matplotlib as mpl
    from cycler import cycler
    from markupsafe import Markup, escape
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise MissingExtra("matplotlib", "data") from error

INK, MUTED, GRID = "#1f2933", "#52606d", "#e4e7eb"
SERIES = ("#1d4ed8", "#d97706", "#0f766e", "#9333ea", "#be123c", "#4d7c0f")
"""Colors of the lines of a figure, in order: distinct for the color-blind and dark enough on white."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same widths on every machine
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#9aa5b1",
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "date.converter": "concise",
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=SERIES),
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
}


_NO_METADATA: Any = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def figure_svg(draw: Callable[[Figure], None], label: str, width: float = 5.4, height: float = 3.5) -> Markup:
    """Return what `draw` puts into a figure of that many inches, as an SVG element: the same input, the same bytes.

    `label` is read out by screen readers.
    """
    stream = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": label}
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        figure.savefig(stream, format="svg", metadata=_NO_METADATA)
    text = stream.getvalue()
    svg = re.sub(r'<g id="[^"]*">', "<g>", text[text.index("<svg") :])
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^<svg ([^>]*?)width="[^"]*" height="[^"]*"|^<svg ', _opening(label), svg, count=1)
    return Markup(svg)  # noqa: S704 - made by matplotlib, which escapes the texts


def figure_png(draw: Callable[[Figure], None], width: float = 5.4, height: float = 3.5) -> bytes:
    """Return what `draw` puts into a figure of that many inches, as a PNG: the same input, the same bytes."""
    stream = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=110)
        draw(figure)
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _opening(label: str) -> Callable[[re.Match[str]], str]:
    return lambda match: f'<svg role="img" aria-label="{escape(label)}" {match.group(1) or ""}'
