"""A run on this machine as people see it: a live table on a terminal, a line for each change elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vigil.orchestration.failures import last_line, log_of_step
from vigil.orchestration.runs import LocalRun, Outcome, StepRun, StepState

_LONGEST = 200
_STYLES = {
    StepState.WAITING: "dim",
    StepState.RUNNING: "bold cyan",
    StepState.DONE: "green",
    StepState.FAILED: "bold red",
    StepState.SKIPPED: "yellow",
}


@contextmanager
def run_view(console: Console) -> Iterator[Callable[[LocalRun], None]]:
    """Yield what shows each state of a run that it is called with."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda run: live.update(step_table(run), refresh=True)


def step_table(run: LocalRun) -> RenderableType:
    """Return the steps with state, time, and what the running one writes."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim", overflow="ellipsis", no_wrap=True)
    for one in run.steps:
        time = duration(one.seconds(run.ended)) if one.started else ""
        table.add_row(Text(one.step.title), Text(one.state, _STYLES[one.state]), time, Text(_remark(run, one)))
    return Group(Text(f"{run.pipeline.title}, {duration(run.seconds)}", "bold"), table)


def duration(seconds: float) -> str:
    """Return a duration as `0.4 s`, `12 s` or `3 min 05 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def skip_reason(run: LocalRun, one: StepRun) -> str:
    """Return why a step was skipped."""
    if run.outcome is Outcome.STOPPED:
        return "the run was stopped"
    if run.outcome is Outcome.FAILED:
        return "an earlier step failed"
    return "only if " + " and ".join(one.step.conditions) if one.step.conditions else "nothing to do"


def _remark(run: LocalRun, one: StepRun) -> str:
    if one.state is StepState.SKIPPED:
        return skip_reason(run, one)
    if one.state is StepState.RUNNING:
        attempt = f"attempt {one.attempts}: " if one.attempts > max(1, len(one.output_files)) else ""
        return attempt + last_line(log_of_step(run.folder, one.step.key))
    return ""


class _Lines:
    """Prints a line whenever a step starts or ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._seen: dict[str, tuple[StepState, datetime | None]] = {}

    def __call__(self, run: LocalRun) -> None:
        changed = [one for one in run.steps if self._is_news(one)]
        for one in sorted(changed, key=lambda one: one.ended or one.started or run.ended):
            self._console.print(Text(f"{one.step.title}: {self._words(run, one)}"), soft_wrap=True)

    def _is_news(self, one: StepRun) -> bool:
        now = (one.state, one.ended)
        before = self._seen.get(one.step.key, (StepState.WAITING, None))
        self._seen[one.step.key] = now
        return now != before

    def _words(self, run: LocalRun, one: StepRun) -> str:
        if one.state is StepState.SKIPPED:
            return f"skipped, {skip_reason(run, one)}"
        if one.ended:
            return f"{one.state} in {duration(one.seconds(run.ended))}"
        return str(one.state)


def print_end(run: LocalRun, console: Console) -> None:
    """Print how the run ended: what it decided and where its pages lie, or why it failed and what to do."""
    for one in run.steps:
        for name, value in one.outputs.parameters.items():
            label = one.step.title if name == "Output" else f"{one.step.title}, {name}"
            _print(console, f"{label}: {_short(value)}")
    for title, page in run.pages.items():
        _print(console, f"{title}: {page}")
    failure = run.failure
    if failure:
        for line in failure.lines:
            _print(console, f"  {line}", "dim")
        _print(console, f"{failure.step or 'kfp'} failed: {failure.message}", "bold red")
        _print(console, f"What to do: {failure.cure}")
    _print(console, f"{run.pipeline.name} {run.outcome} in {duration(run.seconds)}: {run.folder}")


def run_facts(run: LocalRun) -> dict[str, Any]:
    """Return the run as JSON values."""
    failure = run.failure
    return {
        "run": run.folder.name,
        "pipeline": run.pipeline.name,
        "outcome": run.outcome,
        "started": run.started.isoformat(),
        "seconds": round(run.seconds, 3),
        "folder": str(run.folder),
        "steps": {one.step.key: _step_facts(run, one) for one in run.steps},
        "pages": {title: str(page) for title, page in run.pages.items()},
        "failure": {"step": failure.step, "message": failure.message, "cure": failure.cure} if failure else None,
    }


def _step_facts(run: LocalRun, one: StepRun) -> dict[str, Any]:
    outputs = one.outputs
    return {
        "title": one.step.title,
        "state": one.state,
        "seconds": round(one.seconds(run.ended), 3),
        "attempts": one.attempts,
        "parameters": dict(outputs.parameters),
        "artifacts": {name: str(made.path) for name, made in outputs.artifacts.items()},
    }


def _print(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style), soft_wrap=True, highlight=False)


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
