"""The audit log: written once whatever happens, and showing whatever was done to it."""

import json
from pathlib import Path

import pytest

from tests.rollout.scene import Scene
from vigil.errors import ContractError
from vigil.registry.store import FolderStore
from vigil.rollout.audit import AuditLog
from vigil.rollout.status import Phase, Status


@pytest.fixture
def acts() -> Scene:
    return Scene().until(Phase.SUCCEEDED)


def written(folder: Path, scene: Scene) -> Status:
    """Write the acts of a rollout, and return the status of its controller."""
    log = AuditLog(FolderStore(folder))
    log.append("m", scene.log)
    seen = log.see("m")
    return scene.status.model_copy(update={"logged": seen.length, "head": seen.head})


def path(folder: Path, number: int) -> Path:
    return folder / "m" / "audit" / f"{number:08d}.json"


def verdict(folder: Path, status: Status) -> str | None:
    return AuditLog(FolderStore(folder)).verify("m", status)


def test_an_untouched_log_is_found_to_be_whole(tmp_path: Path, acts: Scene) -> None:
    status = written(tmp_path, acts)
    assert verdict(tmp_path, status) is None
    assert [entry.act for entry in AuditLog(FolderStore(tmp_path)).entries("m")] == acts.log


def test_acts_that_are_written_again_are_there_once(tmp_path: Path, acts: Scene) -> None:
    for count in (3, 3, 5, len(acts.log), len(acts.log)):
        AuditLog(FolderStore(tmp_path)).append("m", acts.log[:count])
    assert len(AuditLog(FolderStore(tmp_path)).entries("m")) == len(acts.log)


def test_another_act_at_a_number_that_is_taken_is_refused(tmp_path: Path, acts: Scene) -> None:
    written(tmp_path, acts)
    other = acts.log[1].model_copy(update={"reason": "something else"})
    with pytest.raises(ContractError, match="two controllers were at work, or the log was changed"):
        AuditLog(FolderStore(tmp_path)).append("m", [other])


def test_a_gap_is_refused(tmp_path: Path, acts: Scene) -> None:
    with pytest.raises(ContractError, match=r"00000001\.json was changed or removed"):
        AuditLog(FolderStore(tmp_path)).append("m", [acts.log[2]])


@pytest.mark.parametrize("number", [1, 3, 8])
def test_a_changed_entry_is_found(tmp_path: Path, acts: Scene, number: int) -> None:
    status = written(tmp_path, acts)
    document = json.loads(path(tmp_path, number).read_bytes())
    document["act"]["actor"] = "person:mallory"
    path(tmp_path, number).write_text(json.dumps(document, sort_keys=True, separators=(",", ":")))
    assert verdict(tmp_path, status) is not None


def test_a_removed_entry_is_found(tmp_path: Path, acts: Scene) -> None:
    status = written(tmp_path, acts)
    path(tmp_path, 4).unlink()
    assert "00000004.json was changed or removed" in (verdict(tmp_path, status) or "")


def test_a_log_that_lost_its_end_is_found(tmp_path: Path, acts: Scene) -> None:
    status = written(tmp_path, acts)
    path(tmp_path, 8).unlink()
    path(tmp_path, 7).unlink()
    assert verdict(tmp_path, status) == "the last 2 of 8 entries were removed"


def test_a_log_that_was_written_anew_is_found(tmp_path: Path, acts: Scene) -> None:
    status = written(tmp_path / "true", acts)
    forged = [act.model_copy(update={"reason": "nothing to see"}) for act in acts.log]
    AuditLog(FolderStore(tmp_path / "false")).append("m", forged)
    assert "the log was written anew" in (verdict(tmp_path / "false", status) or "")


def test_a_controller_that_lives_notices_that_the_log_shrinks(tmp_path: Path, acts: Scene) -> None:
    log = AuditLog(FolderStore(tmp_path))
    log.append("m", acts.log)
    path(tmp_path, 8).unlink()
    with pytest.raises(ContractError, match="changed or removed"):
        log.see("m")
