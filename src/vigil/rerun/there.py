"""Runs on a Kubeflow Pipelines server, which takes two runs of one name: so it is looked through before each start."""

import logging
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from vigil.contracts.keys import ModelName
from vigil.orchestration.filling import Purpose
from vigil.orchestration.kubeflow import TIMEOUT
from vigil.orchestration.remote import Kubeflow, RemoteRun, RunState
from vigil.registry.registry import Registry
from vigil.registry.stages import Entry
from vigil.registry.store import open_store
from vigil.rerun.launcher import Seen
from vigil.rerun.records import Outcome, Rerun, Stage
from vigil.rerun.settings import RerunSettings
from vigil.settings import Settings

_TRAINING = ("training", "retraining")
"""Pipelines that make a version of a model; no second one of them starts while one goes on."""

_STAGES = {
    RunState.SUCCEEDED: Stage.SUCCEEDED,
    RunState.FAILED: Stage.FAILED,
    RunState.CANCELED: Stage.CANCELED,
    RunState.SKIPPED: Stage.SKIPPED,
}

_SKEW = timedelta(minutes=5)
"""By how much the clocks of the cluster may differ."""

_log = logging.getLogger(__name__)


@dataclass
class There:
    """The launcher of a Kubeflow Pipelines server; it connects when it is first needed."""

    settings: Settings
    rerun_settings: RerunSettings
    timeout: float = TIMEOUT
    _server: Kubeflow | None = field(default=None, init=False)

    def find(self, rerun: Rerun) -> Seen | None:
        """Return the run of that name, by its id once that is known; of several the oldest."""
        if rerun.run_id:
            return self._seen(self._kubeflow.run(rerun.run_id))
        found = self._kubeflow.runs_named(str(rerun.run))
        if len(found) > 1:
            ids = [one.run_id for one in found]
            _log.warning("the server has several runs of one name", extra={"run": rerun.run, "ids": ids})
        return self._seen(found[0]) if found else None

    def others(self, rerun: Rerun) -> str | None:
        """Return a training run of the same model that goes on, started by a schedule or by a person."""
        active = self._kubeflow.active_runs(_experiment(rerun), _TRAINING)
        return next((one.name for one in active if one.name != rerun.run), None)

    def start(self, rerun: Rerun) -> Seen:
        """Start the run in the experiment of its model."""
        from vigil.rerun.arguments import prepare  # use cases take seconds to import

        server = self._kubeflow
        rules = self.rerun_settings.rules(rerun.asked.model)
        found = prepare(rerun, rules, Path(), server.address, Purpose.ONCE)
        run = server.submit(found.pipeline, found.arguments, name=str(rerun.run), experiment=_experiment(rerun))
        return self._seen(run)

    def outcome(self, rerun: Rerun) -> Outcome:
        """Return the version that was registered while the run went on: it is the only one of its model."""
        registry = Registry(open_store(self.settings.store_uri), public_key=self.settings.public_key)
        history = registry.history(ModelName(rerun.asked.model))
        entry = next((one for one in reversed(history) if _is_of(one, rerun)), None)
        if entry is None or entry.registration is None:
            return Outcome(reason="the gates rejected the candidate, or it is one that was registered before")
        return Outcome(version=entry.version, bundle=entry.registration.bundle)

    @property
    def _kubeflow(self) -> Kubeflow:
        if self._server is None:
            self._server = Kubeflow(self.settings, timeout=self.timeout)
        return self._server

    def _seen(self, run: RemoteRun) -> Seen:
        return Seen(run.run_id, run.url, _STAGES.get(run.state, Stage.RUNNING), run.error)


def _is_of(entry: Entry, rerun: Rerun) -> bool:
    return entry.action == "register" and rerun.started is not None and entry.at >= rerun.started - _SKEW


def _experiment(rerun: Rerun) -> str:
    """Return where the runs of a model are: `vigil pipeline submit` puts those of its use case there too."""
    return f"vigil/{rerun.asked.model}"
