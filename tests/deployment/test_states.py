"""The past of a training run reaches the online store, from a folder and from a bucket, and only that run's."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.deployment.samples import request
from tests.registry.emulator import Bucket, serve
from vigil.clock import to_micros
from vigil.contracts.artifacts import read_manifest
from vigil.contracts.events import Transaction, to_table
from vigil.decisions.bundled import load_decider
from vigil.deployment import Target, deploy
from vigil.deployment.states import check_bundle, fill_store
from vigil.errors import ContractError
from vigil.features.engine import compute, new_state
from vigil.features.log import EventLog
from vigil.features.online import OnlineFeatures
from vigil.features.states import Hydration, write_states
from vigil.features.store.factory import open_store
from vigil.registry.bundle import load_bundle
from vigil.settings import Settings

RELEASE = Path(__file__).parents[1] / "registry" / "fixtures" / "release_0_1"
BUNDLE = load_bundle(RELEASE)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
SCHEMA = BUNDLE.metadata.feature_schema


def purchase(number: int) -> Transaction:
    at = NOON + timedelta(minutes=number)
    return Transaction(event_id=f"e{number}", event_time=at, amount=10.0, customer_id="c1", terminal_id="t1")


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sealed states after three purchases."""
    folder = tmp_path_factory.mktemp("states")
    program = load_decider(BUNDLE).schema.compile()
    state = new_state(program)
    log = EventLog.of({Transaction.kind: to_table(Transaction, [purchase(number) for number in range(3)])})
    compute(program, log, state)
    write_states(folder, program, state, until=to_micros(NOON))
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def bucket(states: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket that holds the bundle and the states."""
    content = {"bundle": RELEASE, "states": states}
    objects = {
        f"{name}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for name, folder in content.items()
        for path in folder.rglob("*")
        if path.is_file()
    }
    with serve(Bucket(objects=objects)) as address:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
        yield "gs://models"


def purchases_known(settings: Settings) -> float:
    """Return how many purchases of the customer in 24 hours the store knows of."""
    program = load_decider(BUNDLE).schema.compile()
    with open_store(settings, program.schema_hash) as store:
        values = OnlineFeatures(program, store).look(purchase(60)).values
    assert values is not None
    return float(values[program.names.index("customer_count_24h")])


def test_the_store_knows_the_past_of_the_training_run(settings: Settings, states: Path) -> None:
    assert purchases_known(settings) == 0
    filled = fill_store(request(feature_state_uri=str(states)), settings, SCHEMA)
    assert filled is not None
    assert filled.done is Hydration.LOADED
    assert purchases_known(settings) == 3


def test_a_second_deployment_leaves_the_store_as_it_is(settings: Settings, states: Path) -> None:
    fill_store(request(feature_state_uri=str(states)), settings, SCHEMA)
    again = fill_store(request("2", feature_state_uri=str(states)), settings, SCHEMA)
    assert again is not None
    assert again.done is Hydration.ALREADY_LOADED


def test_bundle_and_states_come_from_a_bucket_as_well(settings: Settings, bucket: str) -> None:
    asked = request(bundle_uri=f"{bucket}/bundle", bundle_hash=BUNDLE.hash, feature_state_uri=f"{bucket}/states")
    schema = check_bundle(asked, settings)
    assert schema == SCHEMA
    fill_store(asked, settings, schema)
    assert purchases_known(settings) == 3


def test_without_states_nothing_is_filled(settings: Settings) -> None:
    assert fill_store(request(), settings, SCHEMA) is None


def test_the_states_of_another_run_are_refused(settings: Settings, states: Path) -> None:
    sealed = read_manifest(states).content_hash
    assert fill_store(request(feature_state_uri=str(states), feature_state_hash=sealed), settings, SCHEMA)
    other = "sha256:" + "0" * 64
    with pytest.raises(ContractError, match=f"has the hash {sealed}, the run sealed {other}"):
        fill_store(request(feature_state_uri=str(states), feature_state_hash=other), settings, SCHEMA)


def test_a_bundle_that_only_the_cluster_reads_is_left_to_its_servers(settings: Settings) -> None:
    assert check_bundle(request(bundle_uri="pvc://claim/bundle"), settings) is None


def test_a_cluster_without_redis_gets_no_states(settings: Settings, states: Path) -> None:
    with pytest.raises(ContractError, match="VIGIL_REDIS_URL"):
        deploy(request(target=Target.KSERVE, feature_state_uri=str(states)), settings)
