"""The second opinion: every feature recomputed by DuckDB from the raw events, and the comparison with the engine."""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from vigil.contracts.events import EVENTS, arrow_schema, check_table
from vigil.features.definitions import FeatureConfig
from vigil.features.engine import FeatureTable
from vigil.features.fields import KINDS

SQL = (Path(__file__).parent / "oracle.sql").read_text()

RELATIVE, ABSOLUTE = 2e-6, 1e-6
"""A feature is a float32: half a unit of its last place is 6e-8 of it, and the float64 steps before that add less."""

SPREAD = 1e-4
"""The engine takes a variance as the difference of two large float64 numbers, where the oracle subtracts whole numbers:
for amounts of some hundreds, about 1e-9 is lost, so a deviation near zero may be off by the root of it."""

SPREADS = ("customer_amount_std_30d", "site_amount_std_30d")
MARGINS = {
    "is_high_value_for_customer": ("margin_customer", "high_value_sigma"),
    "is_high_value_for_site": ("margin_site", "high_value_sigma"),
    "is_order_value_outlier": ("margin_outlier", "outlier_sigma"),
}
"""Flags that turn where a deviation crosses a cut-off: right there the last bit decides, and either value is right."""


def recompute(tables: Mapping[str, pa.Table], config: FeatureConfig) -> pa.Table:
    """Return a row for each transaction in log order: event_id, every feature, and the margins of the flags."""
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1; SET TimeZone = 'UTC'")
        for name, cutoff in config.model_dump(exclude={"groups"}).items():
            connection.execute(f"CREATE MACRO {name}() AS {cutoff!r}")
        for kind in KINDS:
            table = tables.get(kind, arrow_schema(EVENTS[kind]).empty_table())
            connection.register(kind, check_table(EVENTS[kind], table))
        connection.execute(SQL)
        return connection.table("oracle").to_arrow_table()


def differences(computed: FeatureTable, expected: pa.Table, config: FeatureConfig) -> list[str]:
    """Return a line for each feature that the two do not agree on, with the first event where they part."""
    if computed.event_ids.to_pylist() != expected["event_id"].to_pylist():
        return ["the rows are not the same transactions in the same order"]
    found = []
    for column, name in enumerate(computed.names):
        ours = computed.values[:, column].astype(np.float64)
        theirs = expected[name].cast(pa.float64()).to_numpy().astype(np.float32).astype(np.float64)
        wrong = np.abs(ours - theirs) > ABSOLUTE + SPREAD * (name in SPREADS) + RELATIVE * np.abs(theirs)
        if name in MARGINS:
            margin, cutoff = MARGINS[name]
            distance = np.abs(expected[margin].cast(pa.float64()).to_numpy() - getattr(config, cutoff))
            wrong &= ~(distance < RELATIVE * getattr(config, cutoff))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            event = expected["event_id"][row]
            found.append(f"{name}: {wrong.sum()} rows, first {event}: {ours[row]!r}, oracle {theirs[row]!r}")
    return found


def constant_features(expected: pa.Table, names: tuple[str, ...]) -> list[str]:
    """Return the features that have one value only: a comparison of these would show nothing."""
    return [name for name in names if len(expected[name].unique()) < 2]
