"""One shard of sites: fitted, judged site by site, live."""

from kfp import dsl

from components.base import component


@component
def fit_shard(
    sites: str, shard: str, cause: str, shards: dsl.Input[dsl.Dataset], report: dsl.Output[dsl.Artifact]
) -> None:
    """Put the sites that are as good as their champions into production; a shard that fails says so in its report."""
    from vigil.training.sites import steps

    report.metadata.update(steps.fit_shard(sites, shard, cause, shards.path, report.path))
