"""Why a local run failed, in one sentence and the lines that matter, and what to do about it."""

import re
import signal
from collections.abc import Sequence
from pathlib import Path

from vigil.orchestration.process import KFP_LOG
from vigil.orchestration.runs import Failure, LocalRun, StepState
from vigil.orchestration.step import LOGS

_SHOWN_LINES = 15
_OWN = "vigil.errors."
_TRACEBACK = "Traceback (most recent call last):"
_ERROR = re.compile(r"(?P<kind>[A-Za-z_][\w.]*): (?P<text>.+)")
_NOISE = re.compile(r"\[KFP Executor .*|-{20,}")
_INPUT_FOLLOWS = "Got executor_input:"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_FRAME_OF_KFP = re.compile(r'  File "(?:[^"]*/kfp/dsl/[^"]*|<frozen runpy>)"')

_CURES = {
    "vigil.errors.ContractError": "correct that and run the same command again",
    "vigil.errors.MissingExtra": "install it and run the same command again",
    "vigil.errors.Unavailable": "run the same command again when it answers",
    "vigil.errors.Bug": "this is a fault of Vigil: report it with the log",
    "MemoryError": "the machine ran out of memory: give it less data or more memory",
}


def log_of_step(folder: Path, key: str) -> Path:
    """Return the file that holds all that a step wrote."""
    return folder / LOGS / f"{key}.log"


def explain(run: LocalRun, code: int, kfp_error: str | None) -> Failure:
    """Return why the run failed: because of the first step that failed, or because of kfp itself."""
    failed = [one for one in run.steps if one.state is StepState.FAILED]
    if not failed:
        log = run.folder / KFP_LOG
        lines = without_noise(tail(log))[-_SHOWN_LINES:]
        return Failure(
            None, kfp_error or f"kfp ended with {_in_words(code)}", tuple(lines), _cure(None, code, log), log
        )
    first = min(failed, key=lambda one: one.started or run.ended)
    log = log_of_step(run.folder, first.step.key)
    lines = without_noise(tail(log))
    kind, text = last_error(lines)
    message = text if kind else f"it ended with {_in_words(first.code)}"
    return Failure(first.step.title, message, _shown(kind, lines), _cure(kind, first.code, log), log)


def tail(path: Path, size: int = 1 << 16) -> list[str]:
    """Return the last lines of a file, `size` bytes at most; none if there is no file."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - size))
        return file.read().decode("utf-8", errors="replace").splitlines()


def last_line(path: Path) -> str:
    """Return the last line that the step itself has written so far."""
    return next(iter(reversed(without_noise(tail(path, 1 << 12)))), "").strip()


def without_noise(lines: Sequence[str]) -> list[str]:
    """Return the lines without those that kfp wrote, without colours, and tracebacks without kfp's frames."""
    kept: list[str] = []
    block = ""
    for raw in lines:
        line = _COLOURS.sub("", raw)
        if line.startswith("  File "):
            block = "frame" if _FRAME_OF_KFP.match(line) else ""
        elif block == "frame" and not line.startswith("    "):
            block = ""
        if not block and line.strip() and not _NOISE.match(line):
            kept.append(line.rstrip())
        if line.endswith(_INPUT_FOLLOWS) and _NOISE.match(line):
            block = "input"
        elif block == "input" and line == "}":
            block = ""
    return kept


def last_error(lines: Sequence[str]) -> tuple[str | None, str]:
    """Return type and text of the exception that ended a step; no type if the last traceback names none."""
    if _TRACEBACK not in lines:
        return None, ""
    start = len(lines) - 1 - list(reversed(lines)).index(_TRACEBACK)
    for number, line in enumerate(lines[start:], start):
        if not line.startswith(" ") and (found := _ERROR.fullmatch(line)):
            rest = lines[number + 1 :] if found["kind"].startswith(_OWN) else ()
            return found["kind"], " ".join((found["text"], *rest))
    return None, ""


def _shown(kind: str | None, lines: Sequence[str]) -> tuple[str, ...]:
    """Return the lines to show. An error that Vigil raised on purpose says all in its one sentence."""
    if kind and kind.startswith(_OWN) and kind != "vigil.errors.Bug":
        return ()
    return tuple(lines[-_SHOWN_LINES:])


def _cure(kind: str | None, code: int | None, log: Path) -> str:
    if kind in _CURES:
        return _CURES[kind]
    if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return "most often the machine ran out of memory: give it less data or more memory"
    return f"all that was written is in {log}"


def _in_words(code: int | None) -> str:
    """Return the exit status in words; a shell reports a signal as 128 and its number."""
    if code is None:
        return "no exit status: it was killed together with the run"
    number = -code if code < 0 else code - 128
    if number in signal.valid_signals():
        return f"signal {signal.Signals(number).name}"
    return f"exit status {code}"
