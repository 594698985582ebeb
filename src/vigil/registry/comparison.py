"""A version as flat facts, and how two versions differ."""

from collections.abc import Mapping

from vigil.registry.stages import VersionState

Value = str | int | float | bool | None


def version_facts(version: VersionState) -> dict[str, Value]:
    """Return everything that two versions can differ in, by a dotted name such as metrics.auc."""
    metadata, cost = version.registration.metadata, version.registration.cost
    groups: dict[str, Mapping[str, Value]] = {
        "libraries": metadata.libraries,
        "metrics": metadata.metrics,
        "parameters": metadata.parameters,
        "parents": metadata.parents,
        "training_window": metadata.training_window.model_dump(mode="json"),
        "code": metadata.code.model_dump(mode="json"),
        "cost": cost.model_dump(mode="json") if cost else {},
    }
    facts: dict[str, Value] = {"bytes": version.registration.bytes, "feature_schema": metadata.feature_schema}
    for group, values in groups.items():
        facts |= {f"{group}.{name}": value for name, value in values.items()}
    return dict(sorted(facts.items()))


def differences(first: VersionState, second: VersionState) -> dict[str, tuple[Value, Value]]:
    """Return the facts that differ, as a pair of values; None stands for a fact that a version does not have."""
    left, right = version_facts(first), version_facts(second)
    pairs = {name: (left.get(name), right.get(name)) for name in sorted(left | right)}
    return {name: values for name, values in pairs.items() if values[0] != values[1]}
