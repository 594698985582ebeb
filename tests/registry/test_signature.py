"""Where a key is given, a bundle that this key did not sign is refused."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.registry.samples import metadata, parts
from vigil.contracts.keys import hash_bytes
from vigil.errors import ContractError
from vigil.registry.bundle import BundleRef, load_bundle, sign_bundle, write_bundle
from vigil.registry.signature import signature_path
from vigil.registry.store import FolderStore


class Keys:
    """A key pair in two PEM files, made with openssl as the documentation says."""

    def __init__(self, folder: Path, algorithm: str = "ed25519") -> None:
        folder.mkdir()
        self.private, self.public = folder / "signing.pem", folder / "public.pem"
        _openssl("genpkey", "-algorithm", algorithm, "-out", self.private)
        _openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command to make keys")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys") / "ours")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys") / "theirs")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def signed(store: FolderStore, ours: Keys) -> BundleRef:
    return write_bundle(parts(), metadata(), store, signing_key=ours.private)


def test_a_bundle_signed_by_the_required_key_passes(signed: BundleRef, ours: Keys) -> None:
    assert load_bundle(signed.uri, public_key=ours.public).hash == signed.hash


def test_a_signed_bundle_passes_where_no_key_is_required(signed: BundleRef) -> None:
    assert load_bundle(signed.uri).hash == signed.hash


def test_an_unsigned_bundle_is_refused_where_a_key_is_required(store: FolderStore, ours: Keys) -> None:
    ref = write_bundle(parts(), metadata(), store)
    with pytest.raises(ContractError, match=r"is not signed by .*public.pem: sign it"):
        load_bundle(ref.uri, public_key=ours.public)


def test_a_bundle_signed_by_another_key_is_refused(signed: BundleRef, theirs: Keys) -> None:
    with pytest.raises(ContractError, match=r"is not signed by"):
        load_bundle(signed.uri, public_key=theirs.public)


def test_the_signature_of_another_key_under_our_name_is_refused(store: FolderStore, ours: Keys, theirs: Keys) -> None:
    ref = write_bundle(parts(), metadata(), store, signing_key=theirs.private)
    folder = Path(ref.uri)
    (folder / signature_path(theirs.public)).rename(folder / signature_path(ours.public))
    with pytest.raises(ContractError, match=r"is no signature of manifest.json by"):
        load_bundle(ref.uri, public_key=ours.public)


def test_a_forged_manifest_is_refused_even_if_all_its_digests_are_right(signed: BundleRef, ours: Keys) -> None:
    path = Path(signed.uri) / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"auc":0.875', b'"auc":0.975'))
    assert load_bundle(signed.uri).metadata.metrics["auc"] == 0.975
    with pytest.raises(ContractError, match=r"is no signature of manifest.json by"):
        load_bundle(signed.uri, public_key=ours.public)


def test_the_signature_is_checked_before_the_manifest_is_parsed(signed: BundleRef, ours: Keys) -> None:
    (Path(signed.uri) / "manifest.json").write_bytes(b"not even JSON")
    with pytest.raises(ContractError, match=r"is no signature of manifest.json by"):
        load_bundle(signed.uri, public_key=ours.public)


def test_signing_does_not_change_the_hash(signed: BundleRef, tmp_path: Path) -> None:
    assert write_bundle(parts(), metadata(), FolderStore(tmp_path / "other")).hash == signed.hash


def test_the_same_key_gives_the_same_signature(signed: BundleRef, ours: Keys, tmp_path: Path) -> None:
    other = write_bundle(parts(), metadata(), FolderStore(tmp_path / "other"), signing_key=ours.private)
    name = signature_path(ours.public)
    assert (Path(other.uri) / name).read_bytes() == (Path(signed.uri) / name).read_bytes()


def test_a_second_key_can_sign_later(store: FolderStore, signed: BundleRef, ours: Keys, theirs: Keys) -> None:
    sign_bundle(store, signed.hash, theirs.private)
    assert load_bundle(signed.uri, public_key=theirs.public) == load_bundle(signed.uri, public_key=ours.public)


def test_a_changed_bundle_is_not_signed(store: FolderStore, signed: BundleRef, theirs: Keys) -> None:
    (Path(signed.uri) / "manifest.json").write_bytes(b"{}")
    with pytest.raises(ContractError, match=r"manifest.json was changed"):
        sign_bundle(store, signed.hash, theirs.private)


def test_openssl_agrees_with_the_signature(signed: BundleRef, ours: Keys) -> None:
    folder = Path(signed.uri)
    signature = folder / signature_path(ours.public)
    _openssl(
        *("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", ours.public),
        *("-in", folder / "manifest.json", "-sigfile", signature),
    )


def test_a_key_of_another_algorithm_is_refused(store: FolderStore, tmp_path: Path) -> None:
    keys = Keys(tmp_path / "x448", "ed448")
    with pytest.raises(ContractError, match=r"signing.pem is not an Ed25519 key: make one with: openssl genpkey"):
        write_bundle(parts(), metadata(), store, signing_key=keys.private)
    with pytest.raises(ContractError, match=r"public.pem is not an Ed25519 key"):
        signature_path(keys.public)


def test_a_file_that_is_no_key_is_refused(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("hello")
    with pytest.raises(ContractError, match=r"key.pem holds no private key in PEM"):
        write_bundle(parts(), metadata(), store, signing_key=tmp_path / "key.pem")
    with pytest.raises(ContractError, match=r"key.pem holds no public key in PEM"):
        signature_path(tmp_path / "key.pem")


def test_a_missing_key_is_refused_by_name(signed: BundleRef, tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"cannot read the key .*absent.pem: No such file"):
        load_bundle(signed.uri, public_key=tmp_path / "absent.pem")


def test_a_failed_signature_leaves_no_bundle(store: FolderStore, tmp_path: Path) -> None:
    with pytest.raises(ContractError):
        write_bundle(parts(), metadata(), store, signing_key=tmp_path / "absent.pem")
    assert not list(store.root.rglob("manifest.json"))


def test_the_name_of_a_signature_is_the_hash_of_its_key(ours: Keys) -> None:
    result = subprocess.run(
        ["openssl", "pkey", "-pubin", "-in", str(ours.public), "-outform", "DER"], check=True, capture_output=True
    )
    assert signature_path(ours.public) == f"signatures/{hash_bytes(result.stdout[-32:])[7:23]}.sig"
