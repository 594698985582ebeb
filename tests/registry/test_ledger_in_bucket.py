"""The ledger in a bucket: whoever creates the next entry first has won, whatever the network does."""

import threading
from collections.abc import Iterator

import pytest

from tests.registry import emulator
from tests.registry.conftest import MODEL, Desk, open_desk, write_three
from tests.registry.samples import MONDAY
from vigil.contracts.keys import ModelVersion
from vigil.errors import Unavailable
from vigil.registry.gcs import GcsStore
from vigil.registry.registry import Registry
from vigil.registry.stages import Conflict, Stage


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[emulator.Bucket]:
    bucket = emulator.Bucket()
    with emulator.serve(bucket) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield bucket


@pytest.fixture
def desk(bucket: emulator.Bucket) -> Desk:
    store = GcsStore("models", "vigil", retry_seconds=20)
    desk = open_desk(store, write_three(store)[:2])
    desk.promote("1", Stage.STAGING)
    desk.promote("2", Stage.STAGING)
    return desk


def _promote(version: str) -> None:
    Registry(GcsStore("models", "vigil", retry_seconds=5), clock=lambda: MONDAY).promote(
        MODEL, ModelVersion(version), expected_production=None, actor=f"person:worker{version}", reason="race"
    )


def test_another_client_reads_the_same_state(desk: Desk) -> None:
    desk.promote("1")
    assert Registry(GcsStore("models", "vigil")).state(MODEL) == desk.registry.state(MODEL)


def test_of_two_clients_that_promote_at_once_one_wins_and_the_other_is_told(desk: Desk) -> None:
    told: dict[str, str] = {}
    start = threading.Barrier(2)

    def work(version: str) -> None:
        start.wait()
        try:
            _promote(version)
        except Conflict as error:
            told[version] = str(error)

    workers = [threading.Thread(target=work, args=(version,)) for version in ("1", "2")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    winner = desk.registry.state(MODEL).production
    (loser,) = {"1", "2"} - {winner}
    assert f"card_fraud version {winner} is in production, by person:worker{winner}" in told[loser]


def test_a_promotion_whose_answer_was_lost_is_not_taken_for_a_conflict(desk: Desk, bucket: emulator.Bucket) -> None:
    before = len(desk.registry.history(MODEL))
    bucket.lose_answers = 1
    _promote("1")
    assert desk.registry.state(MODEL).production == "1"
    assert len(desk.registry.history(MODEL)) == before + 1


def test_without_the_bucket_nothing_is_promoted(desk: Desk, bucket: emulator.Bucket) -> None:
    bucket.failures = [503] * 1000
    with pytest.raises(Unavailable, match=r"gs://models/vigil"):
        Registry(GcsStore("models", "vigil", retry_seconds=0.1)).promote(
            MODEL, ModelVersion("1"), expected_production=None, actor="person:ana", reason="hope"
        )
    bucket.failures.clear()
    assert desk.stages() == {"1": "staging", "2": "staging"}
