from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.members.subjects import FEATURES, make_rows
from vigil.errors import ContractError
from vigil.members.base import FeatureMatrix, TrainingRows
from vigil.members.catalog import fit_member, load_member, parse_settings
from vigil.members.files import read_json, write_json
from vigil.members.rules import Rules, load_rules

RULES = """
version: 4
rules:
  - name: large_at_night
    when:
      - {feature: amount, is: ">", value: 500}
      - {feature: is_night, is: "==", value: 1}
    severity: 0.8
    sentence: A large amount at night.
  - name: burst
    when:
      - {feature: count_7d, is: ">=", value: 20}
    severity: 0.5
    sentence: Many transactions in a week.
"""


def rules(tmp_path: Path, text: str = RULES, rows: TrainingRows | None = None) -> Rules:
    path = tmp_path / "rules.yaml"
    path.write_text(text, encoding="utf-8")
    member = fit_member(parse_settings({"kind": "rules", "file": path}), rows or make_rows(100))
    assert isinstance(member, Rules)
    return member


def rows_of(*rows: tuple[float, float, float]) -> FeatureMatrix:
    """Return rows of amount, count and night."""
    return FeatureMatrix(np.array(rows, dtype=np.float32), ("amount", "count_7d", "is_night"))


MATRIX = rows_of((10, 1, 0), (501, 1, 1), (501, 20, 1), (501, 20, 0), (500, 19, 1))


def test_a_rule_is_hit_where_all_its_conditions_hold(tmp_path: Path) -> None:
    hits = rules(tmp_path).hits(MATRIX)
    assert hits.tolist() == [[False, False], [True, False], [True, True], [False, True], [False, False]]


def test_scores_grow_with_each_rule_hit(tmp_path: Path) -> None:
    assert rules(tmp_path).score(MATRIX).tolist() == pytest.approx([0, 0.8, 0.9, 0.5, 0])


def test_severity_is_divided_among_the_features_of_a_rule(tmp_path: Path) -> None:
    member = rules(tmp_path)
    assert member.feature_names == ("amount", "is_night", "count_7d")
    assert member.explain(MATRIX)[2].tolist() == pytest.approx([0.4, 0.4, 0.5])


def test_the_rules_hit_come_with_their_sentences_the_most_severe_first(tmp_path: Path) -> None:
    found = rules(tmp_path).rules_hit(MATRIX)
    assert [[rule.name for rule in row] for row in found] == [
        [],
        ["large_at_night"],
        ["large_at_night", "burst"],
        ["burst"],
        [],
    ]
    assert found[3][0].sentence == "Many transactions in a week."


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (">", [False, False, True]),
        (">=", [False, True, True]),
        ("<", [True, False, False]),
        ("<=", [True, True, False]),
        ("==", [False, True, False]),
        ("!=", [True, False, True]),
    ],
)
def test_values_compare_in_the_precision_of_the_features(tmp_path: Path, comparison: str, expected: list[bool]) -> None:
    text = f"""
version: 1
rules:
  - name: one
    when: [{{feature: amount, is: "{comparison}", value: 0.1}}]
    severity: 1
    sentence: One.
"""
    matrix = rows_of((0.05, 0, 0), (0.1, 0, 0), (0.2, 0, 0))
    assert rules(tmp_path, text).hits(matrix)[:, 0].tolist() == expected


def test_a_quantile_is_taken_over_the_rows_not_known_as_fraud(tmp_path: Path) -> None:
    rows = make_rows(500)
    text = RULES.replace("value: 500", "quantile: 0.9")
    member = rules(tmp_path, text, rows)
    condition = member.rule_set.rules[0].when[0]
    assert condition.value == pytest.approx(np.quantile(rows.normal[:, 0].astype(np.float64), 0.9))
    assert condition.quantile == 0.9


def test_the_version_is_kept_with_the_member(tmp_path: Path) -> None:
    member = rules(tmp_path)
    assert member.facts["version"] == 4
    loaded = load_member(member.to_files())
    assert isinstance(loaded, Rules)
    assert loaded.rule_set == member.rule_set


def test_without_a_file_each_extreme_is_a_rule() -> None:
    member = fit_member(parse_settings({"kind": "rules"}), make_rows(100))
    assert isinstance(member, Rules)
    assert [rule.name for rule in member.rule_set.rules] == [f"{name}_is_extreme" for name in FEATURES]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 4", "", "version: Field required"),
        ('is: ">"', 'is: "=>"', r"rules\.0\.when\.0\.is: Input should be"),
        ("severity: 0.5", "severity: 5", r"rules\.1\.severity: Input should be less than or equal to 1"),
        ("severity: 0.5", "severe: 0.5", r"rules\.1\.severity: Field required"),
        ("value: 20", "value: .nan", r"rules\.1\.when\.0\.value"),
        (", value: 20", "", r"rules\.1\.when\.0: .*the condition on count_7d needs a value or a quantile"),
        ("name: burst", "name: large_at_night", "rule large_at_night is there twice"),
        ("rules:", "rules: [", "is not YAML"),
    ],
)
def test_a_mistake_in_a_file_of_rules_is_named_by_file_and_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    with pytest.raises(ContractError, match=rf"rules\.yaml.*{message}"):
        rules(tmp_path, RULES.replace(old, new, 1))


def test_a_missing_file_of_rules_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"there is no file of rules at .*absent\.yaml"):
        load_rules(tmp_path / "absent.yaml")


def test_a_rule_on_a_feature_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="rule burst asks for count_9d, which is not among the features"):
        rules(tmp_path, RULES.replace("count_7d", "count_9d"))


def test_rules_and_their_file_together_are_refused(tmp_path: Path) -> None:
    rule_set = yaml.safe_load(RULES)
    assert parse_settings({"kind": "rules", "rules": rule_set})
    with pytest.raises(ContractError, match=r"member rules, settings: .*the rules or their file, not both"):
        parse_settings({"kind": "rules", "file": tmp_path, "rules": rule_set})


def test_stored_rules_on_other_features_are_refused(tmp_path: Path) -> None:
    files = rules(tmp_path).to_files()
    header = read_json(files, "member.json")
    header["features"] = ["amount", "count_7d"]
    with pytest.raises(ContractError, match="member rules is damaged"):
        load_member(files | {"member.json": write_json(header)})
