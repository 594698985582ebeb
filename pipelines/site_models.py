"""A model for every site: one task for each shard of them."""

from kfp import dsl

from components.collect_shards import collect_shards
from components.fit_shard import fit_shard
from components.require_every_shard import require_every_shard
from components.split_into_shards import split_into_shards
from pipelines.limits import large, small, with_effect
from pipelines.steps import on_exit

AT_ONCE = 4
"""Shards that a cluster fits at a time; a laptop does two."""


@dsl.pipeline(
    name="site-models",
    display_name="Vigil: site models",
    description="Readings of all sites to a model for each, judged against its own champion, live where it passed.",
)
def site_models(
    sites: str,
    raw_uri: str,
    data_version: str,
    code_version: str,
    cause: str = "scheduled",
    where: str = "",
    notify_on_success: bool = False,
) -> None:
    """Fit, judge and publish the models of all sites.

    A shard that fails keeps its champions and stops no other; then the run fails at its end, and says which it was.

    Args:
        sites: settings of the fleet as JSON, such as configs/site_metrics.yaml
        raw_uri: table of readings, or folder of canonical events; here or at gs://
        data_version: hash of the raw data; a run for other data is refused
        code_version: hash of vigil's sources; changed code is never answered from the cache
        cause: why, in words, for the records
        where: address at which people can look at the run, for the mail
        notify_on_success: mail not only when the run fails
    """
    with dsl.ExitHandler(on_exit(cause, where, notify_on_success), name="fit-sites"):
        split = split_into_shards(sites=sites, raw_uri=raw_uri, data_version=data_version, code_version=code_version)
        large(split, "Split into shards")
        with dsl.ParallelFor(split.outputs["Output"], name="each-shard", parallelism=AT_ONCE) as shard:
            fitted = fit_shard(sites=sites, shard=shard, cause=cause, shards=split.outputs["shards"])
            with_effect(large(fitted, "Fit, judge and publish a shard"))
        collected = collect_shards(reports=dsl.Collected(fitted.outputs["report"]))
        small(collected, "Collect the shards").set_caching_options(enable_caching=False)
        with dsl.If(collected.outputs["Output"] == "partly", name="a-shard-failed"):
            required = require_every_shard(fleet=collected.outputs["fleet"])
            small(required, "Require every shard").set_caching_options(enable_caching=False)
