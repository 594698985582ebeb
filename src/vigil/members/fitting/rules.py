"""How rules get the values of their quantiles."""

import numpy as np

from vigil.errors import ContractError
from vigil.members.base import TrainingRows, need_rows
from vigil.members.rules import Condition, Rule, Rules, RuleSet, RulesSettings, load_rules


def fit(settings: RulesSettings, rows: TrainingRows) -> Rules:
    """Return the rules on the features that they name, their quantiles taken over rows not known as fraud."""
    need_rows(len(rows.normal), 2, settings.name)
    wanted = load_rules(settings.file) if settings.file else settings.rules or rules_of_extremes(rows.matrix.names)
    _check_features(wanted, rows.matrix.names)
    rule_set = RuleSet(version=wanted.version, rules=tuple(_with_values(rule, rows) for rule in wanted.rules))
    return Rules(
        name=settings.name,
        feature_names=rule_set.features,
        threshold=settings.limit,
        facts={"rows": len(rows.normal), "version": rule_set.version, "rules": len(rule_set.rules)},
        rule_set=rule_set,
    )


def rules_of_extremes(names: tuple[str, ...]) -> RuleSet:
    """Return a rule for each feature that is above the 99th percentile of its training rows, the simplest baseline."""
    rules = [
        Rule(
            name=f"{name}_is_extreme",
            when=(Condition(feature=name, comparison=">", quantile=0.99),),
            severity=0.6,
            sentence=f"{name} is higher than in 99 % of the training rows",
        )
        for name in names
    ]
    return RuleSet(version=1, rules=tuple(rules))


def _with_values(rule: Rule, rows: TrainingRows) -> Rule:
    return rule.model_copy(update={"when": tuple(_with_value(condition, rows) for condition in rule.when)})


def _with_value(condition: Condition, rows: TrainingRows) -> Condition:
    if condition.quantile is None:
        return condition
    column = rows.normal[:, rows.matrix.names.index(condition.feature)]
    return condition.model_copy(update={"value": float(np.quantile(column.astype(np.float64), condition.quantile))})


def _check_features(rule_set: RuleSet, names: tuple[str, ...]) -> None:
    for rule in rule_set.rules:
        if unknown := [feature for feature in rule.features if feature not in names]:
            raise ContractError(f"rule {rule.name} asks for {unknown[0]}, which is not among the features of the rows")
