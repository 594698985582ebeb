"""What passed the gates becomes a version in the registry."""

from kfp import dsl

from components.base import component


@component
def register_model(
    use_case: str,
    cause: str,
    event_id: str,
    started_by: str,
    events: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    feature_state: dsl.Input[dsl.Artifact],
    training_rows: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    verdicts: dsl.Input[dsl.Artifact],
    registered: dsl.Output[dsl.Model],
) -> None:
    """Seal the bundle, store it with the states, register it as a candidate and show the run in MLflow."""
    from vigil.training import steps

    inputs = {"events": events, "features": features, "feature_state": feature_state, "screened": training_rows}
    inputs |= {"model": model, "evaluation": evaluation, "verdicts": verdicts}
    why = {"cause": cause, "event_id": event_id, "started_by": started_by}
    registered.metadata.update(steps.register_model(use_case, inputs, why, registered.path))
