"""`vigil sites versions|rollback|serve` on a fleet of two runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.serving.processes import free_port
from tests.training.sites.samples import FIRST, NEXT, Fleet, values
from vigil.cli_sites import app
from vigil.errors import ContractError

SITE = "S0003"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    found = Fleet(tmp_path_factory.mktemp("cli") / "home")
    found.run(values()[:, :FIRST])
    found.run(values()[:, :NEXT])
    return found


@pytest.fixture(autouse=True)
def home(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_HOME", str(fleet.home))
    monkeypatch.setenv("COLUMNS", "200")


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--fleet", "chain"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_versions_lists_the_shards_and_tells_of_a_site_what_it_can_be_rolled_back_to(fleet: Fleet) -> None:
    listed = said("versions")
    assert "12 sites are live" in listed
    assert "chain-shard-01" in listed
    record = fleet.shard_with(SITE).records[SITE]
    told = said("versions", SITE)
    assert record.version in told
    assert record.earlier[0].version in told
    assert "as good as its champion" in told


def test_rollback_says_what_is_live_now_and_who_did_it_is_on_record(fleet: Fleet) -> None:
    earlier = fleet.shard_with(SITE).records[SITE].earlier[0]
    told = said("rollback", SITE, "--reason", "alarms on Sundays", "--by", "person:ann")
    assert earlier.version in told
    shard = fleet.shard_with(SITE)
    assert shard.records[SITE].version == earlier.version
    assert fleet.registry.history(shard.model)[-1].actor == "person:ann"
    assert "rolled back" in said("versions", SITE)


def test_a_site_that_nobody_knows_is_named(fleet: Fleet) -> None:
    with pytest.raises(ContractError, match="has no site S9999"):
        said("rollback", "S9999", "--reason", "a test")


def test_serve_refuses_a_fleet_without_a_live_shard_with_the_cure(tmp_path: Path) -> None:
    ports = ["--port", str(free_port()), "--grpc-port", str(free_port())]
    command = [sys.executable, "-m", "vigil", "sites", "serve", "--fleet", "nobody", *ports]
    environment = {**os.environ, "VIGIL_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 78, done.stderr
    assert "no shard of nobody is live: run `vigil pipeline run site_models`" in done.stderr
