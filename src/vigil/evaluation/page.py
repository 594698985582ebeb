"""A self-contained HTML page: one style sheet inside, figures as inline SVG, nothing loaded from anywhere."""

import math
from typing import Any

from vigil.errors import MissingExtra

try:
    import jinja2
except ModuleNotFoundError as error:
    raise MissingExtra("jinja2", "data") from error


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
