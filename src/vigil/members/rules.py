"""Versioned rules: what people know, as conditions on features with a severity and a sentence."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vigil.errors import ContractError
from vigil.members.base import Facts, FeatureMatrix, Matrix, Member, Scores, Stored
from vigil.members.kernels.conditions import COMPARISONS, Conditions, combine, divide, find_hits
from vigil.members.kernels.jit import Bound
from vigil.members.settings import MemberSettings


class Condition(BaseModel):
    """A comparison of a feature with a value, or with the value that a quantile of the training rows has."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    feature: str
    comparison: Literal[">", ">=", "<", "<=", "==", "!="] = Field(alias="is")
    value: float | None = Field(default=None, ge=-3e38, le=3e38, description="compared in float32, as features are")
    quantile: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _check_value(self) -> "Condition":
        if self.value is None and self.quantile is None:
            raise ValueError(f"the condition on {self.feature} needs a value or a quantile")
        return self


class Rule(BaseModel):
    """A rule: a row hits it when all conditions hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    when: tuple[Condition, ...] = Field(min_length=1)
    severity: float = Field(gt=0, le=1, description="score of a row that hits no other rule")
    sentence: str = Field(min_length=1, description="what an analyst reads")

    @property
    def features(self) -> tuple[str, ...]:
        """The features that it looks at."""
        return tuple(dict.fromkeys(condition.feature for condition in self.when))


class RuleSet(BaseModel):
    """Rules under a version, which whoever changes them counts up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = Field(ge=1)
    rules: tuple[Rule, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_names(self) -> "RuleSet":
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ValueError(f"rule {next(name for name in names if names.count(name) > 1)} is there twice")
        return self

    @property
    def features(self) -> tuple[str, ...]:
        """The features that the rules look at, in the order of their first use."""
        return tuple(dict.fromkeys(feature for rule in self.rules for feature in rule.features))


class RulesSettings(MemberSettings):
    """Settings of the rules: the set itself or its YAML file; without either, a rule on each feature's extremes."""

    KIND = "rules"

    rules: RuleSet | None = None
    file: Path | None = Field(default=None, description="YAML: version, rules: [name, when, severity, sentence]")
    limit: float = Field(default=0.5, gt=0, lt=1, description="threshold of the score")

    @model_validator(mode="after")
    def _check_source(self) -> "RulesSettings":
        if self.rules and self.file:
            raise ValueError("give the rules or their file, not both")
        return self


@dataclass(frozen=True, eq=False)
class Rules(Member):
    """Scores are 1 - product of (1 - severity) over the rules that a row hits: 0 for none, higher with each."""

    kind = "rules"

    rule_set: RuleSet
    """Every condition has a value."""

    def hits(self, matrix: FeatureMatrix) -> NDArray[np.bool_]:
        """Return whether each row hits each rule, (rows, rules)."""
        return self._hits(matrix.select(self.feature_names))

    def rules_hit(self, matrix: FeatureMatrix) -> list[tuple[Rule, ...]]:
        """Return for each row the rules that it hits, the most severe first."""
        order = sorted(range(len(self.rule_set.rules)), key=lambda rule: -self.rule_set.rules[rule].severity)
        return [tuple(self.rule_set.rules[rule] for rule in order if row[rule]) for row in self.hits(matrix)]

    def _hits(self, values: Matrix) -> NDArray[np.bool_]:
        hits: NDArray[np.bool_] = self._find_hits(values, self._conditions, len(self.rule_set.rules))
        return hits

    @cached_property
    def _find_hits(self) -> Bound:
        return Bound(find_hits)

    def _score(self, values: Matrix) -> Scores:
        return combine(self._hits(values), self._severities)

    def _explain(self, values: Matrix) -> Scores:
        """Return the severity of each rule hit, divided among its features."""
        return divide(self._hits(values), self._shares)

    @cached_property
    def _conditions(self) -> Conditions:
        found = [(index, condition) for index, rule in enumerate(self.rule_set.rules) for condition in rule.when]
        return Conditions(
            rule=np.array([rule for rule, _ in found], dtype=np.int32),
            feature=np.array([self.feature_names.index(condition.feature) for _, condition in found], dtype=np.int32),
            comparison=np.array([COMPARISONS.index(condition.comparison) for _, condition in found], dtype=np.int32),
            value=np.array([condition.value for _, condition in found], dtype=np.float32),
        )

    @cached_property
    def _severities(self) -> Scores:
        return np.array([rule.severity for rule in self.rule_set.rules])

    @cached_property
    def _shares(self) -> Scores:
        shares = np.zeros((len(self.rule_set.rules), len(self.feature_names)))
        for index, rule in enumerate(self.rule_set.rules):
            for feature in rule.features:
                shares[index, self.feature_names.index(feature)] = rule.severity / len(rule.features)
        return shares

    def _state(self) -> Facts:
        return {"rules": self.rule_set.model_dump(mode="json", by_alias=True)}

    @classmethod
    def _restore(cls, stored: Stored) -> dict[str, Any]:
        rule_set = RuleSet.model_validate(stored.state["rules"])
        known = all(feature in stored.feature_names for feature in rule_set.features)
        if not known or any(condition.value is None for rule in rule_set.rules for condition in rule.when):
            raise ValueError("the rules do not fit the features")
        return {"rule_set": rule_set}


def load_rules(path: Path) -> RuleSet:
    """Return the rules of a YAML file, or raise ContractError naming the file and the field."""
    try:
        return RuleSet.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ContractError(f"there is no file of rules at {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ContractError(f"{path}, {field}: {first['msg']}") from error
