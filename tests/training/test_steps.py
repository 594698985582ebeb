"""The steps in a row, as the components run them."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from kfp import dsl

from components.score_batch import score_batch
from components.validate_ingest import validate_ingest
from tests.training.samples import GATES, Task, use_case
from vigil.contracts.artifacts import read_manifest, verify
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.decisions.bundled import load_decider
from vigil.errors import ContractError
from vigil.evaluation.gates.evidence import read_evidence
from vigil.members.base import FRAUD
from vigil.registry.bundle import load_bundle
from vigil.registry.registry import Registry, open_tracking
from vigil.registry.stages import Stage
from vigil.registry.store import open_store
from vigil.training.gates import read_verdicts
from vigil.training.members import read_member
from vigil.training.model import read_model
from vigil.training.register import read_registration
from vigil.training.rows import divide, read_rows
from vigil.training.screened import read_screened

pytestmark = pytest.mark.xdist_group("training")

SHARED = ("events", "features", "feature_state", "training_rows")
MEMBERS = ("isolation_forest", "autoencoder", "boosted")


def strict(**changes: Any) -> dict[str, Any]:
    return {**GATES, **changes}


def test_every_step_leaves_a_sealed_folder_that_names_what_it_was_made_from(trained: Task) -> None:
    for name in (*SHARED, *MEMBERS, "model", "evaluation", "verdicts", "registered"):
        verify(trained.folder(name))
    model = read_manifest(trained.folder("model"))
    assert model.parents["features"] == read_manifest(trained.folder("features")).content_hash
    assert model.parents["boosted"] == read_manifest(trained.folder("boosted")).content_hash
    assert read_manifest(trained.folder("evaluation")).parents["model"] == model.content_hash


def test_raw_data_that_changed_since_the_run_was_started_are_refused(raw: Path, tmp_path: Path) -> None:
    task = Task(tmp_path, use_case())
    with pytest.raises(ContractError, match="the run was started for sha256:0"):
        validate_ingest.python_func(
            task.text, str(raw), "", "sha256:" + 64 * "0", "code", task.at("events"), task.at("page", dsl.HTML)
        )


def test_what_is_taken_for_normal_holds_no_known_fraud_and_no_incident(trained: Task) -> None:
    rows = read_rows(trained.use_case, trained.folder("features"))
    parts, found = divide(rows), read_screened(trained.folder("training_rows"))
    assert (parts.labels[found.normal] != FRAUD).all()
    assert set(found.normal) < set(parts.train)
    excluded = pq.read_table(trained.folder("training_rows") / "excluded" / "excluded.parquet")
    assert {"known_fraud", "incident_window"} <= set(excluded["rule"].to_pylist())
    assert found.canaries is not None
    assert len(found.canaries) >= 20


def test_the_same_inputs_give_the_same_bytes(trained: Task, raw: Path, tmp_path: Path) -> None:
    again = Task(tmp_path, trained.use_case)
    again.prepare(raw)
    again.fit()
    for name in (*SHARED[1:], *MEMBERS, "model"):
        one, other = read_manifest(trained.folder(name)), read_manifest(again.folder(name))
        assert one.files == other.files, name
        assert one.content_hash == other.content_hash, name


def test_a_retry_starts_with_an_empty_folder(trained: Task, tmp_path: Path) -> None:
    task = Task(tmp_path, trained.use_case)
    task.borrow(trained, *SHARED, *MEMBERS)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "left_by_a_crash").write_text("half")
    task.combine()
    assert read_manifest(task.folder("model")).content_hash == read_manifest(trained.folder("model")).content_hash


def test_boosted_trees_with_too_few_labels_abstain_and_the_others_go_on(trained: Task, tmp_path: Path) -> None:
    members = trained.use_case.members.model_dump(mode="json")
    members["boosted"] = {**members["boosted"], "least_frauds": 100_000}
    task = Task(tmp_path, use_case(members=members))
    task.borrow(trained, *SHARED, "isolation_forest", "autoencoder")
    from components.train_boosted import train_boosted

    train_boosted.python_func(task.text, "code", task.at("features"), task.at("training_rows"), task.at("boosted"))
    assert "too few to learn from" in str(read_member(task.folder("boosted")))
    task.combine()
    assert task.judge() in ("promote", "ship_member")
    report = (task.folder("evaluation") / "report.html").read_text()
    assert "boosted abstained" in report
    assert read_evidence(task.folder("evaluation") / "evidence.json").members == ("isolation_forest", "autoencoder")


def test_the_report_and_what_the_interface_shows_say_the_same(trained: Task) -> None:
    report = json.loads((trained.folder("evaluation") / "report.json").read_text())
    shown = trained.at("metrics").metadata
    assert shown["average_precision"] == report["candidate"]["metrics"]["average_precision"]["value"]
    curves = trained.at("curves").metadata
    points = curves["confidenceMetrics"]
    assert 2 <= len(points) <= 200
    assert all(math.isfinite(value) for point in points for value in point.values())
    rows = curves["confusionMatrix"]["rows"]
    assert sum(sum(row["row"]) for row in rows) == report["candidate"]["metrics"]["average_precision"]["rows"]
    page = (trained.folder("verdicts") / "report.html").read_text()
    for text in ("z_score", "rules", "isolation_forest", "known frauds are still found"):
        assert text in page


def test_what_was_registered_decides_as_it_was_measured(trained: Task) -> None:
    found = read_registration(trained.folder("registered"))
    bundle = load_bundle(found.bundle_uri, expected_hash=found.bundle)
    decider = load_decider(bundle)
    assert {"canaries.npz", "reference/rows.parquet"} <= set(bundle.names)
    scores = pq.read_table(trained.folder("evaluation") / "scores.parquet")
    rows = read_rows(trained.use_case, trained.folder("features"))
    matrix = rows.take(divide(rows).test)
    assert np.array_equal(decider.ensemble.score(matrix).score, scores["score"].to_numpy())
    assert bundle.metadata.parents["events"] == read_manifest(trained.folder("features")).parents["events"]
    assert bundle.metadata.parents["use_case"] == trained.use_case.content_hash
    verify(Path(found.feature_state_uri))


def test_a_registration_is_a_candidate_with_its_reason_and_its_run(trained: Task, home: Path) -> None:
    found = read_registration(trained.folder("registered"))
    state = Registry(open_store(str(home / "models"))).state(ModelName(found.model))
    version = state.version(ModelVersion(found.version))
    assert version.stage == Stage.CANDIDATE
    assert version.since.actor == "policy:gates"
    assert version.since.reason == read_verdicts(trained.folder("verdicts")).summary
    assert found.run is not None
    from mlflow import MlflowClient

    run = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}").get_run(found.run)
    assert run.data.metrics["average_precision"] == trained.at("metrics").metadata["average_precision"]
    assert run.data.tags["started_by"] == "person:tester"


def test_registering_twice_changes_nothing(trained: Task, home: Path, tmp_path: Path) -> None:
    task = Task(tmp_path, trained.use_case)
    task.borrow(trained, *SHARED, "model", "evaluation", "verdicts")
    again = task.register()
    assert again["version"] == trained.at("registered").metadata["version"]
    entries = Registry(open_store(str(home / "models"))).history(ModelName(trained.use_case.name))
    assert len({entry.registration.bundle for entry in entries if entry.registration}) == len(
        [entry for entry in entries if entry.action == "register"]
    )


def test_a_failing_gate_rejects_with_its_reason_and_nothing_is_registered(
    trained: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_STORE", str(tmp_path / "models"))
    quality = {"floors": [{"metric": "average_precision", "at_least": 0.999}], "minimum_rows": 1}
    task = Task(tmp_path / "run", use_case(gates=strict(quality=quality)))
    task.borrow(trained, *SHARED, "model")
    assert task.judge() == "reject"
    page = (tmp_path / "run" / "gates.md").read_text()
    assert "# reject: ensemble" in page
    assert "| quality | **failed** | average_precision" in page
    assert "quality" in str(task.at("verdicts").metadata["summary"])
    with pytest.raises(ContractError, match="nothing may be registered: ensemble failed quality"):
        task.register()
    assert not (tmp_path / "models").exists()


def test_an_ensemble_that_is_no_better_than_its_best_member_ships_the_member(
    trained: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_STORE", str(tmp_path / "models"))
    demanding = {"require": "better", "minimum_positives": 5, "minimum_confidence": 0.9}
    rows = read_rows(trained.use_case, trained.folder("features"))
    weights = read_manifest(trained.folder("model")).facts["weights"]
    task = Task(tmp_path / "run", use_case(gates=strict(ensemble=demanding)))
    task.borrow(trained, *SHARED, "model")
    decision = task.judge()
    evidence = read_evidence(task.folder("evaluation") / "evidence.json")
    best = max(weights, key=lambda name: evidence.against_members[name].reference_value or 0.0)
    if decision == "promote":
        pytest.fail(f"the ensemble is better than {best} beyond doubt: choose other samples for this test")
    assert decision == "ship_member"
    assert task.register()["shipped"] == best
    shipped = load_decider(load_bundle(str(task.at("registered").metadata["bundle_uri"])))
    candidate = read_model(task.folder("model"), rows.schema).candidates[best]
    assert [member.name for member in shipped.ensemble.members] == [best]
    assert shipped.thresholds == candidate.thresholds


def promote(store: Path, model: str, version: str) -> None:
    registry = Registry(open_store(str(store)))
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        expected = registry.state(ModelName(model)).production
        registry.promote(
            ModelName(model), ModelVersion(version), stage, expected_production=expected, actor="person:t", reason="ok"
        )


@pytest.fixture
def reigning(trained: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store in which the model of `trained` is in production."""
    monkeypatch.setenv("VIGIL_STORE", str(tmp_path / "models"))
    task = Task(tmp_path / "first", trained.use_case)
    task.borrow(trained, *SHARED, "model", "evaluation", "verdicts")
    found = task.register()
    promote(tmp_path / "models", str(found["model"]), str(found["version"]))
    return tmp_path / "models"


