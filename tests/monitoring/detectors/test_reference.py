"""References of bundles and of rows."""

import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vigil.contracts.keys import canonical_json, hash_bytes
from vigil.errors import ContractError
from vigil.features.definitions import FeatureConfig
from vigil.features.schema import describe
from vigil.monitoring.port import Columns
from vigil.monitoring.reference import ROWS, Reference, match_seasons
from vigil.monitoring.seasons import Season
from vigil.registry.bundle import Bundle, load_bundle, write_bundle
from vigil.registry.metadata import BundleMetadata, CodeVersion, TrainingWindow
from vigil.registry.store import FolderStore

from .streams import DAY, HOUR, MINUTE
from .subjects import made

SCHEMA = describe(FeatureConfig(groups=("calendar", "velocity")))
START = datetime(2026, 6, 1, tzinfo=UTC)


def table(rows: int, leave_out: str = "") -> pa.Table:
    generator = np.random.default_rng(0)
    times = int(START.timestamp()) * 1_000_000 + np.arange(rows) * 5 * MINUTE
    columns = {"event_time": pa.array(times, pa.timestamp("us", "UTC"))}
    columns |= {name: pa.array(generator.normal(size=rows).astype(np.float32)) for name in SCHEMA.names}
    columns["score"] = pa.array(generator.random(rows))
    return pa.table({name: column for name, column in columns.items() if name != leave_out})


def bundle_of(rows: pa.Table, folder: Path) -> Bundle:
    file = io.BytesIO()
    pq.write_table(rows, file)
    parts = {ROWS: file.getvalue(), "feature_schema.json": canonical_json(SCHEMA.model_dump(mode="json"))}
    metadata = BundleMetadata(
        model="card_fraud",
        feature_schema=SCHEMA.content_hash,
        training_window=TrainingWindow(start=START, end=datetime(2026, 6, 8, tzinfo=UTC)),
        parents={"features": hash_bytes(b"features")},
        code=CodeVersion(sources=hash_bytes(b"sources")),
        libraries={},
    )
    return load_bundle(write_bundle(parts, metadata, FolderStore(folder)).uri)


def test_a_bundle_gives_its_features_and_score_without_the_calendar(tmp_path: Path) -> None:
    rows = table(2_016)
    reference = Reference.from_bundle(bundle_of(rows.take(np.arange(2_015, -1, -1)), tmp_path))
    assert set(reference.columns.numbers) == {*SCHEMA.names, "score"} - {"hour", "weekday", "month", "quarter"}
    assert reference.season is Season.WEEKDAY_HOUR
    assert np.all(np.diff(reference.columns.time) > 0)
    assert reference.columns.numbers["score"] == pytest.approx(rows["score"].to_numpy())
    assert reference.columns.time[0] == int(START.timestamp()) * 1_000_000


def test_a_bundle_whose_rows_lack_a_feature_is_refused_by_name(tmp_path: Path) -> None:
    missing = SCHEMA.groups["velocity"][0]
    with pytest.raises(ContractError, match=f"has no column {missing}"):
        Reference.from_bundle(bundle_of(table(100, leave_out=missing), tmp_path))


def test_rows_that_are_not_in_order_are_refused() -> None:
    with pytest.raises(ContractError, match="sort them"):
        Reference.from_rows(Columns({"x": np.zeros(3)}, {}, np.array([3, 2, 1])))


def test_columns_can_be_left_out() -> None:
    rows = Columns({"x": np.zeros(3), "month": np.ones(3)}, {"c": ["a", "b", "c"]}, np.arange(3))
    kept = Reference.from_rows(rows, ignore=("month", "c")).columns
    assert (list(kept.numbers), list(kept.categories)) == (["x"], [])


@pytest.mark.parametrize(
    "name", ["tabular", "tabular_cvm", pytest.param("alibi_tabular", marks=pytest.mark.xdist_group("alibi"))]
)
def test_an_hour_of_the_day_is_compared_with_the_same_hour(name: str) -> None:
    generator = np.random.default_rng(1)
    time = np.arange(0, 14 * DAY, 5 * MINUTE, dtype=np.int64)
    level = np.sin(2 * np.pi * (time % DAY) / DAY)
    rows = Columns({"x": level + generator.normal(size=len(time))}, {}, time)
    reference = Reference.from_rows(rows)
    morning = 20 * DAY + 6 * HOUR + np.arange(200, dtype=np.int64) * MINUTE // 2
    usual = Columns({"x": np.sin(2 * np.pi * (morning % DAY) / DAY) + generator.normal(size=200)}, {}, morning)
    odd = Columns({"x": generator.normal(size=200)}, {}, morning)
    matched = match_seasons(made(name), reference)
    assert matched.test(usual)[0].p_value > 0.01
    assert matched.test(odd)[0].p_value < 1e-4
    assert made(name).fit(rows).test(usual)[0].p_value < 1e-4
