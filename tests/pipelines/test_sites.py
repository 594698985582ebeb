"""The compiled pipeline of site models by real kfp: one task for each shard, of which one fails."""

from pathlib import Path

import pytest

from tests.training.sites.samples import FIRST, NEXT, Fleet, config, values, write_readings
from vigil.contracts.keys import ModelName
from vigil.orchestration.filling import Purpose, Wanted, filled_arguments
from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.local import LocalRequest, run_local
from vigil.orchestration.runs import Outcome
from vigil.training.sites.collect import read_summary
from vigil.training.sites.config import load_sites, parse_sites
from vigil.usecase import shipped

pytestmark = pytest.mark.xdist_group("pipeline-runs")


def test_a_shard_that_fails_holds_back_no_other_and_the_run_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path / "home"))
    fleet = Fleet(tmp_path / "home")
    fleet.run(values()[:, :FIRST])
    broken = fleet.live()["shard-01"]
    for part in (fleet.home / "models" / "bundles" / broken.bundle.removeprefix("sha256:")).glob("*.npz"):
        part.write_bytes(part.read_bytes() + b"x")
    raw = write_readings(tmp_path / "next" / "readings.parquet", values()[:, :NEXT])
    settings = tmp_path / "chain.yaml"
    settings.write_text(config().text)
    pipeline = load_pipeline(shipped("compiled") / "site_models.yaml")
    arguments = filled_arguments(pipeline, Wanted(str(settings), str(raw)), Purpose.HERE)
    done = run_local(LocalRequest(pipeline, arguments, tmp_path / "runs"))
    assert done.outcome is Outcome.FAILED
    assert done.failure is not None
    assert "1 of 3 shards failed" in done.failure.message
    assert "shard-01" in done.failure.message
    states = {one.step.key: one.state.value for one in done.steps}
    assert states["notify"] == "done"
    production = {name: fleet.registry.state(model).production for name, model in models(fleet)}
    assert production == {"shard-00": "2", "shard-01": "1", "shard-02": "2"}
    collected = done.step("collect-shards").outputs.artifacts
    found = {one.shard: one.outcome for one in read_summary(collected["fleet"].path)}
    assert found == {"shard-00": "live", "shard-01": "failed", "shard-02": "live"}
    assert "| shard-01 | failed |" in collected["page"].path.read_text()


def models(fleet: Fleet) -> list[tuple[str, ModelName]]:
    return [(model.removeprefix("chain-"), model) for model in fleet.registry.models()]


def test_the_settings_that_come_with_vigil_are_what_a_run_without_any_is_given(tmp_path: Path) -> None:
    pipeline = load_pipeline(shipped("compiled") / "site_models.yaml")
    raw = write_readings(tmp_path / "readings.parquet", values()[:, :48])
    arguments = filled_arguments(pipeline, Wanted(data=str(raw)), Purpose.ONCE)
    assert parse_sites(str(arguments["sites"])) == load_sites()
    assert str(arguments["data_version"]).startswith("sha256:")
