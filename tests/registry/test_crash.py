"""A process that is killed in the middle of its work leaves the old state or the new one, and never half of one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.registry import crash
from tests.registry.conftest import MODEL, open_desk, write_three
from tests.registry.samples import metadata, parts
from vigil.errors import ContractError
from vigil.registry.bundle import load_bundle, write_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import Conflict, Stage
from vigil.registry.store import FolderStore

OLD = {"1": "production", "2": "staging", "3": "candidate"}
NEW = {"1": "staging", "2": "production", "3": "candidate"}


def _wrecks(action: str, stores: Path) -> list[FolderStore]:
    """Return a store for each step before which the work was killed, in order, and last the one where it was not."""
    subprocess.run([sys.executable, "-m", "tests.registry.crash", action, str(stores)], check=True)
    numbers = sorted(int(path.name) for path in stores.iterdir() if path.name.isdigit())
    return [FolderStore(stores / str(number)) for number in numbers]


@pytest.fixture(scope="module")
def promotions(tmp_path_factory: pytest.TempPathFactory) -> list[FolderStore]:
    stores = tmp_path_factory.mktemp("promotions")
    start = FolderStore(stores / "start")
    desk = open_desk(start, write_three(start))
    desk.enthrone("1")
    desk.promote("2", to=Stage.STAGING, expected="1")
    return _wrecks("promote", stores)


@pytest.fixture(scope="module")
def writings(tmp_path_factory: pytest.TempPathFactory) -> list[FolderStore]:
    stores = tmp_path_factory.mktemp("writings")
    (stores / "start").mkdir()
    return _wrecks("write", stores)


def _stages(store: FolderStore) -> dict[str, str]:
    return {number: found.stage.value for number, found in Registry(store).state(MODEL).versions.items()}


def test_a_killed_promotion_leaves_the_old_stages_or_the_new_ones(promotions: list[FolderStore]) -> None:
    seen = [_stages(store) for store in promotions]
    assert [stages for stages in seen if stages not in (OLD, NEW)] == []


def test_a_promotion_was_killed_before_and_after_it_took_effect(promotions: list[FolderStore]) -> None:
    seen = [_stages(store) for store in promotions]
    assert min(seen.count(OLD), seen.count(NEW)) > 3
    assert seen == sorted(seen, key=[OLD, NEW].index)


def test_after_a_kill_the_promotion_can_be_done_or_is_found_done(promotions: list[FolderStore]) -> None:
    for store in promotions:
        if _stages(store) == OLD:
            crash.promote(store.root)
        else:
            with pytest.raises(Conflict, match=r"version 2 is in production, by person:ana"):
                crash.promote(store.root)
        assert _stages(store) == NEW


def test_a_killed_writing_leaves_no_bundle_or_a_whole_one(writings: list[FolderStore]) -> None:
    whole = 0
    for store in writings:
        for folder in (store.root / "bundles").glob("*"):
            try:
                load_bundle(folder)
                whole += 1
            except ContractError as error:
                assert str(error) == f"{folder} is not a bundle of Vigil: it has no manifest.json"
    assert 0 < whole < len(writings)


def test_after_a_kill_the_bundle_can_be_written_again(writings: list[FolderStore]) -> None:
    for store in writings:
        ref = write_bundle(parts(), metadata(), store)
        assert load_bundle(ref.uri).hash == ref.hash
