"""The report as one self-contained HTML page."""

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from vigil.clock import SECOND
from vigil.ingest import plots
from vigil.ingest.report import IngestReport
from vigil.ingest.units import duration_text


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e15 or float(value).is_integer() else f"{value:.4g}"


def _moment(value: Any) -> str:  # noqa: ANN401 - a datetime or null
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _seconds(value: float) -> str:
    return duration_text(value * SECOND)


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"count": _count, "number": _number, "moment": _moment, "seconds": _seconds}
    text = (resources.files("vigil.ingest") / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


def write_page(report: IngestReport, path: Path) -> None:
    """Write the page; the same report gives the same bytes."""
    page = _template().render(
        report=report,
        events_by_day=plots.events_by_day(report),
        distributions=plots.distributions(report),
        silences=plots.silences(report),
        longest_silences=plots.longest_silences(report),
    )
    path.write_text(page, encoding="utf-8")
