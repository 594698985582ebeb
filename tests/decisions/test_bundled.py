"""A model that is sealed, stored, loaded and asked again decides the same, bit for bit."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.decisions.conftest import NOON
from tests.ensemble.samples import make_rows
from tests.registry import samples
from vigil.contracts.keys import hash_bytes
from vigil.decisions.bundled import load_decider, model_parts
from vigil.decisions.decider import Asked, Decider
from vigil.errors import ContractError
from vigil.registry.bundle import BundleRef, load_bundle, write_bundle
from vigil.registry.store import open_store


def parts_of(decider: Decider) -> dict[str, bytes]:
    return model_parts(decider.ensemble, decider.schema, decider.thresholds, decider.policy)


@pytest.fixture
def sealed(decider: Decider, tmp_path: Path) -> BundleRef:
    metadata = samples.metadata().model_copy(update={"feature_schema": decider.schema.content_hash})
    return write_bundle(parts_of(decider), metadata, open_store(str(tmp_path)))


def test_a_loaded_model_decides_as_the_one_that_was_sealed(decider: Decider, sealed: BundleRef) -> None:
    loaded = load_decider(load_bundle(sealed.uri, expected_hash=sealed.hash))
    matrix = make_rows(200, 9).matrix
    asked = [Asked(f"t{k}") for k in range(200)]
    before = [r.model_copy(update={"bundle": sealed.hash}) for r in decider.decide(matrix, asked, NOON)]
    assert loaded.decide(matrix, asked, NOON) == before
    assert loaded.replay(before[0]) == before[0]


def test_a_loaded_model_has_the_same_parts(decider: Decider, sealed: BundleRef) -> None:
    assert parts_of(load_decider(load_bundle(sealed.uri))) == parts_of(decider)


def test_a_schema_that_is_not_the_bundles_is_refused(decider: Decider, tmp_path: Path) -> None:
    metadata = samples.metadata().model_copy(update={"feature_schema": hash_bytes(b"another")})
    stored = write_bundle(parts_of(decider), metadata, open_store(str(tmp_path)))
    with pytest.raises(ContractError, match="deploy transformer and predictor of one version"):
        load_decider(load_bundle(stored.uri))


def test_a_part_with_an_unknown_key_is_named(decider: Decider, tmp_path: Path) -> None:
    metadata = samples.metadata().model_copy(update={"feature_schema": decider.schema.content_hash})
    parts = {**parts_of(decider), "policy.json": b'{"hold_everything":true}'}
    stored = write_bundle(parts, metadata, open_store(str(tmp_path)))
    with pytest.raises(ContractError, match=r"policy\.json of bundle .*hold_everything"):
        load_decider(load_bundle(stored.uri))


def test_a_member_whose_feature_is_not_in_the_schema_cannot_be_sealed(decider: Decider) -> None:
    without = decider.schema.model_copy(update={"features": decider.schema.features[1:]})
    with pytest.raises(ContractError, match="a member needs the feature amount"):
        model_parts(decider.ensemble, without, decider.thresholds, decider.policy)


def test_deciding_needs_nothing_of_training(sealed: BundleRef) -> None:
    script = f"""
import sys
from vigil.decisions.bundled import load_decider
from vigil.registry.bundle import load_bundle
load_decider(load_bundle({sealed.uri!r}))
heavy = {{"sklearn", "keras", "jax", "mlflow", "kfp", "alibi_detect", "pandas"}} & set(sys.modules)
sys.exit(f"imported {{sorted(heavy)}}" if heavy else 0)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
