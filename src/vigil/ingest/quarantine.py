"""Rows that were refused, each with its place, the rule, the value, the whole raw row and a sentence."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.ingest.columns import Columns
from vigil.ingest.mapping import EventMapping, FieldSource
from vigil.ingest.rawjson import json_rows

SCHEMA = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("event", pa.dictionary(pa.int32(), pa.string())),
        pa.field("field", pa.dictionary(pa.int32(), pa.string())),
        pa.field("rule", pa.dictionary(pa.int32(), pa.string()), nullable=False),
        pa.field("value", pa.string()),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("raw", pa.string(), nullable=False),
    ],
    metadata={"vigil.kind": "quarantine", "vigil.version": "1"},
)
"""One row for each event that was refused, or for each row of the source of which no event could be made."""

EXAMPLES = 3
_SHOWN = 120


@dataclass(frozen=True)
class Refused:
    """Some rows that broke the same rule; `event` and `field` are None where the rule is about the whole row."""

    event: str | None
    field: str | None
    rule: str
    rows: npt.NDArray[np.int64]
    values: list[str | None]
    reasons: list[str]
    raw: pa.Array


@dataclass
class RuleCount:
    """How often a rule was broken, where first, and some examples."""

    event: str | None
    field: str | None
    rule: str
    count: int = 0
    first_row: int = 0
    examples: list[dict[str, str | int | None]] = dataclasses.field(default_factory=list)

    def add(self, refused: Refused) -> None:
        """Count some more."""
        order = np.argsort(refused.rows, kind="stable")
        if not self.count or int(refused.rows[order[0]]) < self.first_row:
            self.first_row = int(refused.rows[order[0]])
        self.count += len(order)
        for place in order[: max(EXAMPLES - len(self.examples), 0)].tolist():
            self.examples.append(
                {
                    "row": int(refused.rows[place]),
                    "value": refused.values[place],
                    "reason": refused.reasons[place],
                    "raw": refused.raw[place].as_py(),
                }
            )


class Quarantine:
    """The file of the refused rows, and the counts by rule."""

    def __init__(self, path: Path) -> None:
        self._counts: dict[tuple[str, str, str], RuleCount] = {}
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def add(self, refused: list[Refused]) -> None:
        """Write what was refused of one stretch of rows, ordered by row."""
        refused = [item for item in refused if len(item.rows)]
        for item in refused:
            key = (item.event or "", item.field or "", item.rule)
            self._counts.setdefault(key, RuleCount(item.event, item.field, item.rule)).add(item)
        if refused:
            table = pa.concat_tables([_table(item) for item in refused]).unify_dictionaries().combine_chunks()
            self._writer.write_table(table.take(pa.array(np.argsort(table["row"].to_numpy(), kind="stable"))))

    def close(self) -> None:
        """End the file."""
        self._writer.close()

    @property
    def counts(self) -> list[RuleCount]:
        """The rules that were broken, the most frequent first."""
        return sorted(
            self._counts.values(), key=lambda item: (-item.count, item.rule, item.event or "", item.field or "")
        )


def _table(refused: Refused) -> pa.Table:
    count = len(refused.rows)
    zeros = pa.array(np.zeros(count, np.int32))
    names = [
        pa.nulls(count, SCHEMA.field("event").type)
        if name is None
        else pa.DictionaryArray.from_arrays(zeros, pa.array([name]))
        for name in (refused.event, refused.field, refused.rule)
    ]
    values = pa.array(refused.values, pa.string())
    reasons = pa.array(refused.reasons, pa.string())
    return pa.Table.from_arrays([pa.array(refused.rows), *names, values, reasons, refused.raw], schema=SCHEMA)


def original_values(
    event: EventMapping, name: str, columns: Columns, positions: npt.NDArray[np.int64]
) -> tuple[str, list[str | None]]:
    """Return where in the file the field comes from, and what the file says there."""
    source = FieldSource(column=event.time.column) if name == "event_time" else event.sources.get(name)
    names = sorted(source.columns) if source is not None else []
    if source is not None and source.column is not None:
        names = [source.column] if source.column in columns else []
    places = pa.array(positions)
    texts = [columns.original_text(column, places) for column in names]
    if not texts:
        return name, [None] * len(positions)
    if len(texts) == 1:
        return names[0], texts[0]
    pairs = [
        ", ".join(f"{column}={text}" for column, text in zip(names, row, strict=True))
        for row in zip(*texts, strict=True)
    ]
    return " and ".join(names), list(pairs)


def sentences(place: tuple[str, str], values: list[str | None], problems: Iterable[str]) -> list[str]:
    """Return a sentence for each value: which field and column it is, what the file says, what is wrong with it."""
    field, column = place
    name = field if column == field else f"{field} (column {column})"
    return [f"{name} is {_shown(value)}: {problem}" for value, problem in zip(values, problems, strict=False)]


def _shown(value: str | None) -> str:
    """Return a value as it appears in a sentence: quoted, and cut if it is long."""
    if value is None:
        return "null"
    return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "...")


def raw_rows(columns: Columns, positions: npt.NDArray[np.int64]) -> pa.Array:
    """Return the rows at the positions as JSON."""
    return json_rows(columns.batch.table.take(pa.array(positions)))
