"""Rows that teach nothing normal are left out, each with its reason."""

from kfp import dsl

from components.base import component


@component
def sanitize_training_data(
    use_case: str,
    code_version: str,
    events: dsl.Input[dsl.Dataset],
    features: dsl.Input[dsl.Dataset],
    training_rows: dsl.Output[dsl.Dataset],
) -> None:
    """Choose the training rows: known frauds, incidents, outliers and poison stay out of what is taken for normal."""
    from vigil.training import steps

    found = steps.sanitize_training_data(use_case, events.path, features.path, training_rows.path)
    training_rows.metadata.update(found)
