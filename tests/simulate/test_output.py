import json
from pathlib import Path

import pandas as pd
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest

from tests.simulate.conftest import brief
from vigil.contracts.artifacts import verify
from vigil.contracts.events import arrow_schema, event_model
from vigil.contracts.keys import hash_table
from vigil.errors import ContractError
from vigil.simulate import Simulated, load_config, simulate, write


@pytest.fixture(scope="module")
def troubled() -> Simulated:
    return brief({"kind": "micro_flood", "transactions": 50}, {"kind": "sales_dip"})


@pytest.fixture(scope="module")
def folder(troubled: Simulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "new" / "raw"
    write(troubled, folder, csv=True)
    return folder


def test_the_folder_is_sealed_as_events_with_its_rows(troubled: Simulated, folder: Path) -> None:
    manifest = verify(folder)
    assert (manifest.kind, manifest.rows) == ("events", troubled.rows)
    assert manifest.facts["fraud_shares"] == troubled.fraud_shares


def test_what_is_read_back_is_what_was_made(troubled: Simulated, folder: Path) -> None:
    for kind, table in troubled.tables.items():
        stored = pq.read_table(folder / "events" / f"{kind}.parquet")
        assert stored.schema.equals(arrow_schema(event_model(kind)), check_metadata=True)
        assert hash_table(stored) == hash_table(table)


def test_the_truth_is_written_beside_the_events(troubled: Simulated, folder: Path) -> None:
    incidents = json.loads((folder / "truth" / "incidents.json").read_text())
    assert [row["affected"] for row in incidents] == [row.affected for row in troubled.incidents]
    assert pq.read_table(folder / "truth" / "affected.parquet").to_pylist() == troubled.affected.to_pylist()


def test_the_written_configuration_makes_the_same_once_more(folder: Path, tmp_path: Path) -> None:
    again = simulate(load_config(folder / "configuration.json"))
    assert write(again, tmp_path / "again", csv=True) == verify(folder)


def test_the_csv_holds_the_same_transactions(troubled: Simulated, folder: Path) -> None:
    raw = pv.read_csv(folder / "raw" / "transactions.csv").to_pandas()
    table = troubled.tables["transaction"].to_pandas()
    assert list(raw.columns) == list(table.columns)
    assert raw.event_id.tolist() == table.event_id.tolist()
    assert raw.amount.tolist() == table.amount.tolist()
    assert (pd.to_datetime(raw.event_time, utc=True) == table.event_time).all()


def test_a_folder_that_holds_something_is_left_alone(troubled: Simulated, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(ContractError, match="is not empty: choose another folder, or remove it first"):
        write(troubled, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
