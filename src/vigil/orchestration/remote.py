"""Runs on a Kubeflow Pipelines server: versions named by content, runs, and one schedule of a name."""

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError, Unavailable
from vigil.orchestration.arguments import checked_arguments
from vigil.orchestration.cron import EVERY_SIX_HOURS, checked_cron
from vigil.orchestration.ir import CompiledPipeline, version_name
from vigil.orchestration.kubeflow import TIMEOUT, api_errors, connect, tolerating
from vigil.settings import Settings

OURS = "Made by `vigil pipeline schedule`, which replaces it."
"""In the description of our schedules: those of anyone else are never touched."""

_PAGE = 100


class RunState(StrEnum):
    """States of a run on the server."""

    UNKNOWN = "RUNTIME_STATE_UNSPECIFIED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    CANCELING = "CANCELING"
    CANCELED = "CANCELED"
    PAUSED = "PAUSED"


_FINAL = frozenset({RunState.SUCCEEDED, RunState.SKIPPED, RunState.FAILED, RunState.CANCELED})


@dataclass(frozen=True)
class Version:
    """A pipeline as it lies on the server."""

    pipeline_id: str
    version_id: str
    name: str
    """Made from the content: the same pipeline is uploaded once, however often it is submitted."""


@dataclass(frozen=True)
class RemoteRun:
    """A run on the server."""

    run_id: str
    name: str
    state: RunState
    url: str
    error: str = ""
    pipeline_id: str = ""

    @property
    def is_over(self) -> bool:
        """Whether the state will not change any more."""
        return self.state in _FINAL


@dataclass(frozen=True)
class Plan:
    """When a pipeline is to run. `name` says which schedule this one replaces."""

    name: str
    cron: str = EVERY_SIX_HOURS
    arguments: Mapping[str, Any] = field(default_factory=dict)
    experiment: str = "vigil"


@dataclass(frozen=True)
class Schedule:
    """A schedule on the server, and how many of its predecessors are gone."""

    schedule_id: str
    name: str
    cron: str
    version: Version
    replaced: int


