"""The boosted trees."""

from kfp import dsl

from components.base import component


@component
def train_boosted(
    use_case: str,
    code_version: str,
    features: dsl.Input[dsl.Dataset],
    training_rows: dsl.Input[dsl.Dataset],
    member: dsl.Output[dsl.Model],
) -> None:
    """Fit the boosted trees on the labels; with too few of them they abstain, which is no failure."""
    from vigil.training import steps

    found = steps.train_member(use_case, "boosted", features.path, training_rows.path, member.path)
    member.metadata.update(found)
