"""Folders that steps write and read."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vigil.contracts.artifacts import Manifest, read_manifest, verify
from vigil.contracts.events import EVENTS, check_table
from vigil.contracts.keys import ContentHash, hash_json
from vigil.errors import ContractError

EVENTS_KIND, EVENTS_FOLDER = "events", "events"
"""Kind of the folder that ingestion writes (as `vigil.ingest.run` does), and where in it the tables lie."""

INCIDENTS = "incidents.json"
"""Known operational incidents, in the folder of events."""

EVALUATION = "evaluation"
"""Kind of the folder that an evaluation writes."""

EVIDENCE, SCORES = "evidence.json", "scores.parquet"
"""In it: what the gates judge by, and the test rows with their scores."""


def fresh(folder: Path) -> Path:
    """Return the folder, empty: what an attempt that failed has left there is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def verified(folder: Path, kind: str) -> Manifest:
    """Return the manifest of a sealed folder after checking every file, or raise ContractError if it is no `kind`."""
    manifest = verify(folder)
    if manifest.kind != kind:
        raise ContractError(f"{folder} holds {manifest.kind}, not {kind}: give the output of the step before")
    return manifest


def events_hash(folder: Path) -> ContentHash:
    """Return the hash of the events alone: the reports beside them tell when they were read."""
    files = read_manifest(folder).files
    return hash_json({name: digest for name, digest in files.items() if name.startswith(EVENTS_FOLDER + "/")})


def read_events(folder: Path) -> dict[str, pa.Table]:
    """Return the tables of events in a folder by kind."""
    paths = sorted((folder / EVENTS_FOLDER).glob("*.parquet"))
    return {path.stem: check_table(EVENTS[path.stem], pq.read_table(path)) for path in paths}


def states_path(digest: ContentHash) -> str:
    """Return where in a store the states with this hash lie."""
    return f"states/{digest.removeprefix('sha256:')}"
