from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tests.evaluation.good_evidence import CONFIG, beaten_evidence, good_evidence, member_evidence
from tests.evaluation.samples import sample
from vigil.cli_evaluation import app
from vigil.errors import ContractError
from vigil.evaluation.gates.evaluate import GateReport
from vigil.evaluation.tables import baseline_scores, feature_matrix, labelled, read_table, scored_rows

RUNNER = CliRunner()


def _table() -> pa.Table:
    rows = sample(strength=3.0)
    return pa.table(
        {
            "score": rows.scores,
            "event_time": pa.array(rows.event_time, pa.timestamp("us", tz="UTC")),
            "label": pa.array(rows.labels.astype(np.int8)),
            "amount": rows.amounts,
            "entity_id": pa.array(rows.entities.astype(str)).dictionary_encode(),
            "site_id": pa.array(rows.segment("site")).dictionary_encode(),
            "baseline_rules": sample(4).scores,
            "count": np.random.default_rng(0).gamma(2.0, 30.0, len(rows)),
        }
    )


def _written(tmp_path: Path, table: pa.Table) -> str:
    path = tmp_path / "scores.parquet"
    pq.write_table(table, path)
    return str(path)


def _without_label(table: pa.Table, count: int) -> pa.Table:
    labels = table["label"].to_pylist()
    return table.set_column(2, "label", pa.array([None] * count + labels[count:], pa.int8()))


def test_the_rows_of_a_table_are_those_that_were_written() -> None:
    rows, table = sample(strength=3.0), _table()
    found = scored_rows(table, ["site_id"])
    assert found.rows_hash == rows.take(slice(None)).rows_hash
    assert (found.segment("site_id") == rows.segment("site")).all()
    assert (baseline_scores(table)["rules"] == sample(4).scores).all()


def test_integer_microseconds_are_a_time_as_well() -> None:
    table = _table()
    plain = table.set_column(1, "event_time", pa.array(sample().event_time))
    assert (scored_rows(plain).event_time == scored_rows(table).event_time).all()


def test_rows_without_a_label_are_counted_and_left_out() -> None:
    known, unlabelled = labelled(_without_label(_table(), 7))
    assert (known.num_rows, unlabelled) == (3193, 7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop_columns(["score"]), "no column 'score'"),
        (lambda table: _without_label(table, 7), "column label is empty in row 0 .7 empty in all"),
        (lambda table: table.set_column(1, "event_time", table["site_id"]), "column event_time is dictionary"),
    ],
)
def test_a_wrong_table_is_refused_with_the_column(change: object, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        scored_rows(change(_table()))


def test_a_feature_that_the_table_lacks_is_named() -> None:
    with pytest.raises(ContractError, match="no column 'risk', which is a feature"):
        feature_matrix(_table(), ["count", "risk"])


@pytest.mark.parametrize(("content", "message"), [(None, "does not exist"), (b"PAR1", "cannot be read as Parquet")])
def test_a_file_that_is_no_parquet_is_refused_by_name(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "scores.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ContractError, match=message):
        read_table(path)


def _judge(tmp_path: Path, evidence: str) -> tuple[int, str, GateReport]:
    (tmp_path / "evidence.json").write_text(evidence)
    (tmp_path / "gates.yaml").write_text(CONFIG)
    output = tmp_path / "out" / "verdicts.json"
    arguments = ["gates", str(tmp_path / "evidence.json"), "-c", str(tmp_path / "gates.yaml"), "-o", str(output)]
    result = RUNNER.invoke(app, arguments)
    return result.exit_code, result.output, GateReport.model_validate_json(output.read_bytes())


def test_the_gates_command_leaves_with_0_and_writes_the_verdicts(tmp_path: Path) -> None:
    status, text, report = _judge(tmp_path, good_evidence().model_dump_json())
    assert (status, report.decision) == (0, "promote")
    assert "promote: ensemble passed every gate" in text


def test_the_gates_command_leaves_with_1_where_the_candidate_is_rejected(tmp_path: Path) -> None:
    status, text, report = _judge(tmp_path, good_evidence(latency=None).model_dump_json())
    assert (status, report.decision) == (1, "reject")
    assert "ensemble failed latency" in text


def test_the_gates_command_leaves_with_0_where_a_member_ships(tmp_path: Path) -> None:
    evidence = beaten_evidence(alternatives={"boosted": member_evidence()})
    status, _, report = _judge(tmp_path, evidence.model_dump_json())
    assert (status, report.ship) == (0, "boosted")


@pytest.mark.parametrize(("text", "message"), [(None, "there is no evidence"), ('{"candidate": 1}', "candidate")])
def test_evidence_that_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "evidence.json"
    if text is not None:
        path.write_text(text)
    result = RUNNER.invoke(app, ["gates", str(path), "-c", "card_fraud"])
    assert isinstance(result.exception, ContractError)
    assert message in str(result.exception)


def test_the_diagnosis_can_be_run_on_files(tmp_path: Path) -> None:
    scores, reference = _written(tmp_path, _table()), str(tmp_path / "reference.parquet")
    pq.write_table(_table().select(["count", "label"]), reference)
    arguments = ["diagnose", scores, "--reference", reference, "--alerts-per-day", "10"]
    assert RUNNER.invoke(app, [*arguments, "-t", "0.88"]).output.endswith("all four are in order\n")
    result = RUNNER.invoke(app, [*arguments, "-t", "0.9999"])
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "begin with the threshold")


def test_the_report_can_be_written_from_a_file(tmp_path: Path) -> None:
    arguments = ["report", _written(tmp_path, _table()), "-t", "0.8", "--by", "site_id", "-o", str(tmp_path / "report")]
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "rules" in (tmp_path / "report" / "report.html").read_text()
    assert (tmp_path / "report" / "report.json").is_file()
