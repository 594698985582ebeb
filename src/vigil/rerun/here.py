"""Runs on this machine, each in a process that outlives the sink: a sink that comes back finds it by its folder."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from vigil.errors import ContractError, Unavailable
from vigil.files import is_held, replace_file
from vigil.orchestration.filling import Purpose
from vigil.orchestration.local import open_run
from vigil.orchestration.runs import LocalRun
from vigil.orchestration.runs import Outcome as RunOutcome
from vigil.rerun.launcher import Seen
from vigil.rerun.records import Outcome, Rerun, Stage
from vigil.rerun.settings import RerunSettings
from vigil.runtime.commands import leave_behind
from vigil.settings import Settings, child_environment

REQUEST, STARTED, LOCK, LOG = "request.json", "started.json", "lock", "process.log"
"""Files in the folder of a rerun: what to run, where it runs, held while it runs, and what its process wrote."""

_PATIENCE = 60.0
"""Seconds until the process of a run has to say that it has begun."""

_STAGES = {RunOutcome.SUCCEEDED: Stage.SUCCEEDED, RunOutcome.FAILED: Stage.FAILED}


@dataclass
class Here:
    """The launcher of this machine. The folder of a run has its name, so there is one of each name."""

    settings: Settings
    rerun_settings: RerunSettings
    _children: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def find(self, rerun: Rerun) -> Seen | None:
        """Return the run if its process has begun it, or is about to."""
        for child in self._children:
            child.poll()
        folder = self._folder(rerun)
        if is_held(folder / LOCK):
            where = _run_folder(folder) if (folder / STARTED).exists() else folder
            return Seen(where.name, str(where), Stage.RUNNING)
        return _over(folder) if (folder / STARTED).exists() else None

    def others(self, _: Rerun) -> str | None:
        """Return None: what else runs here is in the journal, or was started by hand in a terminal."""
        return None

    def start(self, rerun: Rerun) -> Seen:
        """Start the process of the run, and return once it has begun or failed to.

        Two processes of one run do no harm: the second finds the lock held, or the run begun, and leaves.
        """
        from vigil.rerun.arguments import prepare  # use cases take seconds to import

        folder, runs = self._folder(rerun), self._runs
        found = prepare(rerun, self.rerun_settings.rules(rerun.asked.model), runs, str(runs), Purpose.HERE)
        folder.mkdir(parents=True, exist_ok=True)
        request = {"pipeline": str(found.pipeline.path.absolute()), "arguments": found.arguments, "runs": str(runs)}
        replace_file(folder / REQUEST, json.dumps(request).encode(), durable=False)
        command = [sys.executable, "-m", "vigil.rerun.child", str(folder)]
        environment = child_environment({"VIGIL_HOME": str(self.settings.home.absolute())})
        child = leave_behind(command, folder / LOG, environment)
        self._children.append(child)
        return self._begun(rerun, child)

    def outcome(self, rerun: Rerun) -> Outcome:
        """Return the version that the run registered, or what the gates said."""
        return _outcome(open_run(_run_folder(self._folder(rerun))))

    @property
    def _runs(self) -> Path:
        return self.settings.home.absolute() / "runs"

    def _folder(self, rerun: Rerun) -> Path:
        return self.settings.home.absolute() / "rerun" / "runs" / str(rerun.run)

    def _begun(self, rerun: Rerun, child: "subprocess.Popen[bytes]") -> Seen:
        deadline = time.monotonic() + _PATIENCE
        folder = self._folder(rerun)
        while time.monotonic() < deadline:
            code = child.poll()
            if (folder / STARTED).exists() and (seen := self.find(rerun)):
                return seen
            if code:
                raise ContractError(f"the process of {rerun.run} ended with {code}: {_last_line(folder / LOG)}")
            time.sleep(0.05)
        raise Unavailable(f"the process of {rerun.run} has not begun after {_PATIENCE:.0f} s")


def _over(folder: Path) -> Seen:
    """Return how a run ended whose process is gone."""
    run_folder = _run_folder(folder)
    if not run_folder.is_dir():
        return Seen(run_folder.name, str(run_folder), Stage.FAILED, "the folder of the run is gone")
    run = open_run(run_folder)
    stage = _STAGES.get(run.outcome, Stage.CANCELED)
    error = f"{run.failure.step or 'kfp'}: {run.failure.message}" if run.failure else ""
    if stage is Stage.CANCELED:
        error = "the run was stopped, or its process was killed"
    return Seen(run_folder.name, str(run_folder), stage, error)


def _run_folder(folder: Path) -> Path:
    return Path(json.loads((folder / STARTED).read_text(encoding="utf-8"))["folder"])


def _outcome(run: LocalRun) -> Outcome:
    """Return what the steps say of what they made: the same that Kubeflow shows of it."""
    made = {name: one.metadata for step in run.steps for name, one in step.outputs.artifacts.items()}
    if "registered" in made:
        found = made["registered"]
        return Outcome(version=found["version"], bundle=found["bundle"], feature_state=found["feature_state_uri"])
    if "verdicts" in made:
        return Outcome(reason=f"the gates rejected the candidate: {made['verdicts']['summary']}")
    return Outcome(reason="the pipeline registers nothing")


def _last_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "it wrote nothing")
