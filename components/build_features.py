"""Events become features, and the states that serving goes on from."""

from kfp import dsl

from components.base import component


@component
def build_features(
    use_case: str,
    code_version: str,
    events: dsl.Input[dsl.Dataset],
    features: dsl.Output[dsl.Dataset],
    feature_state: dsl.Output[dsl.Artifact],
) -> None:
    """Compute the features of every transaction, and the states of all entities at the end."""
    from vigil.training import steps

    features.metadata.update(steps.build_features(use_case, events.path, features.path, feature_state.path))
