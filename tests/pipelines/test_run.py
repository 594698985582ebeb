"""The compiled pipelines from raw data to a registration, or to the reason why there is none, by real kfp."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.training.samples import GATES, use_case
from vigil.contracts.keys import ModelName
from vigil.decisions.bundled import load_decider
from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.local import LocalRequest, run_local
from vigil.orchestration.runs import LocalRun, Outcome
from vigil.registry.bundle import load_bundle
from vigil.registry.registry import Registry
from vigil.registry.store import open_store
from vigil.training.parameters import run_parameters
from vigil.training.register import read_registration
from vigil.usecase import UseCase, shipped

pytestmark = pytest.mark.xdist_group("pipeline-runs")

Run = Callable[..., LocalRun]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a pipeline of the checkout with a home of its own."""
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path / "home"))

    def start(name: str, wanted: UseCase, raw: Path, **arguments: Any) -> LocalRun:
        pipeline = load_pipeline(shipped("compiled") / f"{name}.yaml")
        given = {**run_parameters(wanted, str(raw)), **arguments}
        return run_local(LocalRequest(pipeline, given, tmp_path / "runs"))

    return start


def states(done: LocalRun) -> dict[str, str]:
    return {one.step.key: one.state.value for one in done.steps}


def explained(done: LocalRun) -> str:
    return "" if done.failure is None else f"{done.failure.step}: {done.failure.message}\n{done.failure.lines}"


def test_raw_data_become_a_registered_model_that_scores_a_batch(run: Run, raw: Path, tmp_path: Path) -> None:
    done = run(
        "retraining",
        use_case(),
        raw,
        cause="drift of amount",
        event_id="e1",
        started_by="policy:drift",
        deploy_target="none",
    )
    assert done.outcome is Outcome.SUCCEEDED, explained(done)
    found = states(done)
    assert (found["register-model"], found["deploy-candidate"], found["notify"]) == ("done", "skipped", "done")
    assert done.step("apply-gates").outputs.parameters["Output"] == "promote"
    registered = done.step("register-model").outputs.artifacts["registered"]
    version = read_registration(registered.path)
    assert registered.metadata["version"] == version.version == "1"
    assert load_decider(load_bundle(version.bundle_uri, expected_hash=version.bundle)).ensemble.members
    kinds = {name: one.kind for name, one in done.step("evaluate").outputs.artifacts.items()}
    assert kinds["metrics"] == "system.Metrics"
    assert kinds["curves"] == "system.ClassificationMetrics"
    assert done.step("apply-gates").outputs.artifacts["page"].path.read_text().startswith("# promote: ensemble")
    scored = run("batch_scoring", use_case(), raw, version="1")
    assert scored.outcome is Outcome.SUCCEEDED, explained(scored)
    decisions = pq.read_table(scored.step("score-batch").outputs.artifacts["decisions"].path / "decisions.parquet")
    assert decisions.num_rows == pq.read_metadata(raw / "events" / "transaction.parquet").num_rows


def test_a_failing_gate_leaves_no_registration_and_no_deployment_and_the_run_says_why(
    run: Run, raw: Path, tmp_path: Path
) -> None:
    quality = {"floors": [{"metric": "average_precision", "at_least": 0.999}], "minimum_rows": 1}
    done = run("training", use_case(gates={**GATES, "quality": quality}), raw)
    assert done.outcome is Outcome.SUCCEEDED, explained(done)
    found = states(done)
    assert (found["register-model"], found["deploy-candidate"], found["notify"]) == ("skipped", "skipped", "done")
    judged = done.step("apply-gates").outputs
    assert judged.parameters["Output"] == "reject"
    assert "average_precision" in judged.artifacts["verdicts"].metadata["failed_quality"]
    assert "# reject: ensemble" in judged.artifacts["page"].path.read_text()
    assert Registry(open_store(str(tmp_path / "home" / "models"))).state(ModelName("retail_pos")).versions == {}


def test_raw_data_of_another_version_fail_the_run_before_anything_is_made(run: Run, raw: Path) -> None:
    done = run("training", use_case(), raw, data_version="sha256:" + 64 * "0")
    assert done.outcome is Outcome.FAILED
    assert done.failure is not None
    assert "the run was started for sha256:0" in done.failure.message
    assert states(done)["build-features"] == "skipped"
    assert states(done)["notify"] == "done"
