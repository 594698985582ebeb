from pathlib import Path

import pytest

from tests.training.samples import OVERRIDES, use_case
from vigil.errors import ContractError
from vigil.usecase import load_use_case, parse_use_case, shipped, use_case_names


def test_every_use_case_that_comes_with_vigil_can_be_read_back_from_its_text() -> None:
    assert use_case_names() == ["card_fraud", "retail_pos"]
    for name in use_case_names():
        found = load_use_case(name)
        assert found.name == name
        assert parse_use_case(found.text) == found
        assert len(found.text) < 8192, "a pipeline's parameter has to stay small"


def test_the_hash_follows_every_value_and_nothing_else() -> None:
    found = load_use_case("retail_pos")
    assert parse_use_case(found.text).content_hash == found.content_hash
    other = found.model_copy(update={"description": "another"})
    assert other.content_hash != found.content_hash


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": "red"}, "colour: Extra inputs"),
        ({"members": {"boosted": {"rounds": 0}}}, "member boosted, rounds: .*greater than or equal to 1"),
        ({"members": {"forest": {}}}, "members.forest: Extra inputs"),
        ({"baselines": [{"kind": "oracle"}]}, "no member of kind 'oracle'"),
        ({"gates": "none_such"}, "no gates at none_such"),
        ({"thresholds": {"by": ["region"]}}, "'region' is asked for by thresholds or gates"),
        ({"segments": {"site": {}}}, "give one of column, amounts, hours"),
        ({"segments": {"size": {"amounts": [5, 5]}}}, "bounds have to rise"),
        (
            {"thresholds": {"by": ["part"]}, "segments": {"part": {"hours": [12]}}},
            "part is not the column part_id, by which serving looks it up",
        ),
        ({"split": {"plan": {"train_days": 3, "calibration_days": 3}}}, "leaves nothing of train_days"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        use_case(**changes)


def test_what_is_no_use_case_is_refused_with_its_source(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("[1, 2]")
    with pytest.raises(ContractError, match=r"mine.yaml holds no use case"):
        load_use_case(path)
    with pytest.raises(ContractError, match=r"there is no use case at .*: give a YAML file or one of card_fraud"):
        load_use_case("absent")
    with pytest.raises(ContractError, match="is not YAML"):
        parse_use_case("{")


def test_the_shipped_folders_hold_what_they_promise() -> None:
    pipelines = {"training", "retraining", "batch_scoring", "site_models"}
    assert {path.stem for path in shipped("compiled").glob("*.yaml")} == pipelines
    assert (shipped("configs") / "card_fraud.yaml").is_file()


def test_gates_can_be_given_by_name_or_in_full() -> None:
    assert use_case(gates="retail_pos", segments=OVERRIDES["segments"]).gate_config.name == "retail_pos"
    assert use_case().gate_config.name == "lenient"
