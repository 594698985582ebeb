"""A bundle is what was sealed, or it is refused with a sentence that names the file."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.registry.samples import metadata, npz, parts
from vigil.contracts.keys import canonical_json, hash_bytes
from vigil.errors import ContractError
from vigil.registry.bundle import BundleRef, load_bundle, write_bundle
from vigil.registry.store import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def ref(store: FolderStore) -> BundleRef:
    return write_bundle(parts(), metadata(), store)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _edit_manifest(ref: BundleRef, edit: Any) -> Path:
    """Change the manifest as a forger would who can compute digests."""
    path = Path(ref.uri) / "manifest.json"
    document = json.loads(path.read_bytes())
    edit(document)
    path.write_bytes(canonical_json(document))
    return path.parent


def _add(ref: BundleRef, name: str, content: bytes) -> Path:
    """Add a part to the folder and to the manifest, with the right digest."""
    target = Path(ref.uri) / name
    target.write_bytes(content)

    def edit(document: dict[str, Any]) -> None:
        document["files"][name] = hash_bytes(content)
        document["facts"]["bytes"][name] = len(content)

    return _edit_manifest(ref, edit)


def test_every_part_comes_back_as_it_was_given(ref: BundleRef) -> None:
    bundle = load_bundle(ref.uri)
    assert {name: bundle.read(name) for name in bundle.names} == parts()


def test_the_metadata_come_back_as_they_were_given(ref: BundleRef) -> None:
    assert load_bundle(ref.uri).metadata == metadata()


def test_arrays_and_json_are_read_from_their_parts(ref: BundleRef) -> None:
    bundle = load_bundle(ref.uri)
    np.testing.assert_array_equal(bundle.arrays("members/forest.npz")["left"], np.arange(6))
    assert bundle.json("thresholds.json") == {"alert": 0.5}


def test_the_size_is_the_sum_of_the_parts(ref: BundleRef) -> None:
    assert load_bundle(ref.uri).size == sum(map(len, parts().values()))


def test_a_part_that_is_not_there_is_refused_with_a_list_of_those_that_are(ref: BundleRef) -> None:
    with pytest.raises(ContractError, match=r"no part members/other.npz: it has .*members/boosted.ubj"):
        load_bundle(ref.uri).read("members/other.npz")


def test_the_same_input_gives_the_same_bytes(store: FolderStore, ref: BundleRef, tmp_path: Path) -> None:
    other = write_bundle(dict(reversed(parts().items())), metadata(), FolderStore(tmp_path / "other"))
    assert other.hash == ref.hash
    assert _files(Path(other.uri)) == _files(Path(ref.uri))


def test_a_folder_gives_the_same_bundle_as_its_contents(ref: BundleRef, tmp_path: Path) -> None:
    for name, content in parts().items():
        (tmp_path / "parts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "parts" / name).write_bytes(content)
    assert write_bundle(tmp_path / "parts", metadata(), FolderStore(tmp_path / "other")).hash == ref.hash


def test_the_hash_is_that_of_the_manifest_file(ref: BundleRef) -> None:
    assert hash_bytes((Path(ref.uri) / "manifest.json").read_bytes()) == ref.hash


def test_another_content_is_another_bundle(store: FolderStore, ref: BundleRef) -> None:
    assert write_bundle(parts(cut=0.6), metadata(), store).hash != ref.hash


def test_other_metadata_are_another_bundle(store: FolderStore, ref: BundleRef) -> None:
    assert write_bundle(parts(), metadata(auc=0.5), store).hash != ref.hash


def test_writing_a_bundle_again_changes_nothing(store: FolderStore, ref: BundleRef) -> None:
    before = _files(store.root)
    assert write_bundle(parts(), metadata(), store) == ref
    assert _files(store.root) == before


def test_writing_completes_what_a_crash_has_left(store: FolderStore, ref: BundleRef) -> None:
    (Path(ref.uri) / "manifest.json").unlink()
    (Path(ref.uri) / "thresholds.json").unlink()
    write_bundle(parts(), metadata(), store)
    assert load_bundle(ref.uri).hash == ref.hash


def test_writing_over_a_changed_bundle_is_refused(store: FolderStore, ref: BundleRef) -> None:
    (Path(ref.uri) / "thresholds.json").write_bytes(b"{}")
    with pytest.raises(ContractError, match=r"thresholds.json holds other bytes"):
        write_bundle(parts(), metadata(), store)


def test_the_expected_hash_passes(ref: BundleRef) -> None:
    assert load_bundle(ref.uri, expected_hash=ref.hash).hash == ref.hash


def test_another_bundle_than_the_expected_one_is_refused(store: FolderStore, ref: BundleRef) -> None:
    other = write_bundle(parts(cut=0.6), metadata(), store)
    with pytest.raises(ContractError, match=f"is bundle {other.hash}, not {ref.hash}"):
        load_bundle(other.uri, expected_hash=ref.hash)


def test_a_changed_part_is_refused(ref: BundleRef) -> None:
    path = Path(ref.uri) / "thresholds.json"
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.1"))
    with pytest.raises(ContractError, match=r"thresholds.json was changed after the bundle was sealed"):
        load_bundle(ref.uri)


def test_a_truncated_part_is_refused(ref: BundleRef) -> None:
    path = Path(ref.uri) / "members/forest.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ContractError, match=r"forest.npz has \d+ bytes instead of \d+: fetch the bundle again"):
        load_bundle(ref.uri)


def test_a_missing_part_is_refused(ref: BundleRef) -> None:
    (Path(ref.uri) / "limits.txt").unlink()
    with pytest.raises(ContractError, match=r"lacks limits.txt"):
        load_bundle(ref.uri)


def test_a_file_that_the_manifest_does_not_name_is_refused(ref: BundleRef) -> None:
    (Path(ref.uri) / "members/extra.npz").write_bytes(npz(a=np.zeros(1)))
    with pytest.raises(ContractError, match=r"holds members/extra.npz, which its manifest does not name"):
        load_bundle(ref.uri)


def test_a_link_is_refused(ref: BundleRef, tmp_path: Path) -> None:
    path = Path(ref.uri) / "thresholds.json"
    path.rename(tmp_path / "outside.json")
    path.symlink_to(tmp_path / "outside.json")
    with pytest.raises(ContractError, match=r"thresholds.json is a link"):
        load_bundle(ref.uri)


def test_a_linked_folder_is_refused(ref: BundleRef, tmp_path: Path) -> None:
    (Path(ref.uri) / "members").rename(tmp_path / "members")
    (Path(ref.uri) / "members").symlink_to(tmp_path / "members")
    with pytest.raises(ContractError, match=r"members is a link"):
        load_bundle(ref.uri)


def test_a_pipe_is_refused(ref: BundleRef) -> None:
    os.mkfifo(Path(ref.uri) / "pipe.txt")
    with pytest.raises(ContractError, match=r"pipe.txt is a link or a special file"):
        load_bundle(ref.uri)


def test_a_link_to_the_whole_bundle_is_followed(ref: BundleRef, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(ref.uri)
    assert load_bundle(tmp_path / "current").hash == ref.hash


@pytest.mark.parametrize("name", ["../outside.json", "/etc/outside.json", "a/../../b.json", "a//b.json", "A.json"])
def test_a_manifest_that_names_a_path_outside_is_refused(ref: BundleRef, name: str) -> None:
    folder = _edit_manifest(ref, lambda document: document["files"].update({name: hash_bytes(b"")}))
    with pytest.raises(ContractError, match=r"is not the name of a part"):
        load_bundle(folder)


def test_a_manifest_with_a_digest_and_no_size_is_refused(ref: BundleRef) -> None:
    folder = _edit_manifest(ref, lambda document: document["facts"]["bytes"].pop("limits.txt"))
    with pytest.raises(ContractError, match=r"a digest or a size for limits.txt, but not both"):
        load_bundle(folder)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"is not a bundle of Vigil: it has no manifest.json"):
        load_bundle(tmp_path)


def test_a_part_that_is_removed_after_loading_is_the_callers_fault(ref: BundleRef) -> None:
    bundle = load_bundle(ref.uri)
    (Path(ref.uri) / "thresholds.json").unlink()
    with pytest.raises(ContractError, match=r"cannot read .*thresholds.json: No such file"):
        bundle.read("thresholds.json")


def test_a_manifest_larger_than_any_is_not_read(ref: BundleRef) -> None:
    with (Path(ref.uri) / "manifest.json").open("r+b") as file:
        file.truncate(17 << 20)
    with pytest.raises(ContractError, match=r"manifest.json is larger than any manifest"):
        load_bundle(ref.uri)


def test_a_manifest_that_is_no_json_is_refused(ref: BundleRef) -> None:
    (Path(ref.uri) / "manifest.json").write_bytes(b"\x80\x04")
    with pytest.raises(ContractError, match=r"is not a bundle of Vigil: its manifest.json cannot be read"):
        load_bundle(ref.uri)


def test_another_artifact_of_vigil_is_refused(ref: BundleRef) -> None:
    folder = _edit_manifest(ref, lambda document: document.update(kind="features"))
    with pytest.raises(ContractError, match=r"holds features, not a bundle"):
        load_bundle(folder)


def test_a_newer_layout_is_refused_with_the_cure(ref: BundleRef) -> None:
    folder = _edit_manifest(ref, lambda document: document.update(version=2, novelty=True))
    with pytest.raises(ContractError, match=r"bundle of layout 2; this Vigil reads up to 1: install a newer Vigil"):
        load_bundle(folder)


def test_unknown_metadata_are_refused_by_name(ref: BundleRef) -> None:
    folder = _edit_manifest(ref, lambda document: document["facts"]["metadata"].update(colour="red"))
    with pytest.raises(ContractError, match=r"colour: Extra inputs are not permitted"):
        load_bundle(folder)


def test_missing_metadata_are_refused_by_name(ref: BundleRef) -> None:
    folder = _edit_manifest(ref, lambda document: document["facts"]["metadata"].pop("feature_schema"))
    with pytest.raises(ContractError, match=r"feature_schema: Field required"):
        load_bundle(folder)


def test_a_part_that_is_swapped_after_loading_is_refused(ref: BundleRef) -> None:
    bundle = load_bundle(ref.uri)
    (Path(ref.uri) / "thresholds.json").write_bytes(b'{"alert":0.9}')
    with pytest.raises(ContractError, match=r"thresholds.json was changed"):
        bundle.read("thresholds.json")


class _Bomb:
    """Leaves a trace when it is unpickled."""

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("unpickled",)


def _object_npz() -> bytes:
    return npz(bomb=np.array([_Bomb()], dtype=object))


def _npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def _zip(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


BAD_PARTS = {
    "a pickle by its own name": ("model.pkl", pickle.dumps(_Bomb()), "a bundle holds only"),
    "a joblib file": ("model.joblib", pickle.dumps(_Bomb()), "a bundle holds only"),
    "no suffix": ("model", b"{}", "a bundle holds only"),
    "a pickle as npz": ("model.npz", pickle.dumps(_Bomb()), "is a Python pickle, which can run code"),
    "a pickle as ubj": ("model.ubj", pickle.dumps(_Bomb(), protocol=2), "is a Python pickle"),
    "an old pickle as json": ("model.json", pickle.dumps(_Bomb(), protocol=0), r"is not a .json file"),
    "an old pickle as npz": ("model.npz", pickle.dumps(_Bomb(), protocol=0), r"is not a .npz file"),
    "objects in npz": ("model.npz", _object_npz(), r"Object arrays cannot be loaded when allow_pickle=False"),
    "a pickle in a zip": ("model.npz", _zip("data.pkl", pickle.dumps(_Bomb())), "holds data.pkl, which is no array"),
    "half an npz": ("model.npz", npz(a=np.zeros(9))[:99], r"is not a .npz file"),
    "an npy as npz": ("model.npz", _npy(), "is not an archive of arrays"),
    "text as ubj": ("model.ubj", b"[]", "does not begin with a UBJSON object"),
    "NaN in json": ("model.json", b'{"a":NaN}', "NaN is not JSON"),
    "text as parquet": ("model.parquet", b"PAR1 but no end", "does not begin and end with PAR1"),
    "an empty parquet": ("model.parquet", b"", "does not begin and end with PAR1"),
    "bytes as text": ("notes.txt", b"\xff\xfe", r"is not a .txt file"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD_PARTS.values(), ids=BAD_PARTS.keys())
def test_a_part_that_is_not_what_its_name_says_is_not_sealed(
    store: FolderStore, name: str, content: bytes, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        write_bundle({name: content}, metadata(), store)


@pytest.mark.parametrize(("name", "content", "message"), BAD_PARTS.values(), ids=BAD_PARTS.keys())
def test_a_forged_part_is_refused_and_never_unpickled(
    ref: BundleRef, name: str, content: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ContractError, match=message):
        load_bundle(_add(ref, name, content))
    assert not (tmp_path / "unpickled").exists()


def test_the_bomb_of_these_tests_would_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(_Bomb()))
    assert (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("name", ["manifest.json", "signatures/0011223344556677.sig"])
def test_a_part_cannot_take_the_place_of_the_envelope(store: FolderStore, name: str) -> None:
    with pytest.raises(ContractError, match=r"belongs to the bundle itself"):
        write_bundle({name: b"{}"}, metadata(), store)


def test_a_bundle_without_parts_is_refused(store: FolderStore) -> None:
    with pytest.raises(ContractError, match=r"at least one part"):
        write_bundle({}, metadata(), store)


def test_a_broken_part_leaves_nothing_behind(store: FolderStore) -> None:
    with pytest.raises(ContractError):
        write_bundle(parts() | {"zzz.json": b"{"}, metadata(), store)
    assert not store.root.exists()
