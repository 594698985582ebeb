"""Bundles of earlier releases load for ever; fixtures/README.md says what is asserted and what is not."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from vigil.contracts.keys import ContentHash
from vigil.decisions.bundled import load_decider
from vigil.decisions.record import DecisionRecord
from vigil.registry.bundle import Bundle, load_bundle

FIXTURES = Path(__file__).parent / "fixtures"
RELEASES = {
    "release_0_1": ContentHash("sha256:3184132c943e0399212743eb11bd4918e6c6c787a56064875d6b1bb4ec01a6ab"),
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


def test_the_first_release_decides_as_it_did(first: Bundle) -> None:
    decider = load_decider(first)
    documents = json.loads((FIXTURES / "release_0_1.decisions.json").read_text())
    for before in (DecisionRecord.model_validate(document) for document in documents):
        again = decider.replay(before)
        assert again.score == pytest.approx(before.score, abs=1e-6)
        assert again.levels == pytest.approx(before.levels, abs=1e-6)
        assert (again.action, again.severity) == (before.action, before.severity)
        assert [reason.sentence for reason in again.reasons] == [reason.sentence for reason in before.reasons]
