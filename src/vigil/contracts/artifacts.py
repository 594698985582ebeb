"""What is known of a file that Vigil wrote: its content hash, and the artifacts that it was made from."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.contracts.keys import ContentHash, canonical_json, hash_file, hash_json
from vigil.errors import ContractError

MANIFEST = "manifest.json"


class Manifest(BaseModel):
    """The contents of an artifact folder: a hash for each file, and the lineage to what they were made from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str = Field(description="what the folder holds, such as events or features")
    version: int = Field(default=1, ge=1, description="of the layout of this kind")
    files: dict[str, ContentHash] = Field(description="hash of each file, by its path in the folder")
    rows: dict[str, int] = Field(default_factory=dict, description="rows by file or by outcome")
    parents: dict[str, ContentHash] = Field(default_factory=dict, description="hash of each input, by its role")
    facts: dict[str, Any] = Field(default_factory=dict, description="anything else, as JSON")

    @property
    def content_hash(self) -> ContentHash:
        """Hash over everything above: the artifact's key."""
        return hash_json(self.model_dump(mode="json"))


def seal(folder: Path, kind: str, **details: Any) -> Manifest:  # noqa: ANN401 - the other fields of Manifest
    """Hash every file below `folder`, write the manifest beside them and return it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    files = {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}
    manifest = Manifest(kind=kind, files=files, **details)
    (folder / MANIFEST).write_bytes(canonical_json(manifest.model_dump(mode="json")) + b"\n")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of `folder`, or raise ContractError if there is none that can be read."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise ContractError(f"{folder} is not an artifact of Vigil: it has no {MANIFEST}") from None
    except ValidationError as error:
        raise ContractError(f"{path} is not a manifest: {error.errors()[0]['msg']}") from error


def verify(folder: Path) -> Manifest:
    """Return the manifest after checking every file, or raise ContractError naming the first that differs from it."""
    manifest = read_manifest(folder)
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {MANIFEST}
    if foreign := sorted(present - set(manifest.files)):
        raise ContractError(f"{folder} holds {foreign[0]}, which its manifest does not name")
    for name, expected in manifest.files.items():
        if name not in present:
            raise ContractError(f"{folder} lacks {name}, which its manifest names")
        if hash_file(folder / name) != expected:
            raise ContractError(f"{folder / name} was changed after it was sealed: make the artifact again")
    return manifest
