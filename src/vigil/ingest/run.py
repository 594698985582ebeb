"""One raw file in, one sealed artifact of canonical events out."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vigil.clock import Clock, to_micros
from vigil.contracts.artifacts import read_manifest, seal, verify
from vigil.contracts.keys import hash_file
from vigil.errors import ContractError
from vigil.ingest.collect import Collection
from vigil.ingest.deferred import quarantine_deferred
from vigil.ingest.mapping import Mapping
from vigil.ingest.page import write_page
from vigil.ingest.publish import HISTORY_FILE, publish
from vigil.ingest.quarantine import Quarantine
from vigil.ingest.readers import Source, open_source
from vigil.ingest.report import IngestReport, Provenance, build_report

EVENTS, REJECTED = "events", "rejected_events"
"""Kinds of artifact: of a run that succeeded, and of one that failed (quarantine and report only)."""

Progress = Callable[[str, float], None]
"""Told the stage of the work and how much of the stage is done, from 0 to 1."""


@dataclass(frozen=True)
class IngestOptions:
    """What a run may be told beyond its file.

    `until` ends the window in which feeds may be silent (the last event of their kind, if not given). `previous` is
    the artifact of the run before: its history lets a file of one day be judged against weeks.
    """

    until: datetime | None = None
    previous: Path | None = None


@dataclass(frozen=True)
class _Run:
    source: Source
    mapping: Mapping
    options: IngestOptions
    now: datetime
    progress: Progress


def ingest_file(
    path: Path,
    mapping: Mapping,
    output: Path,
    *,
    clock: Clock,
    progress: Progress | None = None,
    options: IngestOptions | None = None,
) -> IngestReport:
    """Turn a raw file into the artifact folder `output` and return its report.

    `output` then holds events/KIND.parquet (each with exactly the schema of its kind, ordered by event_time and then
    by place in the source), quarantine.parquet, history.parquet, report.json and report.html; it appears whole or not
    at all. ContractError is raised if the file does not fit the mapping, or breaks a limit of it; in the latter case
    quarantine and report are left in the folder `OUTPUT.rejected`.
    """
    if output.exists():
        raise ContractError(f"{output} exists already: choose another output, or remove it")
    source = open_source(path, mapping.reader)
    _check_columns(source, mapping)
    output.parent.mkdir(parents=True, exist_ok=True)
    run = _Run(source, mapping, options or IngestOptions(), clock(), progress or (lambda stage, fraction: None))
    with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        staging = Path(scratch) / "artifact"
        staging.mkdir()
        report = _ingest(run, staging, Path(scratch))
        if report.problem is None:
            _finish(staging, output, report, run.options.previous)
            return report
        rejected = output.with_name(output.name + ".rejected")
        shutil.rmtree(staging / "events")
        (staging / HISTORY_FILE).unlink()
        shutil.rmtree(rejected, ignore_errors=True)
        _finish(staging, rejected, report, run.options.previous)
    raise ContractError(f"{report.problem}; see {rejected / 'report.html'}")


def _ingest(run: _Run, staging: Path, scratch: Path) -> IngestReport:
    quarantine = Quarantine(staging / "quarantine.parquet")
    collection = Collection(run.mapping, scratch, quarantine, run.now)
    if run.options.previous is not None:
        collection.remember(_history(run.options.previous))
    problem = _collect(run, collection)
    collection.close()
    run.progress("sorting and writing", 0.0)
    until = None if run.options.until is None else to_micros(run.options.until)
    published = publish(collection, staging / "events", until)
    quarantine_deferred(run.source, run.mapping, collection.ledger, published.jumps, quarantine)
    quarantine.close()
    run.progress("reporting", 0.0)
    provenance = Provenance(run.source.path.name, hash_file(run.source.path), run.now, problem)
    report = build_report(collection, published, provenance)
    report = report.model_copy(update={"problem": problem or _broken_limit(report, run.mapping)})
    report.write(staging / "report.json")
    write_page(report, staging / "report.html")
    return report


def _history(previous: Path) -> pa.Table:
    manifest = verify(previous)
    if manifest.kind != EVENTS:
        raise ContractError(f"{previous} holds {manifest.kind}, not {EVENTS}: give the folder of a run that succeeded")
    return pq.read_table(previous / HISTORY_FILE)


def _collect(run: _Run, collection: Collection) -> str | None:
    """Read the whole file; return what stopped the reading before its end."""
    try:
        for batch in run.source.batches():
            collection.add(batch)
            run.progress("reading and checking", batch.fraction)
    except ContractError as error:
        return str(error)
    return None


def _finish(staging: Path, target: Path, report: IngestReport, previous: Path | None) -> None:
    kind = EVENTS if report.problem is None else REJECTED
    rows = {"read": report.rows.read, "accepted": report.rows.accepted, "quarantined": report.rows.quarantined}
    if kind == EVENTS:
        rows |= {f"events/{item.kind}.parquet": item.count for item in report.kinds}
        rows["events/feed_silence.parquet"] = report.silent_feed_count
    parents = {"source": report.source_hash, "mapping": report.mapping_hash}
    if previous is not None:
        parents["previous"] = read_manifest(previous).content_hash
    seal(staging, kind, rows=rows, parents=parents, facts={"mapping": report.mapping, "source": report.source})
    staging.rename(target)


def _check_columns(source: Source, mapping: Mapping) -> None:
    for column, place in mapping.uses().items():
        if column not in source.columns:
            raise ContractError(
                f"{source.path} has no column {column!r}, which {place} of the mapping {mapping.name} reads: "
                f"{_nearest(column, list(source.columns))}"
            )


def _nearest(column: str, present: list[str]) -> str:
    if len(present) == 1 and (other := [mark for mark in ";\t|," if mark in present[0]]):
        return f"its header is one column, {present[0][:80]!r}: set reader.delimiter to {other[0]!r}"
    folded = {name.casefold().strip(): name for name in present}
    if close := get_close_matches(column.casefold(), list(folded), n=1, cutoff=0.5):
        return f"is {folded[close[0]]!r} meant? (the file has {', '.join(present)})"
    return f"the file has {', '.join(present) or 'no columns'}"


def _broken_limit(report: IngestReport, mapping: Mapping) -> str | None:
    limits, rows = mapping.limits, report.rows
    if rows.read < limits.min_rows:
        return (
            f"{report.source} has {rows.read} rows, at least {limits.min_rows} are expected: run the export again, "
            "or lower limits.min_rows"
        )
    if rows.faulty_share <= limits.max_quarantined_share:
        return None
    worst = next(item for item in report.rules if item.rule != "excluded")
    place = ".".join(part for part in (worst.event, worst.field) if part) or "the whole row"
    return (
        f"{rows.quarantined - rows.excluded:,} of {rows.read:,} rows of {report.source} ({rows.faulty_share:.2%}) were "
        f"quarantined, {limits.max_quarantined_share:.2%} are allowed; most broke the rule {worst.rule} of {place}: "
        f"{worst.count:,}, first row {worst.first_row}: {worst.examples[0].reason}"
    )
