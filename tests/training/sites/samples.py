"""A small chain: readings of some weeks, its settings, and its pipeline without kfp."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tests.fleet.panels import Wanted, readings_of_values, values_of
from vigil.clock import ManualClock
from vigil.fleet.bundled import Shard, live_models, live_shard
from vigil.registry.registry import Registry
from vigil.registry.store import open_store
from vigil.settings import Settings
from vigil.training.sites.config import SitesConfig
from vigil.training.sites.fit import Occasion, ShardReport, fit_shard
from vigil.training.sites.split import split_into_shards, table_of

SITES, FIRST, NEXT = 12, 70 * 24, 98 * 24
"""Hours of history of the first run, and of the next."""
CLOCK = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))


@cache
def values() -> NDArray[np.float64]:
    found = values_of(Wanted(sites=SITES, days=112, seed=1, size=5.0))
    found.flags.writeable = False
    return found


def config(**changes: object) -> SitesConfig:
    return SitesConfig.model_validate({"name": "chain", "shards": 3, **changes})


def write_readings(path: Path, history: NDArray[np.float64]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(readings_of_values(history)), path)
    return path


class Fleet:
    """The pipeline of a fleet, step by step, with a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = Settings(home=home)
        self.runs = 0

    @property
    def registry(self) -> Registry:
        return Registry(open_store(str(self.home.absolute() / "models")), clock=CLOCK)

    def run(self, history: NDArray[np.float64], wanted: SitesConfig | None = None) -> dict[str, ShardReport]:
        self.runs += 1
        wanted = wanted or config()
        folder = self.home / f"run-{self.runs}"
        raw = write_readings(folder / "readings.parquet", history)
        split = split_into_shards(wanted, str(raw), folder / "shards")
        occasion = Occasion(self.settings, "a test", CLOCK)
        return {
            shard: fit_shard(wanted, shard, folder / "shards", folder / shard, occasion) for shard in sorted(split.rows)
        }

    def live(self) -> dict[str, Shard]:
        found = {}
        for model in live_models(self.registry, "chain"):
            shard = live_shard(self.registry, model)
            assert shard is not None
            found[model.removeprefix("chain-")] = shard
        return found

    def shard_with(self, site: str) -> Shard:
        return next(shard for shard in self.live().values() if site in shard.records)
