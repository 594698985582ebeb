"""Readings divided by site."""

from kfp import dsl

from components.base import component


@component
def split_into_shards(
    sites: str, raw_uri: str, data_version: str, code_version: str, shards: dsl.Output[dsl.Dataset]
) -> list:
    """Write the readings of each shard and return the names of those that have a site: never none."""
    from vigil.training.sites import steps

    names, found = steps.split_into_shards(sites, raw_uri, data_version, shards.path)
    shards.metadata.update(found)
    return names