class Kubeflow:
    """A Kubeflow Pipelines server. What it refuses is a ContractError with its reason, its silence Unavailable."""

    def __init__(self, settings: Settings, *, timeout: float = TIMEOUT) -> None:
        """Connect; an answer that takes longer than `timeout` seconds is silence."""
        self._client = connect(settings, timeout)
        self._namespace = settings.kfp_namespace
        self.address = str(settings.kfp_host).rstrip("/")

    def upload(self, pipeline: CompiledPipeline) -> Version:
        """Return the version of this very content, uploaded if the server has none yet."""
        name = version_name(pipeline)
        pipeline_id = self._pipeline_id(pipeline)
        version_id = self._find_version(pipeline_id, name) or self._upload_version(pipeline, pipeline_id, name)
        return Version(pipeline_id, version_id, name)

    def submit(
        self,
        pipeline: CompiledPipeline,
        arguments: Mapping[str, Any],
        *,
        name: str | None = None,
        experiment: str = "vigil",
        clock: Clock = system_clock,
    ) -> RemoteRun:
        """Start a run of the pipeline and return it as the server took it."""
        values = checked_arguments(pipeline, arguments)
        version = self.upload(pipeline)
        experiment_id = self._experiment_id(experiment)
        with api_errors(f"start a run of {pipeline.name}"):
            run = self._client.run_pipeline(
                experiment_id=experiment_id,
                job_name=name or f"{pipeline.name}-{clock():%Y%m%dT%H%M%SZ}",
                pipeline_id=version.pipeline_id,
                version_id=version.version_id,
                params=values,
            )
        return self._remote_run(run)

    def schedule(self, pipeline: CompiledPipeline, plan: Plan) -> Schedule:
        """Let the pipeline run by the plan, and remove our former schedules of that name.

        Missed times are not caught up, and two runs never overlap. The new schedule is made before the old ones go: a
        server that refuses it leaves everything as it was.
        """
        cron = checked_cron(plan.cron)
        values = checked_arguments(pipeline, plan.arguments)
        experiment_id = self._experiment_id(plan.experiment)
        former = self._own_schedules(plan.name)
        version = self.upload(pipeline)
        with api_errors(f"make schedule {plan.name}"):
            made = self._client.create_recurring_run(
                experiment_id=experiment_id,
                job_name=plan.name,
                description=OURS,
                cron_expression=cron,
                no_catchup=True,
                max_concurrency=1,
                pipeline_id=version.pipeline_id,
                version_id=version.version_id,
                params=values,
            )
        for schedule_id in former:
            what = f"remove the former schedule {plan.name} ({schedule_id}); the new one is active too: run this again"
            with api_errors(what), tolerating(404):
                self._client.delete_recurring_run(schedule_id)
        return Schedule(made.recurring_run_id, plan.name, cron, version, len(former))

    def run(self, run_id: str) -> RemoteRun:
        """Return how a run stands now."""
        with api_errors(f"read run {run_id}"):
            return self._remote_run(self._client.get_run(run_id))

    def runs_named(self, name: str) -> list[RemoteRun]:
        """Return the runs of that very name, the oldest first: the server takes two runs of one name."""
        with api_errors(f"look for run {name}"):
            pages = _pages(
                self._client.list_runs,
                "runs",
                filter=_named(name),
                namespace=self._namespace,
                sort_by="created_at asc",
            )
            return [self._remote_run(one) for one in pages if one.display_name == name]

    def active_runs(self, experiment: str, pipelines: Collection[str]) -> list[RemoteRun]:
        """Return the runs of those pipelines in an experiment that go on, among its last hundred."""
        wanted = {self._find_pipeline(name) for name in pipelines} - {None}
        experiment_id = self._experiment_id(experiment)
        with api_errors(f"list the runs of {experiment}"):
            answer = self._client.list_runs(
                experiment_id=experiment_id, namespace=self._namespace, page_size=_PAGE, sort_by="created_at desc"
            )
            found = [self._remote_run(one) for one in answer.runs or ()]
        return [one for one in found if not one.is_over and one.pipeline_id in wanted]

    def wait(
        self,
        run_id: str,
        *,
        watch: Callable[[RemoteRun], None] | None = None,
        pause: Callable[[], None] = lambda: time.sleep(5),
        patience: int = 12,
    ) -> RemoteRun:
        """Return the run once it is over, canceled ones included, for which kfp's own wait would sit on.

        A server that does not answer is asked again, `patience` times in a row.
        """
        silent = 0
        while True:
            try:
                run = self.run(run_id)
            except Unavailable:
                silent += 1
                if silent > patience:
                    raise
            else:
                silent = 0
                if watch:
                    watch(run)
                if run.is_over:
                    return run
            pause()

    def _pipeline_id(self, pipeline: CompiledPipeline) -> str:
        found = self._find_pipeline(pipeline.name)
        if found:
            return found
        with api_errors(f"upload pipeline {pipeline.name}"), tolerating(409):
            made = self._client.upload_pipeline(
                str(pipeline.path),
                pipeline_name=pipeline.name,
                description=pipeline.description,
                namespace=self._namespace,
            )
            return str(made.pipeline_id)
        return _present(self._find_pipeline(pipeline.name), f"pipeline {pipeline.name}")

    def _find_pipeline(self, name: str) -> str | None:
        # Not `get_pipeline_id`: it forgets the namespace, and so never sees the pipelines of one of many users.
        with api_errors("list pipelines"):
            pages = _pages(self._client.list_pipelines, "pipelines", filter=_named(name), namespace=self._namespace)
            return next((str(one.pipeline_id) for one in pages if one.display_name == name), None)

    def _find_version(self, pipeline_id: str, name: str) -> str | None:
        with api_errors("list versions"):
            pages = _pages(
                self._client.list_pipeline_versions, "pipeline_versions", pipeline_id=pipeline_id, filter=_named(name)
            )
            return next((str(one.pipeline_version_id) for one in pages if one.display_name == name), None)

    def _upload_version(self, pipeline: CompiledPipeline, pipeline_id: str, name: str) -> str:
        with api_errors(f"upload version {name}"), tolerating(409):
            made = self._client.upload_pipeline_version(
                str(pipeline.path), pipeline_version_name=name, pipeline_id=pipeline_id
            )
            return str(made.pipeline_version_id)
        return _present(self._find_version(pipeline_id, name), f"version {name}")

    def _experiment_id(self, name: str) -> str:
        with api_errors(f"open experiment {name}"):
            return str(self._client.create_experiment(name, namespace=self._namespace).experiment_id)

    def _own_schedules(self, name: str) -> list[str]:
        with api_errors("list schedules"):
            pages = _pages(
                self._client.list_recurring_runs, "recurring_runs", filter=_named(name), namespace=self._namespace
            )
            found = [one for one in pages if one.display_name == name]
        foreign = [one for one in found if OURS not in (one.description or "")]
        if foreign:
            raise ContractError(
                f"there is a schedule {name} that Vigil did not make ({foreign[0].recurring_run_id}): choose another"
                " name, or delete that one"
            )
        return [str(one.recurring_run_id) for one in found]

    def _remote_run(self, run: Any) -> RemoteRun:  # noqa: ANN401 - kfp has no types
        known = run.state in RunState.__members__.values()
        return RemoteRun(
            run_id=run.run_id,
            name=run.display_name,
            state=RunState(run.state) if known else RunState.UNKNOWN,
            url=f"{self.address}/#/runs/details/{run.run_id}",
            error=run.error.message if run.error and run.error.message else "",
            pipeline_id=str(reference.pipeline_id) if (reference := run.pipeline_version_reference) else "",
        )


def _named(name: str) -> str:
    """Return the server's filter for a display name; some servers ignore case, so callers compare again."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _pages(call: Callable[..., Any], items: str, **arguments: object) -> Iterator[Any]:
    token = ""
    while True:
        answer = call(page_token=token, page_size=_PAGE, **arguments)
        yield from getattr(answer, items) or ()
        token = answer.next_page_token or ""
        if not token:
            return


def _present(found: str | None, what: str) -> str:
    if found is None:
        raise ContractError(f"the server says that {what} exists, but does not list it: look at VIGIL_KFP_NAMESPACE")
    return found
