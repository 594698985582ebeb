"""Decisions as an Arrow stream: a column for each thing that differs by row, the rest in the schema's metadata."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import orjson
import pyarrow as pa

from vigil.decisions.columns import DecidedRows


def write_decisions(
    rows: DecidedRows, decision_ids: Sequence[str], at: datetime, constants: Mapping[str, str]
) -> bytes:
    """Return the stream. `reasons` is JSON text, null for a row without any."""
    columns: dict[str, pa.Array] = {
        "decision_id": pa.array(decision_ids, pa.string()),
        "event_id": pa.array(rows.event_id, pa.string()),
        "decided_at": pa.array([at] * len(rows), pa.timestamp("us", tz="UTC")),
        "action": pa.array(rows.action, pa.string()),
        "severity": pa.array(rows.severity, pa.string()),
        "score": pa.array(rows.score, pa.float64()),
        "threshold": pa.array(rows.threshold, pa.float64()),
        **{f"level_{name}": pa.array(levels, pa.float64()) for name, levels in rows.levels.items()},
        "business": pa.array(rows.business, pa.float64()),
        "segment": pa.array(rows.segment, pa.string()),
        "reasons": pa.array(
            [orjson.dumps([vars(reason) for reason in found]).decode() if found else None for found in rows.reasons],
            pa.string(),
        ),
    }
    return _stream([pa.table(columns).replace_schema_metadata(dict(constants))])


def join_decisions(streams: Sequence[bytes]) -> bytes:
    """Return the streams of the parts of a batch as one."""
    if len(streams) == 1:
        return streams[0]
    return _stream([pa.ipc.open_stream(stream).read_all() for stream in streams])


def _stream(tables: Sequence[pa.Table]) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
