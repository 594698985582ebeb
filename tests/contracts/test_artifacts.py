from pathlib import Path

import pytest

from vigil.contracts.artifacts import MANIFEST, read_manifest, seal, verify
from vigil.errors import ContractError


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.bin").write_bytes(b"one")
    (tmp_path / "sub" / "b.bin").write_bytes(b"two")
    seal(tmp_path, "events", rows={"transaction": 2})
    return tmp_path


def test_an_untouched_artifact_is_verified_and_keeps_its_hash(artifact: Path) -> None:
    before = read_manifest(artifact)
    assert verify(artifact) == before
    assert set(before.files) == {"a.bin", "sub/b.bin"}
    assert seal(artifact, "events", rows={"transaction": 2}).content_hash == before.content_hash


def test_a_changed_file_is_named(artifact: Path) -> None:
    (artifact / "sub" / "b.bin").write_bytes(b"twO")
    with pytest.raises(ContractError, match=r"b\.bin was changed after it was sealed"):
        verify(artifact)


def test_a_missing_file_is_named(artifact: Path) -> None:
    (artifact / "a.bin").unlink()
    with pytest.raises(ContractError, match=r"lacks a\.bin"):
        verify(artifact)


def test_a_foreign_file_is_named(artifact: Path) -> None:
    (artifact / "c.bin").write_bytes(b"")
    with pytest.raises(ContractError, match=r"holds c\.bin, which its manifest does not name"):
        verify(artifact)


def test_a_folder_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="is not an artifact of Vigil"):
        read_manifest(tmp_path)


def test_a_broken_manifest_says_so(artifact: Path) -> None:
    (artifact / MANIFEST).write_text("{")
    with pytest.raises(ContractError, match="is not a manifest"):
        verify(artifact)
