"""All shards of a run in one report."""

from kfp import dsl

from components.base import component


@component
def collect_shards(
    reports: dsl.Input[list[dsl.Artifact]], fleet: dsl.Output[dsl.Artifact], page: dsl.Output[dsl.Markdown]
) -> str:
    """Return `whole`, or `partly` if a shard has failed; the page gives every shard, and each site that was kept."""
    from vigil.training.sites import steps

    word, found = steps.collect_shards(reports, fleet.path, page.path)
    fleet.metadata.update(found)
    return word
