"""`vigil monitor compare`: two files, from the command line to the columns that have drifted."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from vigil.cli_monitor import app
from vigil.errors import ContractError

MINUTE = 60_000_000
ROWS = 6_000


def sales(count: int, start: int, factor: float = 1.0, seed: int = 0) -> pa.Table:
    """Rows of tills, one each minute: numbers, kinds, and names that differ in every row."""
    random = np.random.default_rng(seed)
    return pa.table(
        {
            "event_time": pa.array((start + np.arange(count)) * MINUTE, pa.timestamp("us", tz="UTC")),
            "amount": factor * random.lognormal(3, 1, count),
            "paid_by": random.choice(["card", "cash"], count),
            "is_online": random.random(count) < 0.3,
            "receipt": [f"R{start + number}" for number in range(count)],
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sales")
    pq.write_table(sales(ROWS, 0), path / "may.parquet")
    pq.write_table(sales(1_000, ROWS, seed=1), path / "same.parquet")
    pq.write_table(sales(1_000, ROWS, 1.5, seed=1), path / "dearer.parquet")
    pa_csv.write_csv(sales(1_000, ROWS, 1.5, seed=1), path / "dearer.csv")
    return path


def run(folder: Path, window: str, *options: str) -> Result:
    return CliRunner().invoke(app, ["compare", str(folder / "may.parquet"), str(folder / window), *options])


def test_rows_without_a_change_end_with_status_0(folder: Path) -> None:
    done = run(folder, "same.parquet")
    assert done.exit_code == 0, done.output
    assert "Nothing has drifted." in done.stdout
    assert "3 columns of 1,000 rows compared with 6,000" in done.stdout
    assert "receipt left out: 6,000 different texts name things, not kinds" in done.stdout


@pytest.mark.parametrize("window", ["dearer.parquet", "dearer.csv"])
def test_a_change_is_named_and_ends_with_status_2(folder: Path, window: str) -> None:
    done = run(folder, window, "--json")
    assert done.exit_code == 2, done.output
    found = json.loads(done.stdout)
    assert [(one["column"], one["kind"]) for one in found["findings"]] == [("amount", "values")]
    assert "amount: the values have changed (p " in run(folder, window).stdout


def test_a_detector_of_numbers_compares_the_columns_that_are_asked_for(folder: Path) -> None:
    done = run(folder, "dearer.parquet", "--detector", "ks", "--only", "amount")
    assert done.exit_code == 2
    assert "1 column of 1,000 rows compared with 6,000" in done.stdout


@pytest.mark.parametrize(
    ("options", "cause"),
    [
        (["--detector", "psi"], "detector.name: Input should be 'ks', 'cvm'"),
        (["--time", "sold_at"], "there is no column sold_at; there are: event_time, amount"),
        (["--time", "paid_by"], "column paid_by holds no times"),
        (["--only", "price"], "has no column price to compare; it has: amount, is_online, paid_by"),
        (["--detector", "ks"], "ks compares numbers only, and paid_by is none"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_cause(folder: Path, options: list[str], cause: str) -> None:
    done = run(folder, "same.parquet", *options)
    assert isinstance(done.exception, ContractError)
    assert cause in str(done.exception)


def test_a_row_without_a_time_and_a_file_of_another_kind_are_named(folder: Path, tmp_path: Path) -> None:
    table = sales(600, ROWS)
    times = table["event_time"].to_pylist()
    times[3] = None
    pq.write_table(table.set_column(0, "event_time", pa.array(times)), folder / "gap.parquet")
    assert "has no time in 1 rows, first in row 3" in str(run(folder, "gap.parquet").exception)
    (folder / "notes.txt").write_text("no table")
    assert "notes.txt cannot be read as Parquet" in str(run(folder, "notes.txt").exception)
