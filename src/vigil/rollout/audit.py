"""Who did what to a rollout and why: create-only entries, each with the hash of the one before it.

An act has its number before it is written, and the same act is the same bytes. So it can be written again after a crash
without being there twice, and of two controllers that write the same number one is noticed.
"""

from collections.abc import Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.contracts.keys import ContentHash, canonical_json, hash_bytes
from vigil.errors import ContractError
from vigil.registry.metadata import Digest
from vigil.rollout.observation import LogSeen
from vigil.rollout.status import Act, Status

LAYOUT = 1


class Objects(Protocol):
    """Objects that are created once and never changed: `vigil.registry.store`, or ConfigMaps."""

    @property
    def uri(self) -> str:
        """Where they are, for messages."""
        ...

    def create(self, path: str, content: bytes) -> bool:
        """Write a new object and return True; False if there is one already."""
        ...

    def read(self, path: str) -> bytes:
        """Return the content of an object."""
        ...

    def paths(self, folder: str) -> list[str]:
        """Return the sorted paths of all objects below `folder`."""
        ...


class Entry(BaseModel):
    """An act in its place in the chain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int = LAYOUT
    previous: Digest | None = Field(description="hash of the entry before this one")
    act: Act


class AuditLog:
    """The acts of all models. What was read once is not read again; `entries` of a new log reads everything."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._known: dict[str, tuple[tuple[Entry, ...], ContentHash | None]] = {}

    def see(self, model: str) -> LogSeen:
        """Return the length and the head of a model's log; ContractError where an entry was changed or removed."""
        entries = self.entries(model)
        return LogSeen(len(entries), self._known[model][1])

    def entries(self, model: str) -> tuple[Entry, ...]:
        """Return all entries of a model in order, or raise ContractError if one was changed or removed."""
        entries, head = self._known.get(model, ((), None))
        paths = self._objects.paths(_folder(model))
        if len(paths) < len(entries):
            raise self._broken(_path(model, len(paths) + 1))
        for path in paths[len(entries) :]:
            expected, content = _path(model, len(entries) + 1), self._objects.read(path)
            entry = self._parse(expected, content)
            if (path, entry.previous, entry.act.number) != (expected, head, len(entries) + 1):
                raise self._broken(expected)
            entries, head = (*entries, entry), hash_bytes(content)
        self._known[model] = (entries, head)
        return entries

    def append(self, model: str, acts: Sequence[Act]) -> None:
        """Write the acts at their numbers; those that are there already are left alone."""
        for act in acts:
            entries = self.entries(model)
            if act.number <= len(entries):
                self._check_same(model, entries[act.number - 1], act)
                continue
            if act.number > len(entries) + 1:
                raise self._broken(_path(model, len(entries) + 1))
            entry = Entry(previous=self._known[model][1], act=act)
            path, content = _path(model, act.number), canonical_json(entry.model_dump(mode="json"))
            if not self._objects.create(path, content) and self._objects.read(path) != content:
                raise self._broken(path)
        self.entries(model)

    def verify(self, model: str, status: Status | None) -> str | None:
        """Return what is wrong with the log, None if nothing is; only the status shows that the end is missing."""
        try:
            seen = self.see(model)
        except ContractError as error:
            return str(error)
        if status is None:
            return None
        if seen.length < status.logged:
            return f"the last {status.logged - seen.length} of {status.logged} entries were removed"
        entries = self._known[model][0]
        head = entries[status.logged].previous if status.logged < seen.length else seen.head
        if status.logged and head != status.head:
            return f"entry {status.logged} is not the one that the rollout knows: the log was written anew"
        return None

    def _check_same(self, model: str, entry: Entry, act: Act) -> None:
        if entry.act != act:
            raise ContractError(
                f"{self._objects.uri}/{_path(model, act.number)} holds another act ({entry.act.kind} of rollout "
                f"{entry.act.rollout}): two controllers were at work, or the log was changed after it was written"
            )

    def _parse(self, path: str, content: bytes) -> Entry:
        try:
            return Entry.model_validate_json(content)
        except ValidationError as error:
            raise self._broken(path) from error

    def _broken(self, path: str) -> ContractError:
        return ContractError(f"{self._objects.uri}/{path} was changed or removed after it was written")


def _folder(model: str) -> str:
    return f"{model}/audit"


def _path(model: str, number: int) -> str:
    return f"{_folder(model)}/{number:08d}.json"
