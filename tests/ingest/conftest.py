from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vigil.ingest.mapping import Mapping, parse_mapping
from vigil.ingest.report import IngestReport
from vigil.ingest.run import IngestOptions, ingest_file

NOW = datetime(2024, 6, 1, tzinfo=UTC)

TILL = """
name: till
reader: {format: csv}
time_zone: UTC
events:
  - kind: transaction
    id: "{id}"
    time: time
    fields:
      amount: amount
      customer_id: customer
      site_id: site
limits: {max_quarantined_share: 1}
"""

HEADER = "id,time,amount,customer,site\n"
GOOD = "t1,2024-05-01T10:00:00,12.50,c1,s1\n"


@dataclass(frozen=True)
class Outcome:
    report: IngestReport
    folder: Path

    def events(self, kind: str = "transaction") -> pa.Table:
        return pq.read_table(self.folder / "events" / f"{kind}.parquet")

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        return pq.read_table(self.folder / "quarantine.parquet").to_pylist()


Ingest = Callable[..., Outcome]


def mapping_of(text: str) -> Mapping:
    return parse_mapping(text, "test")


def write(path: Path, content: str | bytes | pa.Table) -> Path:
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    """Return a function that writes content to a file and ingests it with the mapping of a till."""

    def run(
        content: str | bytes | pa.Table,
        mapping: str = TILL,
        *,
        name: str = "till.csv",
        output: str = "out",
        options: IngestOptions | None = None,
    ) -> Outcome:
        folder = tmp_path / output
        path = write(tmp_path / name, content)
        report = ingest_file(path, mapping_of(mapping), folder, clock=lambda: NOW, options=options)
        return Outcome(report, folder)

    return run