def test_the_model_in_production_is_compared_on_the_same_rows_and_lends_its_canaries(
    trained: Task, reigning: Path, tmp_path: Path
) -> None:
    task = Task(tmp_path / "second", trained.use_case)
    task.borrow(trained, *SHARED, "model")
    task.judge()
    evidence = read_evidence(task.folder("evaluation") / "evidence.json")
    assert evidence.production == "retail_pos version 1"
    found = evidence.against_production
    assert found is not None
    assert found.difference == 0.0, "the candidate is the same model"
    assert found.rows_hash == evidence.rows_hash


def test_a_model_in_production_with_other_features_gets_its_own_from_the_same_events(
    trained: Task, reigning: Path, raw: Path, tmp_path: Path
) -> None:
    task = Task(tmp_path / "second", use_case(features={"groups": ["protocol", "risk"]}))
    task.prepare(raw)
    task.fit()
    task.judge()
    evidence = read_evidence(task.folder("evaluation") / "evidence.json")
    first = read_evidence(trained.folder("evaluation") / "evidence.json")
    assert evidence.against_production is not None
    assert evidence.against_production.reference_value == first.metrics["average_precision"].value
    assert "another feature schema" in (task.folder("evaluation") / "report.html").read_text()


def test_what_came_since_the_model_in_production_is_held_against_what_that_learned_from(
    trained: Task, reigning: Path, raw: Path, tmp_path: Path
) -> None:
    """Somebody pays much and honestly, so that much looks honest."""
    plan = {"train_days": 60, "calibration_days": 3, "delay_days": 7, "test_days": 3}
    task = Task(tmp_path / "second", use_case(split={"plan": plan, "warm_up_days": 3}))
    until = divide(read_rows(trained.use_case, trained.folder("features"))).fold.train.end
    poison = pay_much(raw, tmp_path / "raw", until)
    task.prepare(tmp_path / "raw")
    rows, found = read_rows(task.use_case, task.folder("features")), read_screened(task.folder("training_rows"))
    train = divide(rows).train
    ids = rows.table["event_id"].to_numpy()
    left_out = set(ids[np.setdiff1d(train, found.supervised)])
    taught = poison & set(ids[train])
    assert found.report["supervised"]["skipped"] == {}
    print(f"{len(left_out & taught)} of {len(taught)} rows of poison left out, and {len(left_out - taught)} others")
    assert len(left_out & taught) > 0.8 * len(taught)
    assert len(left_out - taught) < 0.03 * len(train)
    excluded = pq.read_table(task.folder("training_rows") / "excluded" / "supervised.parquet")
    assert set(excluded["rule"].to_pylist()) == {"crowded"}
    assert excluded.num_rows == len(left_out)
    assert read_manifest(task.folder("training_rows")).parents["incumbent"].startswith("sha256:")


