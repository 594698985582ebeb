"""What people see of a run."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from vigil.orchestration.display import duration, print_end, run_facts, run_view, step_table
from vigil.orchestration.local import LocalRequest, run_local
from vigil.orchestration.runs import LocalRun

Run = Callable[..., LocalRun]


def printed(show: Callable[[Console], object]) -> str:
    console = Console(file=io.StringIO(), width=120)
    show(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.4, "12 s"),
        (59.6, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3600, "60 min 00 s"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_without_a_terminal_there_is_a_line_for_each_change(compiled: dict, tmp_path: object) -> None:
    console = Console(file=io.StringIO(), width=120)
    with run_view(console) as show:
        run_local(LocalRequest(compiled["small"], {"rows": 1}, tmp_path), watch=show)  # type: ignore[arg-type]
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert "\x1b" not in "".join(lines)
    assert [line for line in lines if line.startswith("Publish")] == [
        "Publish: skipped, only if Make rows == 'publish'"
    ]
    made = [line for line in lines if line.startswith("Make rows")]
    assert made[-1].startswith("Make rows: done in ")
    assert len(lines) == len(set(lines))


def test_a_terminal_shows_a_live_table(compiled: dict, tmp_path: object) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with run_view(console) as show:
        run_local(LocalRequest(compiled["small"], {}, tmp_path), watch=show)  # type: ignore[arg-type]
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "A small pipeline" in text
    assert "waiting" in text
    assert "running" in text
    assert "\x1b[" in text


def test_the_end_of_a_run_says_what_it_decided_and_where_its_pages_are(run: Run) -> None:
    done = run("loop", sizes=[3])
    text = printed(lambda console: print_end(done, console))
    page = done.folder / "pages" / "measure-report.html"
    assert page.read_text() == "3"
    assert f"measure, report: {page}" in text
    assert "measure: 3" in text
    assert f"loop succeeded in {duration(done.seconds)}: {done.folder}" in text


def test_the_end_of_a_failed_run_says_why_and_what_to_do(run: Run) -> None:
    done = run("bad", how="value")
    text = printed(lambda console: print_end(done, console))
    assert "Misbehave failed: 17 is no date" in text
    assert "What to do: all that was written is in" in text
    assert "KFP Executor" not in text
    table = printed(lambda console: console.print(step_table(done)))
    assert "an earlier step failed" in table
    facts = run_facts(done)
    assert facts["outcome"] == "failed"
    assert facts["steps"]["misbehave"]["state"] == "failed"
    assert facts["failure"]["message"] == "17 is no date"
