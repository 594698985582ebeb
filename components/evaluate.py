"""The candidate is measured against production, its members and the baselines."""

from kfp import dsl

from components.base import component


@component
def evaluate(
    use_case: str,
    events: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    training_rows: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Gather the evidence that the gates judge by, and write the report."""
    from vigil.training import steps

    inputs = {"events": events, "features": features, "screened": training_rows, "model": model}
    evaluation.metadata.update(steps.evaluate(use_case, inputs, evaluation.path, metrics, curves))
