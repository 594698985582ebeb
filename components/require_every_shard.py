"""A run in which a shard failed is a failed run, once all others are live."""

from kfp import dsl

from components.base import component


@component
def require_every_shard(fleet: dsl.Input[dsl.Artifact]) -> None:
    """Fail, naming the shards that failed and why."""
    from vigil.training.sites import steps

    steps.require_every_shard(fleet.path)
