"""The steps as tasks call them: texts and paths in, what the user interface shows of the output out."""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vigil.clock import system_clock
from vigil.errors import ContractError
from vigil.training.shown import plain
from vigil.training.sites.config import parse_sites
from vigil.training.steps import Shown, begin


def split_into_shards(sites: str, raw_uri: str, data_version: str, output: str) -> tuple[list[str], Shown]:
    """Write the readings of each shard; refuse data that are not what `data_version` says, if it says anything."""
    from vigil.training.raw import raw_hash
    from vigil.training.sites.split import split_into_shards as split

    begin()
    if data_version and (found := raw_hash(raw_uri)) != data_version:
        raise ContractError(f"{raw_uri} has the hash {found}, the run was started for {data_version}: start it again")
    manifest = split(parse_sites(sites), raw_uri, Path(output))
    return sorted(manifest.rows), plain({"hash": manifest.content_hash, **manifest.rows})


def fit_shard(sites: str, shard: str, cause: str, split: str, output: str) -> Shown:
    """Fit and judge the sites of a shard and put those that pass into production; a failure is in the report."""
    from vigil.training.sites.collect import counts
    from vigil.training.sites.fit import Occasion
    from vigil.training.sites.fit import fit_shard as fit

    settings = begin()
    occasion = Occasion(settings, cause, system_clock)
    report = fit(parse_sites(sites), shard, Path(split), Path(output), occasion)
    facts = report.model_dump(mode="json", include={"shard", "model", "outcome", "version", "bundle", "error"})
    return plain({**facts, **counts([report])})


def collect_shards(reports: Iterable[Any], output: str, page: str) -> tuple[str, Shown]:
    """Write what became of all shards, and return it in one word beside what is shown."""
    from vigil.training.sites import collect

    begin()
    word = collect.collect_shards([Path(artifact.path) for artifact in reports], Path(output))
    shutil.copyfile(Path(output) / collect.PAGE, page)
    return word, plain({"outcome": word, **collect.counts(collect.read_summary(Path(output)))})


def require_every_shard(fleet: str) -> None:
    """Raise ContractError if a shard has failed."""
    from vigil.training.sites import collect

    begin()
    collect.require_every_shard(Path(fleet))
