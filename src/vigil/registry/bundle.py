"""The sealed bundle: a model with all that belongs to it, in one folder with one hash.

    manifest.json        digests and sizes of the parts, metadata, hashes of the inputs
    signatures/KEY.sig   Ed25519 over the bytes of manifest.json, one for each key that signed
    ...                  the parts, such as members/forest.npz, thresholds.json

The hash of a bundle is the SHA-256 of its manifest.json (`sha256sum manifest.json` prints it), so it does not depend on
who signed, where it lies or when it was made. Nothing is parsed before everything is verified, nothing is ever
unpickled.
"""

import io
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from vigil.contracts.artifacts import MANIFEST, Manifest
from vigil.contracts.keys import ContentHash, canonical_json, hash_bytes, hash_file
from vigil.errors import ContractError
from vigil.registry.formats import check_format
from vigil.registry.metadata import BundleMetadata
from vigil.registry.store import Store, open_store, plain_files, translate_errors

KIND = "bundle"
LAYOUT = 1
"""Version of the layout above. A reader refuses a later one and keeps reading all earlier ones."""

MAX_MANIFEST_BYTES = 16 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)*")
_SIGNATURE = re.compile(r"signatures/[0-9a-f]{16}\.sig")

Part = bytes | Path


@dataclass(frozen=True)
class BundleRef:
    """Which bundle, and where it lies: `uri` is what KServe's `storageUri` takes."""

    hash: ContentHash
    uri: str


