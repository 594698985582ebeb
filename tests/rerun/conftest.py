"""A Kubeflow Pipelines server on loopback, and the parts of the rerun over it with a clock that stands still."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.orchestration.kubeflow_server import KubeflowServer
from tests.rerun.verdicts import NOON
from vigil.clock import ManualClock
from vigil.rerun.journal import Journal
from vigil.rerun.settings import ModelRules, RerunSettings
from vigil.rerun.there import There
from vigil.rerun.worker import Desk, Worker
from vigil.settings import Settings


@pytest.fixture
def server() -> Iterator[KubeflowServer]:
    server = KubeflowServer()
    yield server
    server.close()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


def compiled(name: str, folder: Path) -> Path:
    from kfp import compiler

    from tests.rerun import samples

    compiler.Compiler().compile(getattr(samples, name), str(folder / f"{name}.yaml"))
    return folder / f"{name}.yaml"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a compiled pipeline of one step."""
    return compiled("tiny", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def judging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a compiled pipeline that judges a candidate, and registers one that passes."""
    return compiled("judging", tmp_path_factory.mktemp("judging"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "raw.csv"
    path.write_text("a,b\n1,2\n")
    return path


@pytest.fixture
def told(data: Path) -> RerunSettings:
    rules = ModelRules(data=str(data), cool_down_hours=6, budget_per_day=3)
    return RerunSettings(defaults=rules, poll_seconds=15, settle_seconds=90)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "home" / "rerun")


@pytest.fixture
def desk(journal: Journal, told: RerunSettings, clock: ManualClock) -> Desk:
    return Desk(journal, told, clock)


Hire = Callable[[], Worker]


@pytest.fixture
def hire(
    server: KubeflowServer,
    journal: Journal,
    told: RerunSettings,
    clock: ManualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Hire:
    """Return a new worker over the same journal: what a restarted process would be."""
    monkeypatch.setattr("kfp.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    settings = Settings.model_validate(
        {"kfp_host": server.url, "kfp_token": "/nowhere/token", "home": str(tmp_path / "home")}
    )

    def hired() -> Worker:
        return Worker(journal, told, There(settings, told, timeout=1.0), ("http://sink.test/",), clock=clock)

    return hired
