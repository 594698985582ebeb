"""A rollout on a terminal: where it stands, what was asked and observed, what each test says."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vigil.rollout.audit import Entry
from vigil.rollout.evidence import Judgement, Verdict
from vigil.rollout.spec import Spec
from vigil.rollout.status import STEPPING, Phase, Record, Status

_STYLES = {
    "succeeded": "green",
    "watching": "green",
    "halted": "yellow",
    "paused": "yellow",
    "failed": "red",
    "rolled_back": "red",
    "rolling_back": "red",
    "aborted": "red",
}
_VERDICTS = {
    Verdict.FINE: ("within its tolerance", "green"),
    Verdict.WORSE: ("worse", "red"),
    Verdict.INCONCLUSIVE: ("not yet known", "yellow"),
}
_BACK = (Phase.ROLLING_BACK, Phase.ROLLED_BACK, Phase.ABORTED)
_MARKS = {-1: ("✔", "green"), 0: ("▶", "bold"), 1: ("·", "dim")}


def overview(records: Sequence[Record]) -> Table:
    """Return a line for each rollout."""
    table = Table(box=None, pad_edge=False)
    for name in ("model", "candidate", "production", "standing", "traffic", "since", "what it does"):
        table.add_column(name, no_wrap=name != "what it does")
    for record in records:
        spec, status = record.spec, record.status
        table.add_row(
            spec.model,
            spec.candidate.version,
            spec.production.version,
            Text(status.standing, _STYLES.get(status.standing, "")),
            _share(status),
            f"{status.since:%Y-%m-%d %H:%M:%S}",
            status.message,
        )
    return table


def detail(record: Record, *, controlled: bool = True) -> RenderableType:
    """Return everything that there is to see of a rollout."""
    spec, status = record.spec, record.status
    title = f"{spec.model}: version {spec.candidate.version} over {spec.production.version}"
    parts: list[RenderableType] = [
        Text.assemble(("● ", _STYLES.get(status.standing, "")), (status.standing, "bold"), f"  {status.message}"),
        _steps(spec, status),
        Text(_numbers(spec, status), style="dim"),
    ]
    if status.judgement is not None and status.judgement.tests:
        parts += ["", _tests(status.judgement)]
    if record.requests:
        parts.append(Text(f"asked, not yet taken: {', '.join(one.action for one in record.requests)}", "yellow"))
    if not controlled and not status.settled:
        parts.append(Text("No controller is at work: `vigil rollout run` carries it on.", "yellow"))
    return Panel(Group(*parts), title=title, title_align="left")


def history(entries: Sequence[Entry]) -> Table:
    """Return the audit log."""
    table = Table(box=None, pad_edge=False)
    for name in ("", "time", "act", "version", "traffic", "by", "reason"):
        table.add_column(name, no_wrap=name != "reason")
    for entry in entries:
        act = entry.act
        table.add_row(
            str(act.number),
            f"{act.at:%Y-%m-%d %H:%M:%S}",
            str(act.kind),
            act.version,
            f"{act.percent} %",
            act.actor,
            act.reason,
        )
    return table


def _share(status: Status) -> str:
    seen = "?" if status.observed is None else f"{status.observed} %"
    return seen if status.observed == status.wish.percent else f"{status.wish.percent} % asked, {seen} seen"


def _steps(spec: Spec, status: Status) -> Text:
    """Return the steps in a line, with the present one marked."""
    line = Text()
    names = [("shadow" if step.percent == 0 else f"{step.percent} %") for step in spec.steps]
    here = _position(spec, status)
    for number, name in enumerate([*names, "production"]):
        mark, style = _MARKS[(number > here) - (number < here)]
        if number == here and status.phase in _BACK:
            mark, style = "✘", "red"
        line.append(f"{mark} {name}   ", style)
    return line


def _position(spec: Spec, status: Status) -> int:
    if status.phase is Phase.STARTING:
        return -1
    if status.phase is Phase.SUCCEEDED:
        return len(spec.steps) + 1
    return len(spec.steps) if status.phase in (Phase.PROMOTING, Phase.WATCHING) else status.step


def _numbers(spec: Spec, status: Status) -> str:
    counted = status.counted
    parts = [f"traffic {_share(status)}"]
    if 0 < status.wish.percent < 100 and counted.candidate + counted.production:
        parts.append(f"counted {counted.candidate:,} of {counted.candidate + counted.production:,} requests")
    if status.over:
        parts.append(f"clients have seen {status.served:,} answers of the candidate")
    if status.phase in STEPPING:
        step = spec.steps[status.step]
        parts.append(f"watched {status.watched:.0f} of {step.bake_seconds:.0f} s")
        parts.append(f"{status.samples:,} samples of at least {step.minimum_samples:,}")
    return "; ".join(parts)


def _tests(judgement: Judgement) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("test", "verdict", "evidence"):
        table.add_column(name, no_wrap=name != "evidence")
    for test in judgement.tests:
        words, style = _VERDICTS[test.verdict]
        table.add_row(test.name.replace("_", " "), Text(words, style), test.statement)
    return table