def pay_much(raw: Path, output: Path, since: int) -> set[str]:
    """Copy the raw events with 1,000 more in six of a hundred honest payments from `since` on; return their ids."""
    shutil.copytree(raw, output)
    frauds = pq.read_table(raw / "events" / "verdict.parquet", filters=[("is_fraud", "=", True)])["transaction_id"]
    table = pq.read_table(raw / "events" / "transaction.parquet")
    late = table["event_time"].cast(pa.int64()).to_numpy() >= since
    honest = late & ~pc.is_in(table["event_id"], value_set=frauds.combine_chunks()).to_numpy()
    chosen = honest & (np.random.default_rng(0).random(len(table)) < 0.06)
    amounts = table["amount"].to_numpy() + 1000.0 * chosen
    place = table.column_names.index("amount")
    changed = table.set_column(place, table.schema.field("amount"), pa.array(amounts))
    pq.write_table(changed, output / "events" / "transaction.parquet")
    return set(table["event_id"].to_numpy()[chosen])


def test_a_batch_is_decided_as_the_test_rows_were(trained: Task, reigning: Path, tmp_path: Path) -> None:
    out, metrics = dsl.Dataset(uri=str(tmp_path / "decisions")), dsl.Metrics(uri=str(tmp_path / "metrics"))
    whole = Task(tmp_path / "raw", trained.use_case)
    whole.borrow(trained, "events")
    score_batch.python_func(trained.text, "production", whole.at("events"), out, metrics)
    table = pq.read_table(tmp_path / "decisions" / "decisions.parquet")
    rows = read_rows(trained.use_case, trained.folder("features"))
    assert sorted(table["event_id"].to_pylist()) == sorted(rows.table["event_id"].to_pylist())
    acted = table.filter(np.array([action != "allow" for action in table["action"].to_pylist()]))
    assert all(json.loads(text)[0]["sentence"] for text in acted["reasons"].to_pylist())
    assert metrics.metadata["decisions"] == table.num_rows
    with pytest.raises(ContractError, match="has no version 9"):
        score_batch.python_func(trained.text, "9", whole.at("events"), out, metrics)


def test_mlflow_that_does_not_answer_stops_no_registration(
    trained: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_STORE", str(tmp_path / "models"))
    monkeypatch.setenv("VIGIL_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert open_tracking("http://127.0.0.1:9") is not None
    task = Task(tmp_path / "run", trained.use_case)
    task.borrow(trained, *SHARED, "model", "evaluation", "verdicts")
    assert task.register()["version"] == "1"
