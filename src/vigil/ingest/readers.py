"""Raw files as numbered batches of columns: CSV, Parquet and JSON lines, in bounded memory."""

import bz2
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from vigil.errors import ContractError
from vigil.ingest.mapping import ReaderOptions

BATCH_ROWS = 131_072
_CSV_BLOCK = 8 << 20
_DECODER = json.JSONDecoder()
_PARQUET_BUFFER = 1 << 20
_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet"}
_SUFFIXES |= {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_PACKED = (".gz", ".bz2")


@dataclass(frozen=True)
class Unreadable:
    """A row that is not even a row."""

    row: int
    text: str
    why: str


@dataclass(frozen=True)
class RawBatch:
    """Consecutive rows of a file, as its columns; `numbers` counts them from 1, without a header.

    `unreadable` are the rows of the same stretch that have no columns; `fraction` is how much of the file is read.
    """

    table: pa.RecordBatch
    numbers: npt.NDArray[np.int64]
    unreadable: list[Unreadable] = field(default_factory=list)
    fraction: float = 0.0

    @property
    def last_row(self) -> int:
        """The highest row number of the stretch; 0 if it has no rows."""
        readable = int(self.numbers[-1]) if len(self.numbers) else 0
        return max(readable, self.unreadable[-1].row if self.unreadable else 0)


class Source(Protocol):
    """A file that can be read more than once."""

    path: Path
    columns: dict[str, pa.DataType]
    """Types by name; text that is not yet decoded is binary."""

    def batches(self) -> Iterator[RawBatch]:
        """Yield the file from its first row, in order."""


def open_source(path: Path, options: ReaderOptions) -> Source:
    """Return the source, or raise ContractError saying why the file cannot be read at all."""
    if not path.is_file():
        raise ContractError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise ContractError(f"{path} is empty (0 bytes): the export that wrote it has failed, run it again")
    kind = _format(path) if options.format == "auto" else options.format
    readers: dict[str, Callable[[Path, ReaderOptions], Source]] = {
        "csv": CsvSource,
        "parquet": ParquetSource,
        "jsonl": JsonLinesSource,
    }
    return readers[kind](path, options)


def _format(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    while suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    if not suffixes or suffixes[-1] not in _SUFFIXES:
        raise ContractError(
            f"the format of {path} is not clear from its name: set reader.format to csv, parquet or jsonl"
        )
    return _SUFFIXES[suffixes[-1]]


def _refuse_repeated(path: Path, names: list[str]) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ContractError(f"{path} has two columns called {twice[0]!r}: rename one")


class ParquetSource:
    """A Parquet file; of each column a few pages are in memory, whatever the size of its row groups."""

    def __init__(self, path: Path, options: ReaderOptions) -> None:
        self.path = path
        with self._open() as file:
            _refuse_repeated(path, file.schema_arrow.names)
            self.columns = {item.name: item.type for item in file.schema_arrow}
            self._rows = file.metadata.num_rows

    def _open(self) -> Any:  # noqa: ANN401 - pyarrow has no types
        try:
            return pq.ParquetFile(self.path, buffer_size=_PARQUET_BUFFER, pre_buffer=False)
        except (pa.ArrowException, OSError) as error:
            raise ContractError(
                f"{self.path} is not a whole Parquet file, it may be cut off: copy or write it again ({error})"
            ) from error

    def batches(self) -> Iterator[RawBatch]:
        """Yield the file from its first row, in order."""
        done = 0
        with self._open() as file:
            try:
                for table in file.iter_batches(BATCH_ROWS, use_threads=False):
                    numbers = np.arange(done + 1, done + 1 + table.num_rows)
                    done += table.num_rows
                    yield RawBatch(table, numbers, fraction=done / max(self._rows, 1))
            except (pa.ArrowException, OSError) as error:
                raise ContractError(
                    f"{self.path} is damaged after row {done}: copy or write it again ({error})"
                ) from error


class CsvSource:
    """A CSV file; all columns are read as bytes, so that one bad value does not cost its whole block."""

    def __init__(self, path: Path, options: ReaderOptions) -> None:
        self.path = path
        self._options = options
        names = self._header()
        _refuse_repeated(path, names)
        self.columns = dict.fromkeys(names, pa.binary())

    def _header(self) -> list[str]:
        options = self._options
        encoding = "utf-8-sig" if options.encoding.lower().replace("_", "-") == "utf-8" else options.encoding
        try:
            with self.path.open("rb") as raw, _lenient_text(_unpacked(raw), encoding) as text:
                row = next(csv.reader(text, delimiter=options.delimiter, quotechar=options.quote), [])
            if any(_is_undecoded(character) for name in row for character in name):
                raise UnicodeError("it holds bytes that are no text")
        except (UnicodeError, LookupError, csv.Error, EOFError, OSError) as error:
            raise ContractError(
                f"the header of {self.path} is not {options.encoding}: set reader.encoding ({error})"
            ) from error
        if not row:
            raise ContractError(f"the first line of {self.path} is blank: it must name the columns")
        return row

    def batches(self) -> Iterator[RawBatch]:
        """Yield the file from its first row, in order."""
        done, size = 0, self.path.stat().st_size
        broken: list[Unreadable] = []
        try:
            with self.path.open("rb") as raw:
                for table in self._parse(raw, broken):
                    numbers = _number(table.num_rows, done, broken)
                    unreadable = _reached(broken, int(numbers[-1]) if len(numbers) else done)
                    batch = RawBatch(table, numbers, unreadable, raw.tell() / size)
                    done = max(done, batch.last_row)
                    yield batch
        except (pa.ArrowException, UnicodeError, EOFError, OSError) as error:
            raise ContractError(
                f"{self.path} cannot be read as CSV after row {done}: check reader.delimiter, reader.quote and "
                f"reader.encoding ({error})"
            ) from error

    def _parse(self, raw: BinaryIO, broken: list[Unreadable]) -> Iterator[Any]:
        """Yield the batches; rows with a wrong number of fields are appended to `broken`, some ahead of their batch."""
        options = self._options

        def skip(row: Any) -> str:  # noqa: ANN401 - pyarrow has no types
            broken.append(_unreadable(row))
            return "skip"

        reader = pacsv.open_csv(
            _unpacked(raw),
            read_options=pacsv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK, encoding=options.encoding),
            parse_options=pacsv.ParseOptions(
                delimiter=options.delimiter,
                quote_char=options.quote,
                newlines_in_values=True,
                invalid_row_handler=skip,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=self.columns, null_values=list(options.null_values), strings_can_be_null=True
            ),
        )
        yield from reader
        if broken:
            yield pa.RecordBatch.from_pylist([], schema=reader.schema)


def _lenient_text(raw: BinaryIO, encoding: str) -> io.TextIOWrapper:
    """Return the file as text; bytes that are none become lone surrogates."""
    return io.TextIOWrapper(raw, encoding, errors="surrogateescape", newline="")


def _is_undecoded(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"


def _unpacked(raw: BinaryIO) -> BinaryIO:
    if raw.name.endswith(".gz"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=raw))
    return cast("BinaryIO", bz2.BZ2File(raw)) if raw.name.endswith(".bz2") else raw


def _unreadable(row: Any) -> Unreadable:  # noqa: ANN401 - pyarrow has no types
    why = f"it has {row.actual_columns} fields, the header has {row.expected_columns}"
    return Unreadable(row.number - 1, row.text, why)


def _number(count: int, done: int, unreadable: list[Unreadable]) -> npt.NDArray[np.int64]:
    """Return the numbers of `count` rows that follow row `done`, leaving out those of the unreadable ones."""
    taken = {item.row for item in unreadable}
    candidates = np.arange(done + 1, done + 1 + count + len(taken))
    free = candidates[~np.isin(candidates, list(taken))] if taken else candidates
    return free[:count]


def _reached(broken: list[Unreadable], last: int) -> list[Unreadable]:
    """Take from `broken` the rows up to `last` and those that follow it without a gap."""
    reached = []
    while broken and broken[0].row <= last + 1:
        reached.append(broken.pop(0))
        last = max(last, reached[-1].row)
    return reached


class JsonLinesSource:
    """One JSON object a line; the columns are the keys of the first batch. Blank lines are not rows."""

    def __init__(self, path: Path, options: ReaderOptions) -> None:
        self.path = path
        self._encoding = options.encoding
        names: dict[str, pa.DataType] = {}
        for batch in self._blocks():
            names = {item.name: item.type for item in batch.table.schema}
            break
        if not names:
            raise ContractError(
                f"{path} has no line that is a JSON object: JSON lines have one object a line, not one document a file"
            )
        self.columns = names

    def batches(self) -> Iterator[RawBatch]:
        """Yield the file from its first row, in order."""
        for batch in self._blocks():
            missing = [name for name in self.columns if name not in batch.table.schema.names]
            table = batch.table
            for name in missing:
                table = table.append_column(name, pa.nulls(table.num_rows))
            yield RawBatch(table, batch.numbers, batch.unreadable, batch.fraction)

    def _blocks(self) -> Iterator[RawBatch]:
        size = self.path.stat().st_size
        block = _JsonBlock(self._encoding)
        with self.path.open("rb") as raw:
            for line in _unpacked(raw):
                block.add(line)
                if block.size == BATCH_ROWS:
                    yield block.take(raw.tell() / size)
        if block.size:
            yield block.take(1.0)


class _JsonBlock:
    """Collects lines until there are enough for a batch."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._row = 0
        self._lines: list[bytes] = []

    @property
    def size(self) -> int:
        return len(self._lines)

    def add(self, line: bytes) -> None:
        if stripped := line.strip():
            self._lines.append(stripped)

    def take(self, fraction: float) -> RawBatch:
        parsed = [_json_object(line, self._encoding) for line in self._lines]
        numbers = np.arange(self._row + 1, self._row + len(parsed) + 1)
        readable = np.array([isinstance(item, dict) for item in parsed])
        unreadable = [
            Unreadable(int(number), line.decode(self._encoding, "backslashreplace"), why)
            for number, line, why in zip(numbers, self._lines, parsed, strict=True)
            if isinstance(why, str)
        ]
        objects = [item for item in parsed if isinstance(item, dict)]
        self._row += len(parsed)
        self._lines = []
        names = dict.fromkeys(chain.from_iterable(objects))
        columns = {name: json_column([item.get(name) for item in objects]) for name in names}
        return RawBatch(pa.RecordBatch.from_pydict(columns), numbers[readable], unreadable, fraction)


def _json_object(line: bytes, encoding: str) -> dict[str, Any] | str:
    """Return the object, or why the line is none."""
    try:
        text = line.decode(encoding)
        content, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        return f"it is not JSON ({error})"
    if end != len(text):
        return f"there is more than one JSON value in it (the first ends at character {end})"
    return content if isinstance(content, dict) else "it is JSON, but not an object"


def json_column(values: list[Any]) -> pa.Array:
    """Return the values as one column: text wherever they are not all of one simple type."""
    try:
        column = pa.array(values)
    except (pa.ArrowException, OverflowError):
        column = None
    if column is None or pa.types.is_nested(column.type):
        return pa.array([value if value is None or isinstance(value, str) else json.dumps(value) for value in values])
    return column
