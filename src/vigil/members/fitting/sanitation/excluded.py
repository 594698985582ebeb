"""The list of what was left out, and why."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vigil.members.fitting.sanitation.finding import Finding

EXCLUDED_SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("event_time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("rule", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)


def excluded_table(times: NDArray[np.int64], findings: Sequence[Finding]) -> pa.Table:
    """Return a line for each row that was found, in the order of rows, with the first rule that found it."""
    rows = np.concatenate([np.empty(0, np.int64), *(finding.rows for finding in findings)])
    rule = np.repeat(np.arange(len(findings)), [len(finding) for finding in findings])
    chosen, first = np.unique(rows, return_index=True)
    texts = [text for finding in findings for text in finding.texts]
    offsets = np.cumsum([0, *(len(finding.texts) for finding in findings)])
    codes = np.concatenate(
        [np.empty(0, np.int64), *(finding.codes + offsets[number] for number, finding in enumerate(findings))]
    )
    names = pa.array([finding.rule for finding in findings], pa.string())
    columns = [
        pa.array(chosen, pa.int64()),
        pa.array(times[chosen]).cast(pa.timestamp("us", tz="UTC")),
        names.take(pa.array(rule[first], pa.int64())),
        pa.array(texts, pa.string()).take(pa.array(codes[first], pa.int64())),
    ]
    return pa.Table.from_arrays(columns, schema=EXCLUDED_SCHEMA)
