"""Raw data become validated events: a raw file by its mapping, or a folder of tables that are events already."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vigil.clock import Clock
from vigil.contracts.artifacts import MANIFEST, Manifest, read_manifest, seal
from vigil.contracts.events import EVENTS
from vigil.errors import ContractError
from vigil.ingest.mapping import Mapping, load_mapping
from vigil.ingest.run import ingest_file
from vigil.ingest.shipped import canonical_mapping, shipped_mapping, source_names
from vigil.training.folders import EVENTS_FOLDER, EVENTS_KIND, INCIDENTS, fresh
from vigil.training.raw import local, raw_hash
from vigil.usecase import UseCase

_SILENCES = "feed_silence"
_CHECKED = "checked"
"""Folder of each kind's quarantine and report, where the raw data are several tables."""


def ingest(use_case: UseCase, raw: str, source: str, output: Path, clock: Clock) -> Manifest:
    """Write validated events into a sealed folder, with quarantine and report, and return its manifest.

    `raw` is a file or folder, here or at gs://. A file is read by the mapping `source` (a name, or a YAML file), by the
    first of the use case's if that is empty. A folder holds canonical events, KIND.parquet each, or has them in
    `events/`.
    """
    with local(raw) as path:
        shutil.rmtree(output, ignore_errors=True)
        if path.is_dir():
            return _ingest_folder(path, output, clock)
        ingest_file(path, _mapping(source or use_case.sources[0]), output, clock=clock)
    return read_manifest(output)


def report_page(folder: Path) -> Path:
    """Return the page about the transactions in the output of `ingest`."""
    page = folder / _CHECKED / "transaction" / "report.html"
    return page if page.is_file() else folder / "report.html"


def _mapping(source: str) -> Mapping:
    if source in source_names():
        return shipped_mapping(source)
    if Path(source).is_file():
        return load_mapping(Path(source))
    raise ContractError(f"there is no source {source!r}: one of {', '.join(source_names())}, or a YAML file")


def _ingest_folder(raw: Path, output: Path, clock: Clock) -> Manifest:
    """Check each table as a raw file of its kind, and put the events of all into one folder."""
    tables = _tables(raw)
    (fresh(output) / EVENTS_FOLDER).mkdir()
    silences: list[pa.Table] = []
    counts: dict[str, int] = {}
    for kind, path in tables.items():
        part = output / _CHECKED / kind
        report = ingest_file(path, canonical_mapping(kind), part, clock=clock)
        (part / EVENTS_FOLDER / f"{kind}.parquet").rename(output / EVENTS_FOLDER / f"{kind}.parquet")
        if kind != _SILENCES:
            silences.append(pq.read_table(part / EVENTS_FOLDER / f"{_SILENCES}.parquet"))
        shutil.rmtree(part / EVENTS_FOLDER)
        (part / MANIFEST).unlink()  # the outer folder is sealed as a whole
        counts |= {f"{kind}.accepted": report.rows.accepted, f"{kind}.quarantined": report.rows.quarantined}
    if _SILENCES not in tables:
        pq.write_table(pa.concat_tables(silences), output / EVENTS_FOLDER / f"{_SILENCES}.parquet")
    for known in (raw / INCIDENTS, raw / "truth" / INCIDENTS):
        if known.is_file():
            shutil.copyfile(known, output / INCIDENTS)
    return seal(output, EVENTS_KIND, rows=counts, parents={"source": raw_hash(str(raw))})


def _tables(raw: Path) -> dict[str, Path]:
    folder = raw / EVENTS_FOLDER if (raw / EVENTS_FOLDER).is_dir() else raw
    tables = {path.stem: path for path in sorted(folder.glob("*.parquet"))}
    if foreign := sorted(set(tables) - set(EVENTS)):
        raise ContractError(f"{folder / foreign[0]}.parquet is no kind of event: one of {', '.join(EVENTS)}")
    if "transaction" not in tables:
        raise ContractError(f"{folder} has no transaction.parquet: give a raw file, or a folder of canonical events")
    return tables