class _Facts(BaseModel):
    """What a bundle's manifest says besides the digests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: dict[str, int]
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle. Its parts are read when they are asked for, and checked once more."""

    hash: ContentHash
    folder: Path
    manifest: Manifest
    metadata: BundleMetadata
    sizes: dict[str, int]
    _download: object = field(default=None, repr=False, compare=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the parts, sorted."""
        return tuple(sorted(self.manifest.files))

    @property
    def size(self) -> int:
        """Bytes of all parts together."""
        return sum(self.sizes.values())

    def read(self, name: str) -> bytes:
        """Return the content of a part, or raise ContractError listing the parts that there are."""
        if name not in self.manifest.files:
            raise ContractError(f"bundle {self.hash} has no part {name}: it has {', '.join(self.names)}")
        with translate_errors(f"read {self.folder / name}"):
            content = (self.folder / name).read_bytes()
        if hash_bytes(content) != self.manifest.files[name]:
            raise _changed(self.folder / name)
        return content

    def json(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the content of a JSON part."""
        return json.loads(self.read(name))

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return the arrays of an npz part by their names."""
        with np.load(io.BytesIO(self.read(name)), allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}


def bundle_path(digest: ContentHash) -> str:
    """Return where in a store the bundle with this hash lies."""
    return f"bundles/{digest.removeprefix('sha256:')}"


def bundle_uri(store: Store, digest: ContentHash) -> str:
    """Return the address of the bundle with this hash in `store`."""
    return f"{store.uri}/{bundle_path(digest)}"


def write_bundle(
    parts: Mapping[str, bytes] | Path, metadata: BundleMetadata, store: Store, *, signing_key: Path | None = None
) -> BundleRef:
    """Seal `parts` (contents by name, or a folder of files) in `store` and return where the bundle lies.

    The same parts and metadata give the same bytes under the same address; writing them again changes nothing. The
    manifest is written last: what a crash leaves behind is not a bundle, and is completed by the next attempt.
    """
    contents = _collect(parts)
    for name, part in contents.items():
        _check_part(name, part)
    manifest = _make_manifest(contents, metadata)
    digest = hash_bytes(manifest)
    for name, part in contents.items():
        _put(store, f"{bundle_path(digest)}/{name}", part)
    if signing_key is not None:
        _put_signature(store, bundle_path(digest), manifest, signing_key)
    _put(store, f"{bundle_path(digest)}/{MANIFEST}", manifest)
    return BundleRef(digest, bundle_uri(store, digest))


def sign_bundle(store: Store, digest: ContentHash, signing_key: Path) -> None:
    """Add a signature to the bundle with this hash, for instance by a new key; the hash stays the same."""
    _put_signature(store, bundle_path(digest), read_manifest_bytes(store, digest), signing_key)


def read_manifest_bytes(store: Store, digest: ContentHash) -> bytes:
    """Return the manifest of a bundle in `store`, or raise ContractError if it is missing or has another hash."""
    content = store.read(f"{bundle_path(digest)}/{MANIFEST}")
    if hash_bytes(content) != digest:
        raise _changed(f"{bundle_uri(store, digest)}/{MANIFEST}")
    return content


def load_bundle(uri: str | Path, *, public_key: Path | None = None, expected_hash: ContentHash | None = None) -> Bundle:
    """Return the verified bundle in a folder or at a `gs://` address, which is downloaded for as long as it is used.

    With `public_key` (a PEM file) a bundle that this key did not sign is refused; with `expected_hash` any other bundle
    is. Every digest, size and name is checked before any content is parsed; ContractError names the file that is wrong.
    """
    if str(uri).startswith("gs://"):
        download = tempfile.TemporaryDirectory(prefix="vigil-bundle-")
        fetch_bundle(str(uri), Path(download.name))
        return replace(_load_folder(Path(download.name), str(uri), public_key, expected_hash), _download=download)
    with translate_errors(f"read the bundle {uri}"):
        return _load_folder(Path(uri), str(uri), public_key, expected_hash)


def fetch_bundle(uri: str, folder: Path) -> None:
    """Copy the files of the bundle at `uri` into `folder`; nothing is verified yet, but nothing lands outside of it."""
    store = open_store(uri)
    for name in store.paths(""):
        _check_name(name, uri)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        store.fetch(name, folder / name)


def parse_manifest(content: bytes, where: str) -> tuple[Manifest, BundleMetadata, dict[str, int]]:
    """Return manifest, metadata and the size of each part, or raise ContractError saying what `where` is instead."""
    _check_layout(content, where)
    try:
        manifest = Manifest.model_validate_json(content)
        facts = _Facts.model_validate(manifest.facts)
        return manifest, BundleMetadata.model_validate(facts.metadata | {"parents": manifest.parents}), facts.bytes
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or MANIFEST
        raise ContractError(f"{where} is not a bundle that this Vigil reads: {place}: {first['msg']}") from error


def _load_folder(folder: Path, where: str, public_key: Path | None, expected: ContentHash | None) -> Bundle:
    present = {path.relative_to(folder).as_posix(): path for path in plain_files(folder)}
    if MANIFEST not in present:
        raise ContractError(f"{where} is not a bundle of Vigil: it has no {MANIFEST}")
    if present[MANIFEST].stat().st_size > MAX_MANIFEST_BYTES:
        raise ContractError(f"{where}/{MANIFEST} is larger than any manifest ({MAX_MANIFEST_BYTES} bytes)")
    content = present[MANIFEST].read_bytes()
    digest = hash_bytes(content)
    if expected is not None and digest != expected:
        raise ContractError(f"{where} is bundle {digest}, not {expected}: fetch the right one again")
    if public_key is not None:
        _check_signature(present, content, public_key, where)
    manifest, metadata, sizes = parse_manifest(content, where)
    _check_names(present, manifest, sizes, where)
    _check_contents(present, manifest, sizes)
    return Bundle(digest, folder, manifest, metadata, sizes)


def _check_signature(present: dict[str, Path], manifest: bytes, public_key: Path, where: str) -> None:
    from vigil.registry.signature import is_signed_by, signature_path

    path = present.get(signature_path(public_key))
    if path is None:
        raise ContractError(f"{where} is not signed by {public_key}: sign it, or load one that is")
    if not is_signed_by(public_key, manifest, path.read_bytes()):
        raise ContractError(f"{path} is no signature of {MANIFEST} by {public_key}: fetch the bundle again, or sign it")


def _check_layout(content: bytes, where: str) -> None:
    try:
        document = json.loads(content)
        kind, layout = document["kind"], int(document["version"])
    except (ValueError, TypeError, KeyError) as error:
        raise ContractError(f"{where} is not a bundle of Vigil: its {MANIFEST} cannot be read") from error
    if kind != KIND:
        raise ContractError(f"{where} holds {kind}, not a bundle")
    if layout > LAYOUT:
        raise ContractError(
            f"{where} is a bundle of layout {layout}; this Vigil reads up to {LAYOUT}: install a newer Vigil"
        )


def _check_names(present: dict[str, Path], manifest: Manifest, sizes: dict[str, int], where: str) -> None:
    for name in manifest.files:
        _check_name(name, where)
    if unsized := sorted(set(manifest.files) ^ set(sizes)):
        raise ContractError(f"{where}/{MANIFEST} gives a digest or a size for {unsized[0]}, but not both")
    signatures = {name for name in present if _SIGNATURE.fullmatch(name)}
    if foreign := sorted(set(present) - signatures - set(manifest.files) - {MANIFEST}):
        raise ContractError(f"{where} holds {foreign[0]}, which its manifest does not name: remove the file")
    if missing := sorted(set(manifest.files) - set(present)):
        raise ContractError(f"{where} lacks {missing[0]}, which its manifest names: fetch the bundle again")


def _check_contents(present: dict[str, Path], manifest: Manifest, sizes: dict[str, int]) -> None:
    for name, digest in manifest.files.items():
        size = present[name].stat().st_size
        if size != sizes[name]:
            raise ContractError(f"{present[name]} has {size} bytes instead of {sizes[name]}: fetch the bundle again")
        if hash_file(present[name]) != digest:
            raise _changed(present[name])
    for name in manifest.files:
        _check_part(name, present[name])


def _changed(path: Path | str) -> ContractError:
    return ContractError(f"{path} was changed after the bundle was sealed: fetch the bundle again")


def _check_name(name: str, where: str) -> None:
    """Refuse a name that could lead outside, or that two file systems would understand in two ways."""
    if not _NAME.fullmatch(name):
        raise ContractError(
            f"{where}: {name!r} is not the name of a part: lower-case letters, digits, dot, dash and underscore, "
            "in folders divided by /"
        )


def _collect(parts: Mapping[str, bytes] | Path) -> dict[str, Part]:
    """Return the parts in the order of their names."""
    if isinstance(parts, Path):
        found: dict[str, Part] = {path.relative_to(parts).as_posix(): path for path in plain_files(parts)}
    else:
        found = dict(parts)
    if not found:
        raise ContractError("a bundle needs at least one part")
    for name in found:
        _check_name(name, "parts")
        if name == MANIFEST or name.startswith("signatures/"):
            raise ContractError(f"parts: {name} belongs to the bundle itself: give the part another name")
    return dict(sorted(found.items()))


def _check_part(name: str, part: Part) -> None:
    with _open(part) as file:
        check_format(name, file)


def _open(part: Part) -> BinaryIO:
    return part.open("rb") if isinstance(part, Path) else io.BytesIO(part)


def _make_manifest(contents: dict[str, Part], metadata: BundleMetadata) -> bytes:
    sizes = {name: part.stat().st_size if isinstance(part, Path) else len(part) for name, part in contents.items()}
    manifest = Manifest(
        kind=KIND,
        version=LAYOUT,
        files={name: _digest(part) for name, part in contents.items()},
        parents=metadata.parents,
        facts={"bytes": sizes, "metadata": metadata.model_dump(mode="json", exclude={"parents"})},
    )
    return canonical_json(manifest.model_dump(mode="json")) + b"\n"


def _digest(part: Part) -> ContentHash:
    return hash_file(part) if isinstance(part, Path) else hash_bytes(part)


def _put_signature(store: Store, root: str, manifest: bytes, signing_key: Path) -> None:
    from vigil.registry.signature import sign

    path, signature = sign(manifest, signing_key)
    _put(store, f"{root}/{path}", signature)


def _put(store: Store, path: str, part: Part) -> None:
    """Create the object, or make sure that what is there already is the same."""
    if not store.create(path, part) and hash_bytes(store.read(path)) != _digest(part):
        raise ContractError(
            f"{store.uri}/{path} holds other bytes: it was changed; remove it and write the bundle again"
        )
