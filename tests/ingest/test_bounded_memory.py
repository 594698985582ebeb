"""A file many times as long needs no more memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SCRIPT = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
import pyarrow as pa
from tests.ingest.conftest import TILL, mapping_of
from vigil.ingest.run import ingest_file
pa.set_memory_pool(pa.system_memory_pool())
pa.set_cpu_count(1)
source, output = map(Path, sys.argv[1:])
mapping = mapping_of(TILL.replace("format: csv", "format: parquet"))
report = ingest_file(source, mapping, output, clock=lambda: datetime(2030, 1, 1, tzinfo=UTC))
assert report.rows.accepted == report.rows.read
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


SCHEMA = pa.schema(
    {
        "id": pa.int64(),
        "time": pa.timestamp("us"),
        "amount": pa.float64(),
        "customer": pa.int32(),
        "site": pa.int32(),
    }
)


def shuffled_log(path: Path, rows: int) -> Path:
    """Write a log whose times jump back and forth over its whole length, so that nothing can be sorted on the way."""
    start = np.datetime64("2024-01-01T00:00:00", "us")
    with pq.ParquetWriter(path, SCHEMA) as writer:
        for chunk in range(0, rows, 100_000):
            numbers = np.arange(chunk, chunk + 100_000)
            times = start + (numbers * 7919 % rows) * np.timedelta64(1, "s")
            keys = (numbers % 997).astype(np.int32)
            columns = [numbers, times, numbers % 97 + 1.0, keys, keys % 31]
            writer.write_table(pa.table([pa.array(column) for column in columns], schema=SCHEMA))
    return path


def peak_mib(folder: Path, rows: int) -> int:
    source = shuffled_log(folder / f"{rows}.parquet", rows)
    command = [sys.executable, "-c", SCRIPT, str(source), str(folder / f"out{rows}")]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_the_peak_does_not_grow_with_the_file(tmp_path: Path) -> None:
    small, large = peak_mib(tmp_path, 600_000), peak_mib(tmp_path, 1_800_000)
    assert large < 1.25 * small
