"""A self-contained HTML page: one style sheet inside, figures as inline SVG, nothing loaded from anywhere."""

import io
import math
import re
from collections.abc import Callable
from typing import Any

from vigil.errors import MissingExtra

try:
    import jinja2
    import matplotlib as mpl
    from cycler import cycler
    from markupsafe import Markup, escape
    from matplotlib.figure import Figure
except ModuleNotFoundError as error:
    raise MissingExtra("matplotlib or jinja2", "data") from error

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


def _opening(label: str) -> Callable[[re.Match[str]], str]:
    return lambda match: f'<svg role="img" aria-label="{escape(label)}" {match.group(1) or ""}'


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for a table, with so many digits unless it is large or tiny; none as n/a."""
    if value is None or not math.isfinite(value):
        return "n/a"
    size = abs(value)
    if isinstance(value, int) or value == 0 or size >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    if size < 0.01:
        return f"{value:.2g}"
    return f"{value:.{digits - len(str(int(size))) if size >= 1 else digits}f}"


def percent(value: float | None) -> str:
    """Return a share as a percentage for a table; none as n/a."""
    return "n/a" if value is None or not math.isfinite(value) else f"{number(100 * value)} %"


def render(template: str, context: dict[str, Any]) -> str:
    """Return the page of a template of this folder; an undefined name is an error, every text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vigil.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(number=number, percent=percent)
    return environment.get_template(template).render(context)
