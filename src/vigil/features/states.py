"""The states of all entities as a sealed folder: how the past of a training run reaches an online store.

The folder holds `states.parquet`, one row per entity: the store's key, and the state in the bytes of the kernel.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from vigil.clock import from_micros
from vigil.contracts.artifacts import Manifest, seal, verify
from vigil.contracts.keys import ContentHash
from vigil.errors import ContractError
from vigil.features.compiler import Program
from vigil.features.engine import EngineState, run
from vigil.features.fields import key_code
from vigil.features.incremental import Snapshot
from vigil.features.language import Entity
from vigil.features.log import EventLog
from vigil.features.store.base import ABSENT, Change, Outcome, StateStore

KIND = "feature_state"
FILE = "states.parquet"
SCHEMA = pa.schema([pa.field("key", pa.string(), nullable=False), pa.field("state", pa.binary(), nullable=False)])
ROWS = 4_096
"""Entities in a row group of the file; a reader holds no more."""

MARKER = "~hydration"
"""The key under which a store remembers where its first states came from; no entity is called so."""

LOAD_ROWS = 500
"""Entities in one commit of `hydrate`."""

_Row = TypeVar("_Row")


def store_key(entity: Entity, key: str) -> str:
    """Return the key under which a store holds the entity's state; one that is looked up goes by its code."""
    return f"{entity.name}:{key_code(key) if entity.lookup is not None else key}"


def entities_of(program: Program) -> list[Entity]:
    """Return the entities of the program, each once, in the order in which their states lie."""
    blocks = (block for stage in program.stages for block in stage.blocks)
    return list({block.entity.name: block.entity for block in blocks}.values())


def export_states(program: Program, state: EngineState) -> Iterator[tuple[str, bytes]]:
    """Yield the store's key and the state of every entity that an offline run has seen."""
    for entity in entities_of(program):
        rows = [
            state.blocks[block.row].rows
            for stage in program.stages
            for block in stage.blocks
            if block.entity.name == entity.name
        ]
        for number, key in enumerate(state.indexes[entity.name].keys.to_pylist()):
            yield store_key(entity, key), np.concatenate([block[number] for block in rows]).tobytes()


def state_at_end(program: Program, snapshot: Snapshot) -> EngineState:
    """Return the state after all events of a feature table, those included that are not settled yet."""
    state = snapshot.state.copy()
    run(program, EventLog.of(snapshot.tail), state)
    return state


def write_states(
    folder: Path, program: Program, state: EngineState, *, until: int, parents: dict[str, ContentHash] | None = None
) -> Manifest:
    """Seal the states into `folder` and return its manifest; `until` (microseconds) is the time they are of.

    The same states give the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    with pq.ParquetWriter(folder / FILE, SCHEMA, compression="zstd", use_dictionary=False) as writer:
        for rows in _batches(export_states(program, state), ROWS):
            keys, values = zip(*rows, strict=True)
            writer.write_batch(pa.record_batch([pa.array(keys), pa.array(values, pa.binary())], schema=SCHEMA))
            count += len(rows)
    facts = {"feature_schema": program.schema_hash, "settled": from_micros(until).isoformat()}
    return seal(folder, KIND, rows={FILE: count}, parents=parents or {}, facts=facts)


@dataclass(frozen=True)
class FeatureStates:
    """A verified folder of states; iterating reads it, a few thousand entities at a time."""

    folder: Path
    content_hash: ContentHash
    feature_schema: ContentHash
    settled: datetime
    """The time that the states are of: they know all events before it."""
    entities: int

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        with pq.ParquetFile(self.folder / FILE) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                yield from zip(batch["key"].to_pylist(), batch["state"].to_pylist(), strict=True)


def read_states(folder: Path) -> FeatureStates:
    """Return the states in `folder`; ContractError if it holds something else or was changed after it was sealed."""
    manifest = verify(folder)
    if manifest.kind != KIND or FILE not in manifest.files:
        raise ContractError(f"{folder} holds {manifest.kind}, not the {KIND} that a training run seals")
    return FeatureStates(
        folder=folder,
        content_hash=manifest.content_hash,
        feature_schema=_fact(folder, manifest, "feature_schema"),
        settled=datetime.fromisoformat(_fact(folder, manifest, "settled")),
        entities=manifest.rows.get(FILE, 0),
    )


def _fact(folder: Path, manifest: Manifest, name: str) -> Any:  # noqa: ANN401 - as JSON has it
    if name not in manifest.facts:
        raise ContractError(f"{folder}: its manifest does not say {name}: seal the states again")
    return manifest.facts[name]


class Hydration(StrEnum):
    """What `hydrate` did."""

    LOADED = "loaded"
    ALREADY_LOADED = "already_loaded"
    IN_USE = "in_use"


class HydrateOutcome(BaseModel):
    """What became of an attempt to load states into a store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    done: Hydration
    entities: int
    """States that this call wrote."""
    offered: int
    """States in the folder."""
    settled: datetime

    def __str__(self) -> str:
        known = f"states as of {self.settled.isoformat()}"
        if self.done is Hydration.LOADED:
            kept = self.offered - self.entities
            return f"loaded {self.entities} {known}" + (
                f"; {kept} entities had one already and kept it" if kept else ""
            )
        if self.done is Hydration.ALREADY_LOADED:
            return f"the store has been filled from {known} before, and was left as it is"
        return f"the store is in use by live traffic of this feature schema, and was left as it is: no {known} loaded"


