from pathlib import Path

import pytest
import yaml

from tests.evaluation.good_evidence import CONFIG
from vigil.errors import ContractError
from vigil.evaluation.gates.config import GateConfig, default_names, load_gates, parse_gates
from vigil.evaluation.gates.evaluate import GATES


def _changed(**changes: object) -> str:
    return yaml.safe_dump({**yaml.safe_load(CONFIG), **changes})


@pytest.mark.parametrize("name", ["card_fraud", "retail_pos", "site_metrics"])
def test_the_configuration_of_each_use_case_is_valid(name: str) -> None:
    assert name in default_names()
    assert load_gates(name).name == name


def test_every_gate_has_its_part_of_the_configuration() -> None:
    assert set(GATES) == set(GateConfig.model_fields) - {"version", "name"}


def test_a_file_is_read_like_a_default(tmp_path: Path) -> None:
    path = tmp_path / "gates.yaml"
    path.write_text(CONFIG)
    assert load_gates(path).content_hash == parse_gates(CONFIG, "text").content_hash


def test_the_version_changes_with_every_number() -> None:
    changed = parse_gates(_changed(size={"maximum_bytes": 999}), "text")
    assert changed.content_hash != parse_gates(CONFIG, "text").content_hash


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (_changed(speed=1), "gates.yaml: speed: Extra inputs are not permitted"),
        (_changed(latency={"p99": 1}), r"latency.p99_ms: Field required"),
        (_changed(quality={"floors": [{"metric": "f1", "at_least": 1}]}), "unknown metric 'f1'"),
        (_changed(quality={"floors": [{"metric": "roc_auc"}]}), "roc_auc needs either at_least or at_most"),
        (_changed(quality={"floors": []}), "quality.floors"),
        (_changed(version=2), "version"),
        (CONFIG.replace("cost: ", "costs: "), "cost: Field required"),
        ("- a", "holds no gates"),
        ("{", "is not YAML"),
        (_changed(production={"margin": float("inf")}), "production.margin"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_field_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        parse_gates(text, "gates.yaml")


def test_a_configuration_that_is_not_there_is_refused_with_the_known_names() -> None:
    with pytest.raises(ContractError, match="no gates at absent: give a YAML file or one of card_fraud"):
        load_gates("absent")


def test_a_gate_left_out_is_an_error_and_null_is_not() -> None:
    assert parse_gates(_changed(fairness=None), "text").fairness is None
