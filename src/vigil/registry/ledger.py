"""The ledger: one create-only object for each entry, numbered, each with the hash of the one before it.

An entry has its whole effect or none. Of two writers of the same number one is told that it came second, which is all
that compare-and-swap needs: the entry was decided on a state that held only the entries before it.
"""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from vigil.contracts.keys import ContentHash, ModelName, canonical_json, hash_bytes
from vigil.errors import ContractError
from vigil.registry.metadata import Slug
from vigil.registry.stages import LAYOUT, Actor, Entry, Reason, Step
from vigil.registry.store import Store

_READERS = 8


@dataclass(frozen=True)
class Approval:
    """Who decided, why and when. The actor is `person:NAME` or `policy:NAME`."""

    actor: str
    reason: str
    at: datetime

    def __post_init__(self) -> None:
        try:
            TypeAdapter(Actor).validate_python(self.actor)
        except ValidationError:
            raise ContractError(f"actor {self.actor!r}: give person:NAME or policy:NAME, without spaces") from None
        try:
            TypeAdapter(Reason).validate_python(self.reason)
        except ValidationError:
            raise ContractError("reason: say in at most 2000 characters why; it is kept for ever") from None


class Ledger:
    """The entries of all models in a store. What was read once is not read again: entries never change."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known: dict[ModelName, tuple[tuple[Entry, ...], ContentHash | None]] = {}

    def models(self) -> list[ModelName]:
        """Return the names of all models that have an entry."""
        return sorted({ModelName(path.split("/")[1]) for path in self.store.paths("ledger") if path.count("/") == 2})

    def entries(self, model: ModelName) -> tuple[Entry, ...]:
        """Return all entries of a model in order, or raise ContractError if one was changed or removed."""
        _check_model(model)
        entries, head = self._known.get(model, ((), None))
        paths = [path for path in self.store.paths(f"ledger/{model}") if path.endswith(".json")][len(entries) :]
        with ThreadPoolExecutor(_READERS) as pool:
            contents = list(pool.map(self.store.read, paths))
        for path, content in zip(paths, contents, strict=True):
            entry = self._parse(path, content)
            if (path, entry.previous) != (_path(model, len(entries) + 1), head):
                raise _broken(f"{self.store.uri}/{_path(model, len(entries) + 1)}")
            entries, head = (*entries, entry), hash_bytes(content)
        self._known[model] = (entries, head)
        return entries

    def append(self, model: ModelName, step: Step, approval: Approval) -> bool:
        """Write `step` after the entries that were read last; False if another entry has taken that place."""
        entries, head = self._known.get(model, ((), None))
        entry = Entry(
            position=len(entries) + 1,
            previous=head,
            token=uuid.uuid4().hex,
            at=approval.at,
            actor=approval.actor,
            reason=approval.reason,
            action=step.action,
            version=step.version,
            moves=step.moves,
            registration=step.registration,
        )
        path, content = _path(model, entry.position), canonical_json(entry.model_dump(mode="json"))
        # A request that was answered too late is sent again, and then meets the entry that it has written itself.
        return self.store.create(path, content) or self.store.read(path) == content

    def _parse(self, path: str, content: bytes) -> Entry:
        where = f"{self.store.uri}/{path}"
        try:
            if int(json.loads(content)["layout"]) > LAYOUT:
                raise ContractError(f"{where} was written by a newer Vigil than this one: install that one")
            return Entry.model_validate_json(content)
        except (ValueError, TypeError, KeyError) as error:
            raise _broken(where) from error


def _path(model: ModelName, position: int) -> str:
    return f"ledger/{model}/{position:08d}.json"


def _broken(path: str) -> ContractError:
    return ContractError(f"{path} was changed or removed after it was written: restore the ledger from a backup")


def _check_model(model: ModelName) -> None:
    try:
        TypeAdapter(Slug).validate_python(model)
    except ValidationError:
        raise ContractError(f"model {model!r}: lower-case letters, digits, dash and underscore, at most 63") from None
