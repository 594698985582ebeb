"""A registered version decides a whole file."""

from kfp import dsl

from components.base import component


@component
def score_batch(
    use_case: str,
    version: str,
    events: dsl.Input[dsl.Dataset],
    decisions: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Write a decision for each transaction, with reasons for those that alert or hold."""
    from vigil.training import steps

    decisions.metadata.update(steps.score_batch(use_case, version, events.path, decisions.path, metrics))
