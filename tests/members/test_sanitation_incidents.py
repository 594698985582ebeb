import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vigil.errors import ContractError
from vigil.members.base import UNKNOWN, FeatureMatrix, TrainingRows
from vigil.members.fitting.sanitation.incidents import read_incident_windows
from vigil.members.fitting.sanitation.sanitize import sanitize
from vigil.members.fitting.sanitation.settings import SanitationSettings, parse_sanitation
from vigil.simulate import Simulated, preset, simulate

ENTITIES = ("site", "terminal", "customer", "card", "product")
ONLY_WINDOWS = parse_sanitation({"incident_windows": {"hours_after": 0}, "outliers": None, "poison": None})


@cache
def business() -> Simulated:
    incidents = [
        {"kind": "broken_unit", "days": 5},
        {"kind": "compromised_terminal", "days": 10},
        {"kind": "stock_out", "days": 5},
        {"kind": "micro_flood", "transactions": 400},
    ]
    sizes = {"sites": 6, "products": 40, "customers_per_site": 150}
    return simulate(preset("quiet", {"days": 60, "chain": sizes, "incidents": incidents}))


def training_rows() -> tuple[TrainingRows, pd.DataFrame]:
    """The sales with amount, quantity and hour, nobody knowing which are frauds."""
    events = business().tables["transaction"].to_pandas()
    moments = events.event_time.astype("datetime64[us, UTC]")
    times = moments.astype("int64").to_numpy()
    values = np.column_stack([events.amount, events.quantity.fillna(0), moments.dt.hour]).astype(np.float32)
    matrix = FeatureMatrix(np.ascontiguousarray(values), ("amount", "quantity", "hour"))
    return TrainingRows(matrix, times, np.full(len(times), UNKNOWN, dtype=np.int8)), events


def ids_of(events: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: events[f"{name}_id"].astype(object).to_numpy() for name in ENTITIES}


def truth_file(folder: Path) -> Path:
    path = folder / "incidents.json"
    path.write_text(json.dumps([asdict(truth) for truth in business().incidents]))
    return path


def test_every_sale_that_an_incident_touched_is_left_out(tmp_path: Path) -> None:
    rows, events = training_rows()
    sanitized = sanitize(rows, read_incident_windows(truth_file(tmp_path)), ONLY_WINDOWS, ids_of(events))
    affected = business().affected.to_pandas()
    touched = events.event_id.isin(affected.event_id[affected.effect.isin(["changed", "labelled", "added"])])
    assert touched.sum() > 400
    assert not sanitized.kept[touched.to_numpy()].any()
    assert sanitized.kept.mean() > 0.9


def test_the_list_says_which_incident_it_was(tmp_path: Path) -> None:
    rows, events = training_rows()
    windows = read_incident_windows(truth_file(tmp_path), kinds=["broken_unit"])
    sanitized = sanitize(rows, windows, ONLY_WINDOWS, ids_of(events))
    details = set(sanitized.excluded["detail"].to_pylist())
    assert len(details) == 1
    assert next(iter(details)).startswith(f"broken_unit-1: site {windows[0].entities['site']}, amount, ")


def test_a_flood_that_nobody_reported_is_found_as_a_burst(tmp_path: Path) -> None:
    rows, events = training_rows()
    sanitized = sanitize(rows, [], SanitationSettings(), ids_of(events))
    affected = business().affected.to_pandas()
    flood = events.event_id.isin(affected.event_id[affected.incident == "micro_flood-1"]).to_numpy()
    assert (~sanitized.kept[flood]).mean() > 0.9


def test_incidents_of_the_whole_chain_are_no_windows(tmp_path: Path) -> None:
    path = tmp_path / "incidents.json"
    chain = {"name": "a", "kind": "large_amounts", "entity": "chain", "entity_id": None}
    path.write_text(json.dumps([{**chain, "start": "2025-01-01T00:00:00+00:00", "end": "2025-02-01T00:00:00+00:00"}]))
    assert read_incident_windows(path) == ()


def test_a_missing_list_of_incidents_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="there is no list of incidents"):
        read_incident_windows(tmp_path / "absent.json")


def test_a_foreign_list_of_incidents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "incidents.json").write_text('[{"name": "a"}]')
    with pytest.raises(ContractError, match="is no list of incidents"):
        read_incident_windows(tmp_path / "incidents.json")