class _Marker(BaseModel):
    """What a store remembers under `MARKER`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    states: ContentHash
    is_complete: bool


def hydrate(store: StateStore, folder: Path, schema_hash: ContentHash) -> HydrateOutcome:
    """Load the states in `folder` into a store that nothing was written to yet, and return what was done.

    A state that is there is never overwritten, whoever wrote it, and an entity that live traffic meets meanwhile keeps
    what live traffic wrote. After a crash the next call goes on; several processes may call at once. Raises
    ContractError for states of another feature schema.
    """
    states = read_states(folder)
    if states.feature_schema != schema_hash:
        raise ContractError(
            f"{folder} holds states of feature schema {states.feature_schema}, the server computes {schema_hash}: "
            "give the states that were sealed by the training run of this model"
        )
    refusal = _claim(store, states)
    if refusal is not None:
        return HydrateOutcome(done=refusal, entities=0, offered=states.entities, settled=states.settled)
    written = sum(_write_absent(store, rows) for rows in _batches(states, LOAD_ROWS))
    _mark(store, _Marker(states=states.content_hash, is_complete=True))
    return HydrateOutcome(done=Hydration.LOADED, entities=written, offered=states.entities, settled=states.settled)


def _claim(store: StateStore, states: FeatureStates) -> Hydration | None:
    """Mark the store as being filled, or return why it is to be left alone."""
    is_used = store.is_used()
    (found,) = store.get_many([MARKER])
    if found is not None:
        marker = _Marker.model_validate_json(found.value)
        if not marker.is_complete:
            return None
        return Hydration.ALREADY_LOADED if marker.states == states.content_hash else Hydration.IN_USE
    if is_used:
        return Hydration.IN_USE
    _mark(store, _Marker(states=states.content_hash, is_complete=False))
    return None


def _mark(store: StateStore, marker: _Marker) -> None:
    """Write the marker, unless another process has written one that says as much."""
    outcome = Outcome.CONFLICT
    while outcome is Outcome.CONFLICT:
        (found,) = store.get_many([MARKER])
        if found is not None and _Marker.model_validate_json(found.value).is_complete >= marker.is_complete:
            return
        change = Change(MARKER, marker.model_dump_json().encode(), found.version if found else ABSENT)
        outcome = store.commit([change]).outcome


def _write_absent(store: StateStore, rows: Iterable[tuple[str, bytes]]) -> int:
    """Write the states of the entities that have none, and return how many."""
    waiting = dict(rows)
    while waiting:
        changes = [Change(key, value, ABSENT) for key, value in waiting.items()]
        if store.commit(changes).outcome is Outcome.APPLIED:
            return len(waiting)
        found = store.get_many(list(waiting))
        waiting = {key: waiting[key] for key, state in zip(list(waiting), found, strict=True) if state is None}
    return 0


def _batches(rows: Iterable[_Row], size: int) -> Iterator[list[_Row]]:
    source = iter(rows)
    while batch := list(islice(source, size)):
        yield batch
