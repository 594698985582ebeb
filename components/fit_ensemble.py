"""The members become one score, with thresholds."""

from kfp import dsl

from components.base import component


@component
def fit_ensemble(
    use_case: str,
    code_version: str,
    features: dsl.Input[dsl.Dataset],
    training_rows: dsl.Input[dsl.Dataset],
    isolation_forest: dsl.Input[dsl.Model],
    autoencoder: dsl.Input[dsl.Model],
    boosted: dsl.Input[dsl.Model],
    model: dsl.Output[dsl.Model],
) -> None:
    """Calibrate and combine the members on rows that none of them was fitted on, and set the thresholds."""
    from vigil.training import steps

    members = (isolation_forest, autoencoder, boosted)
    model.metadata.update(steps.fit_ensemble(use_case, features.path, training_rows.path, members, model.path))
