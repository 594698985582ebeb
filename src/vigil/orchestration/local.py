"""A run of a compiled pipeline on this machine: the components of the cluster, in processes of their own."""

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError, MissingExtra
from vigil.orchestration import child
from vigil.orchestration.arguments import checked_arguments
from vigil.orchestration.failures import explain
from vigil.orchestration.ir import CompiledPipeline, load_pipeline
from vigil.orchestration.localcopy import local_spec
from vigil.orchestration.process import run_process
from vigil.orchestration.runs import LocalRun, Outcome, link_pages, read_events, step_runs
from vigil.orchestration.step import EVENTS, LOGS

_RECORD = "run.json"
_POLL = 0.1

Watch = Callable[[LocalRun], None]
"""Called about ten times a second while a run goes on, and once at its end."""


@dataclass(frozen=True)
class LocalRequest:
    """What to run, and where its folder shall lie."""

    pipeline: CompiledPipeline
    arguments: Mapping[str, Any] = field(default_factory=dict)
    runs: Path = Path(".vigil/runs")
    retries: int = 0
    """How often a step that failed is tried again, a second later, whatever the pipeline says for a cluster."""


def run_local(request: LocalRequest, *, watch: Watch | None = None, clock: Clock = system_clock) -> LocalRun:
    """Run the pipeline to its end and return what it did. A run that fails is returned too, with its failure.

    Ctrl-C and SIGTERM end every process of the run before KeyboardInterrupt or SystemExit goes on to the caller.
    """
    if find_spec("kfp") is None:
        raise MissingExtra("kfp", "pipelines")
    arguments = checked_arguments(request.pipeline, request.arguments)
    run = _prepared(request, arguments, clock())
    _note(run)
    try:
        with run_process(run.folder) as process:
            while process.poll() is None:
                if watch:
                    watch(_at(run, clock(), Outcome.RUNNING))
                time.sleep(_POLL)
    except BaseException:
        _note(_at(run, clock(), Outcome.STOPPED))
        raise
    run = _finished(run, clock(), process.returncode)
    link_pages(run)
    _note(run)
    if watch:
        watch(run)
    return run


def open_run(folder: Path, clock: Clock = system_clock) -> LocalRun:
    """Return a run of the past, or one that goes on in another process, from its folder."""
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        arguments = json.loads((folder / child.ARGUMENTS).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ContractError(f"{folder} is no folder of a run: {error}") from error
    outcome = Outcome(record["outcome"])
    if outcome is Outcome.RUNNING and not _is_alive(record["pid"]):
        outcome = Outcome.STOPPED
    started, ended = (datetime.fromisoformat(record[name]) for name in ("started", "ended"))
    ended = clock() if outcome is Outcome.RUNNING else ended
    run = LocalRun(load_pipeline(folder / child.PIPELINE), folder, arguments, outcome, started, ended, ())
    run = _at(run, ended, outcome)
    return replace(run, failure=explain(run, 1, _kfp_error(folder))) if outcome is Outcome.FAILED else run


def _prepared(request: LocalRequest, arguments: Mapping[str, Any], now: datetime) -> LocalRun:
    """Return the run as it is before its start; everything that it needs lies in its folder."""
    name = f"{request.pipeline.name}-{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
    folder = request.runs.absolute() / name
    spec = local_spec(request.pipeline, folder, request.retries)
    (folder / LOGS).mkdir(parents=True)
    (folder / child.PIPELINE).write_text(yaml.safe_dump(spec, sort_keys=True), encoding="utf-8")
    (folder / child.ARGUMENTS).write_text(json.dumps(dict(arguments)), encoding="utf-8")
    return LocalRun(request.pipeline, folder, arguments, Outcome.RUNNING, now, now, ())


def _at(run: LocalRun, now: datetime, outcome: Outcome) -> LocalRun:
    events = read_events(run.folder / EVENTS)
    steps = step_runs(run.pipeline.steps, events, ended=outcome is not Outcome.RUNNING)
    return replace(run, outcome=outcome, ended=now, steps=steps)


def _finished(run: LocalRun, now: datetime, code: int) -> LocalRun:
    if code == 0:
        return _at(run, now, Outcome.SUCCEEDED)
    failed = _at(run, now, Outcome.FAILED)
    return replace(failed, failure=explain(failed, code, _kfp_error(run.folder)))


def _kfp_error(folder: Path) -> str | None:
    path = folder / child.RESULT
    return json.loads(path.read_text(encoding="utf-8")).get("error") if path.exists() else None


def _note(run: LocalRun) -> None:
    """Keep in the folder how the run stands, for whoever opens it later."""
    record = {
        "pipeline": run.pipeline.name,
        "outcome": run.outcome,
        "started": run.started.isoformat(),
        "ended": run.ended.isoformat(),
        "pid": os.getpid(),
    }
    (run.folder / _RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
