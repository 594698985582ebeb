"""Metadata are typed, complete, and free of anything that a clock has measured."""

import shutil
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from pydantic import ValidationError

import vigil
from tests.registry.samples import MONDAY, metadata
from vigil.registry.cost import measure_cost
from vigil.registry.metadata import BundleMetadata, TrainingWindow, code_version, library_versions


def _document() -> dict[str, object]:
    return metadata().model_dump(mode="json")


def _check(**changes: object) -> BundleMetadata:
    return BundleMetadata.model_validate(_document() | changes)


def test_metadata_survive_the_way_through_json() -> None:
    assert BundleMetadata.model_validate_json(metadata().model_dump_json()) == metadata()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "Card Fraud"},
        {"feature_schema": "abc"},
        {"parents": {}},
        {"parents": {"features": "md5:abc"}},
        {"metrics": {"auc": float("nan")}},
        {"parameters": {"rate": float("inf")}},
        {"code": {"sources": "sha256:" + "0" * 64, "commit": "main"}},
        {"colour": "red"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_wrong_metadata_are_refused_by_name(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        _check(**changes)


def test_a_window_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"ends .* before it begins"):
        TrainingWindow(start=MONDAY, end=MONDAY)


def test_a_window_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="timezone"):
        TrainingWindow(start=datetime(2026, 6, 1), end=MONDAY)  # noqa: DTZ001 - that is the point


def test_the_same_moments_in_another_time_zone_are_the_same_window() -> None:
    there = MONDAY.astimezone(timezone(timedelta(hours=2)))
    windows = [TrainingWindow(start=start, end=start + timedelta(days=1)) for start in (MONDAY, there)]
    assert windows[0].model_dump_json() == windows[1].model_dump_json()


def test_the_libraries_that_are_installed_are_named_with_python() -> None:
    versions = library_versions()
    assert versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert versions["vigil"] == vigil.__version__
    assert "absent" not in library_versions(("absent",))


def _copy_package(folder: Path) -> Path:
    package = folder / "vigil"
    shutil.copytree(Path(vigil.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    return package


def _code_of(package: Path) -> dict[str, str | None]:
    """Return the code version that a process says whose vigil is this copy."""
    program = "from vigil.registry.metadata import code_version; print(code_version().model_dump_json())"
    result = subprocess.run(
        [sys.executable, "-P", "-c", program],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(package.parent), "PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return dict(BundleMetadata.model_fields["code"].annotation.model_validate_json(result.stdout))


def test_the_code_is_known_by_its_sources_where_there_is_no_git(tmp_path: Path) -> None:
    code = _code_of(_copy_package(tmp_path))
    assert code == {"sources": code_version().sources, "commit": None}


def test_a_changed_source_is_another_code(tmp_path: Path) -> None:
    package = _copy_package(tmp_path)
    with (package / "clock.py").open("a") as file:
        file.write("# changed\n")
    assert _code_of(package)["sources"] != code_version().sources


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_checkout_adds_its_commit(tmp_path: Path) -> None:
    package = _copy_package(tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *arguments], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert _code_of(package)["commit"] == head


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_package_that_merely_lies_in_a_repository_has_no_commit(tmp_path: Path) -> None:
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert _code_of(_copy_package(tmp_path))["commit"] is None


def test_the_cost_of_a_block_counts_its_work_and_not_its_waiting() -> None:
    with measure_cost() as busy:
        sum(range(2_000_000))
        busy.bytes_read += 10
    with measure_cost() as idle:
        pass
    assert busy.cost.cpu_seconds > idle.cost.cpu_seconds
    assert (busy.cost.bytes_read, idle.cost.bytes_read) == (10, 0)


def test_the_cost_of_a_block_counts_the_work_of_its_children() -> None:
    with measure_cost() as meter:
        subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert meter.cost.cpu_seconds > 0.01


def test_the_cost_of_a_block_that_fails_is_known_too() -> None:
    with pytest.raises(ZeroDivisionError), measure_cost() as meter:
        sum(range(1_000_000)) / 0
    assert meter.cost.cpu_seconds > 0
