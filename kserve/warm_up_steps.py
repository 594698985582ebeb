"""Runs steps on a few simulated days: that compiles the feature engine and the fleet's kernels for all later runs."""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.clock import system_clock
from vigil.deployment.template import load_profile
from vigil.settings import Settings
from vigil.simulate import preset, simulate, write
from vigil.training.features import build_features
from vigil.training.ingest import ingest
from vigil.training.sites.config import SitesConfig
from vigil.training.sites.fit import Occasion, fit_shard
from vigil.training.sites.split import split_into_shards
from vigil.usecase import load_use_case


def main(folder: Path) -> None:
    """Write events, features and states below `folder`; an image that lacks what is not code fails here."""
    load_profile("production")
    use_case = load_use_case("card_fraud")
    write(simulate(preset("quiet", {"days": 10, "chain": {"sites": 2}})), folder / "raw")
    ingest(use_case, str(folder / "raw"), "canonical-transaction", folder / "events", system_clock)
    manifest = build_features(use_case, folder / "events", folder / "features", folder / "states")
    sys.stdout.write(f"{manifest.rows}\n")
    fit_sites(folder)


def fit_sites(folder: Path) -> None:
    """Fit the models of two sites."""
    hours = np.arange(24 * 70)
    rows = len(hours)
    readings = {
        "site_id": np.repeat(["S1", "S2"], rows),
        "metric": np.repeat("sales", 2 * rows),
        "event_time": np.tile(np.datetime64("2026-01-01T00", "us") + hours.astype("timedelta64[h]"), 2),
        "value": np.tile(100 + 10 * np.sin(hours * np.pi / 12), 2) + np.random.default_rng(1).normal(size=2 * rows),
    }
    pq.write_table(pa.table(readings), folder / "readings.parquet")
    config = SitesConfig(name="warm_up", shards=1)
    split = split_into_shards(config, str(folder / "readings.parquet"), folder / "shards")
    occasion = Occasion(Settings(home=folder / "home"), "warm-up", system_clock)
    (shard,) = split.rows
    report = fit_shard(config, shard, folder / "shards", folder / shard, occasion)
    if report.outcome != "live":
        raise SystemExit(report.error)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
