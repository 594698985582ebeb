"""Bundles of earlier releases load for ever; fixtures/README.md says what is asserted and what is not."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from vigil.contracts.keys import ContentHash
from vigil.registry.bundle import Bundle, load_bundle

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = {
    "release_0_1": ContentHash("sha256:181ab81dc5ec7f03bf4af80339e71ab7af387a1fa28a9a1404884a9c131dedba"),
}


@pytest.fixture
def first() -> Bundle:
    return load_bundle(FIXTURES / "release_0_1", public_key=FIXTURES / "release_0_1.public.pem")


@pytest.mark.parametrize("name", RELEASES)
def test_the_bundle_of_an_earlier_release_loads_and_has_kept_its_hash(name: str) -> None:
    load_bundle(FIXTURES / name, public_key=FIXTURES / f"{name}.public.pem", expected_hash=RELEASES[name])


@pytest.mark.parametrize("name", RELEASES)
def test_the_bundle_of_an_earlier_release_is_small_enough_to_be_committed(name: str) -> None:
    assert load_bundle(FIXTURES / name).size < 100_000


def test_the_first_release_gives_back_its_metadata(first: Bundle) -> None:
    assert first.metadata.model == "card_fraud"
    assert first.metadata.metrics == {"average_precision": 0.625, "auc": 0.875}
    assert first.metadata.training_window.end == datetime(2026, 6, 8, tzinfo=UTC)


def test_the_first_release_gives_back_its_parts(first: Bundle) -> None:
    assert first.json("thresholds.json") == {"alert": 0.5}
    np.testing.assert_array_equal(first.arrays("members/forest.npz")["value"], np.linspace(0, 1, 6))
    assert first.read("members/boosted.ubj") == b"{L\x00\x00"
