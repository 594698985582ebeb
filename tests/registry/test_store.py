"""A folder and a bucket keep the same promises; the bucket is the real client against an emulator over HTTP."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.registry import emulator, processes
from tests.registry.samples import metadata, parts
from vigil.errors import ContractError, Unavailable
from vigil.registry.bundle import load_bundle, write_bundle
from vigil.registry.gcs import GcsStore
from vigil.registry.store import FolderStore, Store, open_store


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[emulator.Bucket]:
    bucket = emulator.Bucket()
    with emulator.serve(bucket) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield bucket


@pytest.fixture
def gcs(bucket: emulator.Bucket) -> GcsStore:
    return GcsStore("models", "vigil/prod", retry_seconds=20)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return FolderStore(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("gcs")


def test_what_was_created_is_read(store: Store) -> None:
    assert store.create("a/b.txt", b"one")
    assert store.read("a/b.txt") == b"one"


def test_a_file_is_created_from_a_path(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"from a file")
    store.create("a/b.txt", tmp_path / "source")
    assert store.read("a/b.txt") == b"from a file"


def test_nothing_is_created_twice(store: Store) -> None:
    store.create("a/b.txt", b"one")
    assert not store.create("a/b.txt", b"two")
    assert store.read("a/b.txt") == b"one"


def test_an_object_is_fetched_to_a_file(store: Store, tmp_path: Path) -> None:
    store.create("a/b.txt", b"one")
    store.fetch("a/b.txt", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == b"one"


def test_a_folder_lists_what_is_below_it_and_not_its_namesakes(store: Store) -> None:
    for path in ("a/1", "a/2", "a/b/3", "a/b/4", "a/b/5", "ab/6", "c/7"):
        store.create(path, b"")
    assert store.paths("a") == ["a/1", "a/2", "a/b/3", "a/b/4", "a/b/5"]


def test_a_folder_that_does_not_exist_lists_nothing(store: Store) -> None:
    assert store.paths("nowhere") == []


def test_a_missing_object_is_the_callers_fault(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"a/b.txt"):
        store.read("a/b.txt")
    with pytest.raises(ContractError, match=r"a/b.txt"):
        store.fetch("a/b.txt", tmp_path / "target")


def test_a_bundle_survives_the_way_through_the_store(store: Store) -> None:
    ref = write_bundle(parts(), metadata(), store)
    bundle = load_bundle(ref.uri, expected_hash=ref.hash)
    assert {name: bundle.read(name) for name in bundle.names} == parts()


def test_a_bundle_has_the_same_hash_in_every_store(store: Store, tmp_path: Path) -> None:
    elsewhere = write_bundle(parts(), metadata(), FolderStore(tmp_path / "elsewhere"))
    assert write_bundle(parts(), metadata(), store).hash == elsewhere.hash


def test_the_manifest_is_written_last(bucket: emulator.Bucket, gcs: GcsStore) -> None:
    ref = write_bundle(parts(), metadata(), gcs)
    assert list(bucket.objects)[-1] == f"vigil/prod/bundles/{ref.hash[7:]}/manifest.json"


def test_a_tampered_object_is_refused_after_the_download(bucket: emulator.Bucket, gcs: GcsStore) -> None:
    ref = write_bundle(parts(), metadata(), gcs)
    bucket.objects[f"vigil/prod/bundles/{ref.hash[7:]}/thresholds.json"] = b'{"alert":0.1}'
    with pytest.raises(ContractError, match=r"thresholds.json was changed"):
        load_bundle(ref.uri)


def test_an_object_whose_name_leads_outside_is_not_downloaded(
    bucket: emulator.Bucket, gcs: GcsStore, tmp_path: Path
) -> None:
    ref = write_bundle(parts(), metadata(), gcs)
    bucket.objects[f"vigil/prod/bundles/{ref.hash[7:]}/../../../{tmp_path.name}.txt"] = b"outside"
    with pytest.raises(ContractError, match=r"is not the name of a part"):
        load_bundle(ref.uri)


def test_the_placeholder_of_a_folder_is_not_listed(bucket: emulator.Bucket, gcs: GcsStore) -> None:
    bucket.objects["vigil/prod/a/"] = b""
    gcs.create("a/1", b"")
    assert gcs.paths("a") == ["a/1"]


def test_a_large_file_is_uploaded_in_a_resumable_way(bucket: emulator.Bucket, gcs: GcsStore, tmp_path: Path) -> None:
    content = os.urandom((8 << 20) + 1)
    (tmp_path / "large").write_bytes(content)
    assert gcs.create("large", tmp_path / "large")
    assert bucket.objects["vigil/prod/large"] == content
    assert any("uploadType=resumable" in request for request in bucket.requests)


def test_a_large_file_is_not_created_twice(gcs: GcsStore, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes((8 << 20) + 1))
    gcs.create("large", b"small")
    assert not gcs.create("large", tmp_path / "large")


def test_a_failure_that_passes_is_not_noticed(bucket: emulator.Bucket, gcs: GcsStore) -> None:
    bucket.failures = [503]
    assert gcs.create("a/b.txt", b"one")


def test_a_bundle_whose_answer_was_lost_is_written_all_the_same(bucket: emulator.Bucket, gcs: GcsStore) -> None:
    bucket.lose_answers = 1
    assert load_bundle(write_bundle({"a.json": b"{}"}, metadata(), gcs).uri).names == ("a.json",)


def test_a_server_that_keeps_failing_is_unavailable(bucket: emulator.Bucket) -> None:
    bucket.failures = [503] * 1000
    store = GcsStore("models", retry_seconds=0.1)
    with pytest.raises(Unavailable, match=r"gs://models/a does not answer: .*; try again later"):
        store.read("a")
    with pytest.raises(Unavailable):
        store.create("a", b"")
    with pytest.raises(Unavailable):
        store.paths("a")


def test_a_server_that_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    with pytest.raises(Unavailable, match=r"gs://models/a does not answer"):
        GcsStore("models", retry_seconds=0.1).read("a")


def test_a_download_with_a_wrong_checksum_is_unavailable(bucket: emulator.Bucket) -> None:
    bucket.objects["a"] = b"content"
    bucket.corrupt_downloads = True
    with pytest.raises(Unavailable, match=r"arrived with a wrong checksum"):
        GcsStore("models", retry_seconds=0.1).read("a")


def test_a_lack_of_permission_says_what_to_grant(bucket: emulator.Bucket, gcs: GcsStore) -> None:
    bucket.failures = [403]
    with pytest.raises(ContractError, match=r"no permission for gs://models/vigil/prod/a: grant"):
        gcs.read("a")


def test_a_lack_of_credentials_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(ContractError, match=r"no credentials for gs://models: run gcloud auth application-default"):
        GcsStore("models")


def test_an_address_without_a_bucket_is_refused() -> None:
    with pytest.raises(ContractError, match=r"names no bucket"):
        open_store("gs:///prefix")


def test_an_address_of_another_kind_is_refused() -> None:
    with pytest.raises(ContractError, match=r"s3://bucket is not a store: give a folder or gs://bucket/prefix"):
        open_store("s3://bucket")


def test_an_address_opens_the_store_that_it_names(bucket: emulator.Bucket, tmp_path: Path) -> None:
    assert open_store("gs://models/vigil/").uri == "gs://models/vigil"
    assert open_store(str(tmp_path)).uri == str(tmp_path)


def test_without_the_client_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['google.cloud.storage'] = None\n"
        "from vigil.registry.store import open_store\n"
        "from vigil.errors import MissingExtra\n"
        "try:\n    open_store('gs://models')\nexcept MissingExtra as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert result.stdout == "google-cloud-storage is not installed: pip install 'vigil[train]'\n"


def test_a_folder_needs_no_client() -> None:
    program = (
        "import sys\nfrom vigil.registry.store import open_store\nopen_store('x')\n"
        "assert not [name for name in sys.modules if name.startswith('google.cloud')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_file_in_the_way_of_a_folder_is_the_callers_fault(tmp_path: Path) -> None:
    (tmp_path / "store").write_bytes(b"")
    with pytest.raises(ContractError, match=r"cannot write .*store/a/b.txt"):
        FolderStore(tmp_path / "store").create("a/b.txt", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which only Linux has")
def test_a_full_disk_is_unavailable(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.create("a", b"content")
    with pytest.raises(Unavailable, match=r"No space left on device"):
        store.fetch("a", Path("/dev/full"))


def test_of_two_processes_that_create_the_same_file_one_wins(tmp_path: Path) -> None:
    results = processes.run_together(processes.create_files, tmp_path, 30)
    assert [sum(both) for both in zip(*results, strict=True)] == [1] * 30
