"""What a local run did: the state of each step, what it made, and how the run ended."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from vigil.errors import ContractError
from vigil.orchestration.ir import CompiledPipeline, Step

PAGES = "pages"
_SUFFIXES = {"system.HTML": ".html", "system.Markdown": ".md"}


class StepState(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


class Outcome(StrEnum):
    """How a run stands or ended."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class ArtifactMade:
    """An artifact that a step made."""

    kind: str
    """Its type in kfp, such as system.HTML."""
    path: Path
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class Outputs:
    """What one execution of a step gave back."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    artifacts: Mapping[str, ArtifactMade] = field(default_factory=dict)


@dataclass(frozen=True)
class StepRun:
    """A step of a run. One within a loop has an execution, and so outputs, for each item."""

    step: Step
    state: StepState
    started: datetime | None = None
    ended: datetime | None = None
    attempts: int = 0
    code: int | None = None
    output_files: tuple[Path, ...] = ()

    def seconds(self, now: datetime) -> float:
        """Return how long it took, or has taken at `now`; zero before its start."""
        return ((self.ended or now) - self.started).total_seconds() if self.started else 0.0

    @property
    def outputs(self) -> Outputs:
        """What it gave back; of a step within a loop, the outputs of the last item."""
        return _read_outputs(self.output_files[-1], self.step.artifact_kinds) if self.output_files else Outputs()


@dataclass(frozen=True)
class Failure:
    """Why a run failed, in words, and what to do about it."""

    step: str | None
    """Title of the step; None if kfp itself failed."""
    message: str
    lines: tuple[str, ...]
    """The last lines that the step wrote, without those of kfp."""
    cure: str
    log: Path


@dataclass(frozen=True)
class LocalRun:
    """A run on this machine."""

    pipeline: CompiledPipeline
    folder: Path
    arguments: Mapping[str, Any]
    outcome: Outcome
    started: datetime
    ended: datetime
    steps: tuple[StepRun, ...]
    failure: Failure | None = None

    @property
    def seconds(self) -> float:
        """How long the run took or has taken."""
        return (self.ended - self.started).total_seconds()

    @property
    def pages(self) -> dict[str, Path]:
        """The pages that the steps made, by step and name, under names that a browser opens."""
        return {
            f"{one.step.title}, {name}": self.folder / PAGES / f"{one.step.key}-{name}{_SUFFIXES[made.kind]}"
            for one in self.steps
            for name, made in one.outputs.artifacts.items()
            if made.kind in _SUFFIXES and made.path.exists()
        }

    def step(self, key: str) -> StepRun:
        """Return the step of that key, such as `apply-gates`."""
        for one in self.steps:
            if one.step.key == key:
                return one
        raise ContractError(
            f"pipeline {self.pipeline.name} has no step {key}: it has {', '.join(one.step.key for one in self.steps)}"
        )


def link_pages(run: LocalRun) -> None:
    """Give each page of the run a name in the folder PAGES: kfp stores them without a suffix."""
    made = {f"{one.step.key}-{name}": artifact for one in run.steps for name, artifact in one.outputs.artifacts.items()}
    for page in run.pages.values():
        page.parent.mkdir(exist_ok=True)
        page.unlink(missing_ok=True)
        page.symlink_to(made[page.stem].path)


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events noted so far; a line that is still being written is left for the next time."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def step_runs(steps: Iterable[Step], events: Sequence[Mapping[str, Any]], *, ended: bool) -> tuple[StepRun, ...]:
    """Return where each step stands after the events; once the run has `ended`, what never started was skipped."""
    by_step: dict[str, list[Mapping[str, Any]]] = {}
    for event in events:
        by_step.setdefault(event["step"], []).append(event)
    unstarted = StepState.SKIPPED if ended else StepState.WAITING
    return tuple(
        _step_run(step, by_step[step.key], ended) if step.key in by_step else StepRun(step, unstarted) for step in steps
    )


def _step_run(step: Step, events: Sequence[Mapping[str, Any]], run_ended: bool) -> StepRun:
    last = {event["output"]: event for event in events}
    codes = [event.get("code") for event in last.values()]
    if None in codes:
        state = StepState.FAILED if run_ended else StepState.RUNNING
    else:
        state = StepState.FAILED if any(codes) else StepState.DONE
    starts = [event for event in events if event["event"] == "started"]
    return StepRun(
        step=step,
        state=state,
        started=datetime.fromisoformat(starts[0]["at"]),
        ended=None if state is StepState.RUNNING else datetime.fromisoformat(events[-1]["at"]),
        attempts=len(starts),
        code=next((code for code in codes if code), None),
        output_files=tuple(Path(output) for output in last if output),
    )


def _read_outputs(path: Path, kinds: Mapping[str, str]) -> Outputs:
    """Return what kfp's executor wrote at the end of a step; nothing if it wrote nothing."""
    if not path.exists():
        return Outputs()
    document = json.loads(path.read_text(encoding="utf-8"))
    made = {name: entry["artifacts"][0] for name, entry in document.get("artifacts", {}).items()}
    return Outputs(
        parameters=document.get("parameterValues", {}),
        artifacts={
            name: ArtifactMade(kinds.get(name, "system.Artifact"), Path(one["uri"]), one.get("metadata", {}))
            for name, one in made.items()
        },
    )
