"""The Isolation Forest."""

from kfp import dsl

from components.base import component


@component
def train_isolation_forest(
    use_case: str,
    code_version: str,
    features: dsl.Input[dsl.Dataset],
    training_rows: dsl.Input[dsl.Dataset],
    member: dsl.Output[dsl.Model],
) -> None:
    """Fit the Isolation Forest on the rows that are taken for normal."""
    from vigil.training import steps

    found = steps.train_member(use_case, "isolation_forest", features.path, training_rows.path, member.path)
    member.metadata.update(found)
