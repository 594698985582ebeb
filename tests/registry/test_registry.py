"""Stages move as the state machine allows, by one actor at a time, and the ledger keeps it all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.registry import processes
from tests.registry.conftest import MODEL, Desk
from tests.registry.samples import FEATURES, MONDAY, SOURCES, metadata, parts
from vigil.contracts.keys import ModelName, ModelVersion, hash_bytes
from vigil.errors import ContractError
from vigil.registry.bundle import BundleRef, write_bundle
from vigil.registry.cost import Cost
from vigil.registry.registry import Registry
from vigil.registry.stages import Conflict, Stage
from vigil.registry.store import FolderStore


def test_versions_are_numbered_in_the_order_of_their_registration(desk: Desk) -> None:
    assert desk.stages() == {"1": "candidate", "2": "candidate", "3": "candidate"}


def test_registering_a_bundle_again_keeps_its_version(desk: Desk, bundles: list[BundleRef]) -> None:
    assert desk.register(bundles[1]) == "2"
    assert len(desk.stages()) == 3


def test_a_tampered_bundle_is_not_registered(store: FolderStore, bundles: list[BundleRef]) -> None:
    (Path(bundles[0].uri) / "thresholds.json").write_bytes(b"{}")
    with pytest.raises(ContractError, match=r"thresholds.json"):
        Registry(store).register(bundles[0], actor="person:ana", reason="hope")
    assert Registry(store).models() == []


def test_an_unsigned_bundle_is_not_registered_where_a_key_is_required(
    store: FolderStore, bundles: list[BundleRef], public_key: Path
) -> None:
    registry = Registry(store, public_key=public_key)
    with pytest.raises(ContractError, match=r"is not signed by"):
        registry.register(bundles[0], actor="person:ana", reason="hope")


def test_run_and_cost_are_kept_with_the_version(store: FolderStore, bundles: list[BundleRef]) -> None:
    cost = Cost(cpu_seconds=12.5, bytes_read=1000)
    found = Registry(store).register(bundles[0], actor="policy:gates", reason="passed", run="abc", cost=cost)
    assert (found.registration.run, found.registration.cost) == ("abc", cost)


def test_a_candidate_goes_through_staging_to_production(desk: Desk) -> None:
    desk.enthrone("2")
    assert desk.stages() == {"1": "candidate", "2": "production", "3": "candidate"}


def test_staging_cannot_be_skipped(desk: Desk) -> None:
    with pytest.raises(ContractError, match=r"card_fraud version 2 is in stage candidate: the next step is staging"):
        desk.promote("2")


def test_the_version_that_is_displaced_goes_back_to_staging(desk: Desk) -> None:
    desk.enthrone("1")
    desk.enthrone("2", expected="1")
    assert desk.stages() == {"1": "staging", "2": "production", "3": "candidate"}


def test_production_is_not_left_by_promotion(desk: Desk) -> None:
    desk.enthrone("1")
    with pytest.raises(
        ContractError, match=r"is in stage production: it leaves by the promotion of another version or by"
    ):
        desk.promote("1", Stage.CANDIDATE, expected="1")


def test_an_unknown_version_is_refused_with_a_list_of_those_that_are(desk: Desk) -> None:
    with pytest.raises(ContractError, match=r"card_fraud has no version 9: it has 1, 2, 3"):
        desk.promote("9", Stage.STAGING)


def test_a_promotion_is_refused_if_another_version_came_into_production_meanwhile(desk: Desk) -> None:
    desk.enthrone("1")
    desk.promote("2", Stage.STAGING, expected="1")
    desk.promote("3", Stage.STAGING, expected="1")
    desk.promote("2", expected="1")
    told = r"card_fraud version 2 is in production, by person:ana at 2026-06-01 \d\d:\d\d:00 UTC \(looks good\), where"
    with pytest.raises(Conflict, match=told + " version 1 was expected"):
        desk.promote("3", expected="1")
    assert desk.stages() == {"1": "staging", "2": "production", "3": "staging"}


def test_a_promotion_is_refused_if_there_is_no_production_where_one_was_expected(desk: Desk) -> None:
    with pytest.raises(Conflict, match=r"card_fraud has no version in production, version 3 was expected"):
        desk.promote("1", Stage.STAGING, expected="3")


def test_a_rollback_returns_to_the_version_before(desk: Desk) -> None:
    desk.enthrone("1")
    desk.enthrone("2", expected="1")
    assert desk.rollback(expected="2") == "1"
    assert desk.stages() == {"1": "production", "2": "candidate", "3": "candidate"}


def test_two_rollbacks_go_back_twice_and_not_forth_again(desk: Desk) -> None:
    desk.enthrone("1")
    desk.enthrone("2", expected="1")
    desk.enthrone("3", expected="2")
    assert desk.rollback(expected="3") == "2"
    assert desk.rollback(expected="2") == "1"


def test_a_rollback_skips_a_version_that_was_retired(desk: Desk) -> None:
    desk.enthrone("1")
    desk.enthrone("2", expected="1")
    desk.enthrone("3", expected="2")
    desk.retire("2")
    assert desk.rollback(expected="3") == "1"


def test_a_rollback_without_an_earlier_version_is_refused(desk: Desk) -> None:
    desk.enthrone("1")
    with pytest.raises(ContractError, match=r"no earlier production version left in staging: promote another"):
        desk.rollback(expected="1")


def test_a_rollback_of_nothing_is_refused(desk: Desk) -> None:
    with pytest.raises(ContractError, match=r"has no version in production: there is nothing to roll back"):
        desk.rollback(expected=None)


def test_a_second_rollback_for_the_same_cause_is_told_that_it_came_late(desk: Desk) -> None:
    desk.enthrone("1")
    desk.enthrone("2", expected="1")
    desk.enthrone("3", expected="2")
    desk.rollback(expected="3")
    with pytest.raises(Conflict, match=r"card_fraud version 2 is in production, by policy:drift"):
        desk.rollback(expected="3")


def test_a_version_that_was_rolled_back_can_earn_its_place_again(desk: Desk) -> None:
    desk.enthrone("1")
    desk.enthrone("2", expected="1")
    desk.rollback(expected="2")
    desk.enthrone("2", expected="1")
    assert desk.rollback(expected="2") == "1"


def test_the_production_version_is_not_retired(desk: Desk) -> None:
    desk.enthrone("1")
    with pytest.raises(ContractError, match=r"version 1 is in production: promote another version or roll back first"):
        desk.retire("1")


def test_a_retired_version_is_not_promoted(desk: Desk) -> None:
    desk.retire("1")
    with pytest.raises(ContractError, match=r"version 1 is in stage retired: the next step is candidate"):
        desk.promote("1", Stage.STAGING)


def test_a_retired_version_is_not_retired_again(desk: Desk) -> None:
    desk.retire("1")
    with pytest.raises(ContractError, match=r"version 1 is retired already, by person:ben"):
        desk.retire("1")


def test_a_retired_version_can_come_back_as_candidate(desk: Desk) -> None:
    desk.retire("1")
    desk.promote("1", Stage.CANDIDATE)
    assert desk.stages()["1"] == "candidate"


@pytest.mark.parametrize("actor", ["ana", "person:", "robot:x", "person:an a", ""])
def test_an_actor_is_a_person_or_a_policy(desk: Desk, actor: str) -> None:
    with pytest.raises(ContractError, match=r"give person:NAME or policy:NAME"):
        desk.registry.retire(MODEL, ModelVersion("1"), actor=actor, reason="because")


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2001])
def test_a_change_without_a_reason_is_refused(desk: Desk, reason: str) -> None:
    with pytest.raises(ContractError, match=r"reason: say in at most 2000 characters why"):
        desk.registry.retire(MODEL, ModelVersion("1"), actor="person:ana", reason=reason)


@pytest.mark.parametrize("model", ["../escape", "Upper", "", "a/b"])
def test_the_name_of_a_model_is_not_a_path(store: FolderStore, model: str) -> None:
    with pytest.raises(ContractError, match=r"lower-case letters, digits, dash and underscore"):
        Registry(store).state(ModelName(model))


def test_a_model_that_was_never_registered_has_no_versions(store: FolderStore) -> None:
    with pytest.raises(ContractError, match=r"card_fraud has no version 1: it has none"):
        Registry(store).resolve(MODEL, ModelVersion("1"))


def test_history_says_who_did_what_and_why(desk: Desk) -> None:
    desk.enthrone("2")
    last = desk.registry.history(MODEL)[-1]
    assert (last.action, last.version, last.actor, last.reason) == ("promote", "2", "person:ana", "looks good")


def test_another_registry_reads_the_same_state(desk: Desk, store: FolderStore) -> None:
    desk.enthrone("2")
    assert Registry(store).state(MODEL) == desk.registry.state(MODEL)


def test_a_registry_sees_what_another_has_done_since(desk: Desk, store: FolderStore) -> None:
    other = Registry(store)
    other.state(MODEL)
    desk.enthrone("2")
    assert other.state(MODEL).production == "2"


def test_the_production_version_resolves_to_its_bundle(desk: Desk, bundles: list[BundleRef]) -> None:
    desk.enthrone("2")
    assert desk.registry.resolve(MODEL) == bundles[1]


def test_a_version_resolves_to_its_bundle(desk: Desk, bundles: list[BundleRef]) -> None:
    assert desk.registry.resolve(MODEL, ModelVersion("3")) == bundles[2]


def test_a_model_without_production_resolves_to_a_cure(desk: Desk) -> None:
    with pytest.raises(ContractError, match=r"has no version in production: promote one from staging"):
        desk.registry.resolve(MODEL)


def _entry(store: FolderStore, position: int) -> Path:
    return store.root / "ledger" / MODEL / f"{position:08d}.json"


def test_a_changed_entry_is_refused(desk: Desk, store: FolderStore) -> None:
    path = _entry(store, 2)
    path.write_bytes(path.read_bytes().replace(b"all gates passed", b"no gate was asked"))
    with pytest.raises(ContractError, match=r"00000003.json was changed or removed after it was written"):
        Registry(store).state(MODEL)


def test_a_removed_entry_is_refused(desk: Desk, store: FolderStore) -> None:
    _entry(store, 2).unlink()
    with pytest.raises(ContractError, match=r"00000002.json was changed or removed"):
        Registry(store).state(MODEL)


def test_an_entry_that_cannot_be_read_is_refused(desk: Desk, store: FolderStore) -> None:
    _entry(store, 2).write_bytes(b"{")
    with pytest.raises(ContractError, match=r"00000002.json was changed or removed"):
        Registry(store).state(MODEL)


def test_an_entry_of_a_newer_vigil_is_refused_with_the_cure(desk: Desk, store: FolderStore) -> None:
    document = json.loads(_entry(store, 3).read_bytes())
    _entry(store, 3).write_text(json.dumps(document | {"layout": 2, "novelty": 1}))
    with pytest.raises(ContractError, match=r"00000003.json was written by a newer Vigil"):
        Registry(store).state(MODEL)


def test_a_decision_leads_back_to_the_data(desk: Desk, bundles: list[BundleRef]) -> None:
    (found,) = desk.registry.made_from(bundles[1].hash)
    assert (found.model, found.version) == (MODEL, "2")
    assert found.registration.metadata.parents == {"features": FEATURES}


def test_the_data_lead_to_every_version_that_was_trained_on_them(desk: Desk) -> None:
    assert [found.version for found in desk.registry.made_from(FEATURES)] == ["1", "2", "3"]


def test_the_code_leads_to_every_version_that_it_made(desk: Desk) -> None:
    assert [found.version for found in desk.registry.made_from(SOURCES)] == ["1", "2", "3"]


def test_a_version_made_from_a_version_leads_back_to_its_data(
    desk: Desk, store: FolderStore, bundles: list[BundleRef]
) -> None:
    child = metadata(model="site_metrics", parents={"teacher": bundles[0].hash}, sources=hash_bytes(b"other"))
    desk.register(write_bundle(parts(), child, store))
    assert [(found.model, found.version) for found in desk.registry.made_from(FEATURES)][-1] == ("site_metrics", "1")


def test_a_hash_that_nothing_was_made_from_leads_nowhere(desk: Desk) -> None:
    assert desk.registry.made_from(hash_bytes(b"unknown")) == []


def test_of_two_processes_that_promote_at_once_one_wins_and_the_other_is_told(store: FolderStore) -> None:
    registry = Registry(store, clock=lambda: MONDAY)
    models = [ModelName(f"model-{number}") for number in range(10)]
    for model in models:
        for cut in (0.5, 0.625):
            ref = write_bundle(parts(cut), metadata(model=model), store)
            version = registry.register(ref, actor="policy:gates", reason="passed").version
            registry.promote(
                model, version, Stage.STAGING, expected_production=None, actor="policy:gates", reason="passed"
            )
    outcomes = list(zip(*processes.run_together(processes.promote, store.root, models), strict=True))
    for model, errors in zip(models, outcomes, strict=True):
        winner = errors.index(None) + 1
        assert registry.state(model).production == str(winner)
        kind, text = errors[2 - winner]
        assert kind == "Conflict"
        assert f"{model} version {winner} is in production, by person:worker{winner}" in text


def test_of_two_processes_that_register_at_once_each_gets_its_own_versions(store: FolderStore) -> None:
    refs = [[write_bundle(parts(cut + offset), metadata(), store) for cut in range(8)] for offset in (0.0, 0.5)]
    versions = processes.run_together(processes.register, store.root, refs)
    assert sorted(map(int, versions[0] + versions[1])) == list(range(1, 17))
    for share, numbers in zip(refs, versions, strict=True):
        for ref, number in zip(share, numbers, strict=True):
            assert Registry(store).resolve(MODEL, number) == ref


def test_serving_resolves_a_version_without_mlflow_or_the_cloud_client(desk: Desk, store: FolderStore) -> None:
    desk.enthrone("2")
    program = (
        "import sys\n"
        "from vigil.registry.bundle import load_bundle\n"
        "from vigil.registry.registry import Registry\n"
        "from vigil.registry.store import open_store\n"
        f"ref = Registry(open_store({str(store.root)!r})).resolve('card_fraud')\n"
        "print(load_bundle(ref.uri, expected_hash=ref.hash).metadata.metrics['auc'])\n"
        "heavy = {'mlflow', 'sqlalchemy', 'cryptography', 'sklearn', 'pandas', 'jax', 'google.cloud.storage'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert result.stdout == "0.625\n"
