"""MLflow shows what the ledger says: at once, or after the next change when something came in between."""

import logging
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from mlflow.server import app, constants
from typer.testing import CliRunner
from werkzeug.serving import make_server

from tests.registry.conftest import MODEL, Desk, open_desk, write_three
from tests.registry.samples import MONDAY, metadata, parts
from vigil import cli_models
from vigil.clock import ManualClock
from vigil.contracts.keys import ModelVersion
from vigil.errors import ContractError, Unavailable
from vigil.registry.bundle import BundleRef, write_bundle
from vigil.registry.registry import Registry, open_tracking
from vigil.registry.stages import ModelState, Stage
from vigil.registry.store import FolderStore, Store
from vigil.registry.tracking import RunRecord, Tracking

_QUIET = """
import sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"tried to reach the network: {event} {arguments}")
sys.addaudithook(refuse)
from vigil.registry.bundle import BundleRef
from vigil.registry.registry import Registry, open_tracking
from vigil.registry.store import open_store
registry = Registry(open_store(sys.argv[1]), open_tracking(sys.argv[2]))
registry.register(BundleRef(sys.argv[3], ""), actor="person:ana", reason="looks good")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def maker(folder: Path) -> "subprocess.CompletedProcess[str]":
    """The process that made a database by registering a first version."""
    store = FolderStore(folder / "store")
    ref = write_bundle(parts(), metadata(model="first"), store)
    command = [sys.executable, "-c", _QUIET, store.root, f"sqlite:///{folder}/new/mlflow.db", ref.hash]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def database(folder: Path, maker: "subprocess.CompletedProcess[str]") -> Path:
    """The database that the tests share: making or opening one takes long."""
    return folder / "new/mlflow.db"


@pytest.fixture(scope="module")
def opened(database: Path) -> Tracking:
    return open_tracking(f"sqlite:///{database}")


@pytest.fixture
def tracking(opened: Tracking) -> Iterator[Tracking]:
    """MLflow, in which the model of the tests is not yet registered."""
    yield opened
    if opened._client.search_registered_models(filter_string=f"name = '{MODEL}'"):
        opened._client.delete_registered_model(MODEL)


@pytest.fixture
def shown(store: FolderStore, bundles: list[BundleRef], tracking: Tracking) -> Desk:
    clock = ManualClock(MONDAY)
    desk = Desk(Registry(store, tracking, clock=clock), clock)
    for bundle in bundles:
        desk.register(bundle)
    return desk


def _stages(tracking: Tracking) -> dict[str, str]:
    found = tracking._client.search_model_versions(f"name = '{MODEL}'")
    return {version.tags["vigil.version"]: version.tags["vigil.stage"] for version in found}


def _production(tracking: Tracking) -> str | None:
    aliases = tracking._client.get_registered_model(MODEL).aliases
    if "production" not in aliases:
        return None
    return str(tracking._client.get_model_version_by_alias(MODEL, "production").tags["vigil.version"])


RECORD = RunRecord(
    model=MODEL,
    name="nightly",
    started=MONDAY,
    finished=MONDAY + timedelta(minutes=5),
    parameters={"trees": 200, "profile": "retail"},
    metrics={"average_precision": 0.625},
    tags={"pipeline": "42"},
)


def test_a_run_is_shown_with_its_parameters_metrics_and_tags(tracking: Tracking) -> None:
    run = tracking._client.get_run(tracking.log_run(RECORD))
    assert run.data.params == {"trees": "200", "profile": "retail"}
    assert run.data.metrics == {"average_precision": 0.625}
    assert run.data.tags["pipeline"] == "42"
    assert (run.info.status, run.info.end_time - run.info.start_time) == ("FINISHED", 300_000)


def test_a_plot_is_kept_with_its_run(tracking: Tracking, database: Path, tmp_path: Path) -> None:
    (tmp_path / "curve.svg").write_text("<svg/>")
    run = tracking.log_run(RunRecord(MODEL, "nightly", MONDAY, MONDAY, files=(tmp_path / "curve.svg",)))
    (found,) = (database.parent / "runs").rglob("curve.svg")
    assert found.read_text() == "<svg/>"
    assert run in str(found)


def test_more_values_than_mlflow_takes_at_once_are_all_kept(tracking: Tracking) -> None:
    many = {f"p{number}": number for number in range(250)}
    run = tracking.log_run(RunRecord(MODEL, "wide", MONDAY, MONDAY, parameters=many, metrics=many))
    data = tracking._client.get_run(run).data
    assert (len(data.params), len(data.metrics)) == (250, 250)


def test_a_value_that_mlflow_does_not_take_is_the_callers_fault(tracking: Tracking) -> None:
    with pytest.raises(ContractError, match=r"MLflow at sqlite.*bad:name"):
        tracking.log_run(RunRecord(MODEL, "odd", MONDAY, MONDAY, metrics={"bad:name;": 1.0}))


def test_a_registered_version_is_shown_with_bundle_run_and_reason(
    store: FolderStore, bundles: list[BundleRef], tracking: Tracking
) -> None:
    run = tracking.log_run(RECORD)
    Registry(store, tracking).register(bundles[0], actor="policy:gates-v1", reason="all gates passed", run=run)
    (found,) = tracking._client.search_model_versions(f"name = '{MODEL}'")
    assert found.run_id == run
    assert found.source == f"vigil://{bundles[0].hash.replace(':', '/')}"
    assert found.tags["vigil.bundle"] == bundles[0].hash
    assert found.tags["vigil.reason"] == "all gates passed"


def test_a_version_whose_run_mlflow_does_not_know_is_shown_all_the_same(
    store: FolderStore, bundles: list[BundleRef], tracking: Tracking
) -> None:
    Registry(store, tracking).register(bundles[0], actor="person:ana", reason="imported", run="0" * 32)
    assert _stages(tracking) == {"1": "candidate"}


def test_a_promotion_moves_the_alias_and_the_tags(shown: Desk, tracking: Tracking) -> None:
    shown.enthrone("1")
    shown.enthrone("2", expected="1")
    assert _production(tracking) == "2"
    assert _stages(tracking) == shown.stages() == {"1": "staging", "2": "production", "3": "candidate"}


def test_a_promotion_on_the_command_line_is_shown(shown: Desk, tracking: Tracking, store: FolderStore) -> None:
    shown.promote("2", Stage.STAGING)
    arguments = ["--store", store.uri, "--tracking-uri", tracking.uri]
    arguments += ["promote", "card_fraud", "2", "--reason", "better", "--yes"]
    assert CliRunner().invoke(cli_models.app, arguments).exit_code == 0
    assert _production(tracking) == "2"


def test_a_rollback_moves_the_alias_back(shown: Desk, tracking: Tracking) -> None:
    shown.enthrone("1")
    shown.enthrone("2", expected="1")
    shown.rollback(expected="2")
    assert _production(tracking) == "1"


def test_without_a_production_version_there_is_no_alias(shown: Desk, tracking: Tracking) -> None:
    tracking._client.set_registered_model_alias(MODEL, "production", "1")
    shown.retire("3")
    assert _production(tracking) is None


def test_what_someone_changed_in_mlflow_is_put_right_by_the_next_change(shown: Desk, tracking: Tracking) -> None:
    tracking._client.set_model_version_tag(MODEL, "1", "vigil.stage", "production")
    tracking._client.set_registered_model_alias(MODEL, "production", "1")
    shown.enthrone("2")
    assert _stages(tracking) == shown.stages()
    assert _production(tracking) == "2"


def test_a_version_that_was_entered_twice_is_shown_once(shown: Desk, tracking: Tracking) -> None:
    tracking._client.create_model_version(MODEL, "vigil://x", tags={"vigil.version": "2"})
    shown.retire("1")
    found = tracking._client.search_model_versions(f"name = '{MODEL}'")
    assert sorted(version.tags["vigil.version"] for version in found) == ["1", "2", "3"]


def test_a_writer_that_comes_late_does_not_leave_an_old_state_in_mlflow(
    store: FolderStore, bundles: list[BundleRef], tracking: Tracking
) -> None:
    quick = open_desk(store, bundles)

    class Slow(Tracking):
        """Is overtaken once: someone else promotes before what was read is shown."""

        def show(self, state: ModelState, store: Store) -> None:
            if "2" in state.versions and quick.registry.state(MODEL).production is None:
                quick.enthrone("2")
            super().show(state, store)

    Registry(store, Slow(tracking.uri), clock=quick.clock).retire(
        MODEL, ModelVersion("1"), actor="person:ben", reason="trained on bad data"
    )
    assert _stages(tracking) == {"1": "retired", "2": "production", "3": "candidate"}
    assert _production(tracking) == "2"


def test_a_tracking_that_was_added_later_is_filled_by_the_next_change(
    store: FolderStore, bundles: list[BundleRef], tracking: Tracking
) -> None:
    desk = open_desk(store, bundles)
    later = Desk(Registry(store, tracking, clock=desk.clock), desk.clock)
    later.enthrone("1")
    assert _stages(tracking) == {"1": "production", "2": "candidate", "3": "candidate"}


_WRITES = ("set_model_version_tag", "set_registered_model_alias")

_DIE = """
import os, signal, sys
from tests.registry.samples import MONDAY
from vigil.registry.registry import Registry, open_tracking
from vigil.registry.store import open_store

def promote_and_die(folder, step):
    left = step
    def count(frame, event, _):
        nonlocal left
        code = frame.f_code
        if event == "call" and code.co_name in WRITES and code.co_filename.endswith("mlflow/tracking/client.py"):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
    tracking = open_tracking(f"sqlite:///{folder}/mlflow.db")
    registry = Registry(open_store(f"{folder}/store"), tracking, clock=lambda: MONDAY)
    registry.register(registry.resolve("card_fraud", "1"), actor="person:ana", reason="opens the database")
    sys.setprofile(count)
    registry.promote("card_fraud", "2", expected_production="1", actor="person:ana", reason="looks good")

WRITES = sys.argv[1].split(",")
import vigil.registry.tracking
for folder, step in zip(sys.argv[2::2], map(int, sys.argv[3::2])):
    child = os.fork()
    if not child:
        promote_and_die(folder, step)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, (folder, step)
"""


def test_a_kill_between_ledger_and_mlflow_is_made_up_for_by_the_next_change(
    shown: Desk, database: Path, tmp_path: Path
) -> None:
    shown.enthrone("1")
    shown.promote("2", Stage.STAGING, expected="1")
    steps = {"half of the tags are set": 3, "the alias is missing": 5}
    wrecks = [tmp_path / "wrecks" / str(step) for step in steps.values()]
    for wreck in wrecks:
        shutil.copytree(tmp_path / "store", wreck / "store")
        shutil.copyfile(database, wreck / "mlflow.db")
    arguments = [str(value) for pair in zip(wrecks, steps.values(), strict=True) for value in pair]
    subprocess.run([sys.executable, "-c", _DIE, ",".join(_WRITES), *arguments], check=True)
    for wreck in wrecks:
        _check_repair(wreck)


def _check_repair(wreck: Path) -> None:
    tracking, clock = open_tracking(f"sqlite:///{wreck}/mlflow.db"), ManualClock(MONDAY)
    desk = Desk(Registry(FolderStore(wreck / "store"), tracking, clock=clock), clock)
    assert desk.stages() == {"1": "staging", "2": "production", "3": "candidate"}
    assert _production(tracking) == "1"
    desk.retire("3")
    assert _production(tracking) == "2"
    assert _stages(tracking) == desk.stages() == {"1": "staging", "2": "production", "3": "retired"}


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a server that is not there, which is not asked for long."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_change_does_not_need_mlflow_to_be_there(
    store: FolderStore, bundles: list[BundleRef], nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "vigil"):
        Registry(store, open_tracking(nobody)).register(bundles[0], actor="person:ana", reason="looks good")
    assert Registry(store).state(MODEL).versions["1"].stage == Stage.CANDIDATE
    assert "MLflow is behind: the next change makes up for it" in caplog.messages


def test_a_run_that_cannot_be_written_is_unavailable(nobody: str) -> None:
    with pytest.raises(Unavailable, match=f"MLflow at {nobody}"):
        open_tracking(nobody).log_run(RECORD)


@pytest.mark.parametrize("uri", ["carrier://pigeon", "/a/folder", "sqlite://"])
def test_what_is_no_address_of_mlflow_is_the_callers_fault(uri: str) -> None:
    with pytest.raises(ContractError, match=r"is no tracking URI: give sqlite:////folder/mlflow.db or http://"):
        open_tracking(uri)


def test_a_database_without_its_driver_is_the_callers_fault() -> None:
    with pytest.raises(ContractError, match=r"No module named 'psycopg2?': install the driver, or give the address"):
        open_tracking("postgresql://nobody@127.0.0.1:1/none").log_run(RECORD)


def test_a_folder_that_cannot_be_made_is_the_callers_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ContractError, match=r"cannot make .*file/new for MLflow"):
        open_tracking(f"sqlite:///{tmp_path}/file/new/mlflow.db")


@pytest.fixture
def server(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of MLflow's own server, without the job runners that `mlflow server` starts beside it."""
    shutil.copyfile(database, tmp_path / "server.db")
    monkeypatch.setenv(constants.BACKEND_STORE_URI_ENV_VAR, f"sqlite:///{tmp_path}/server.db")
    monkeypatch.setenv(constants.ARTIFACTS_DESTINATION_ENV_VAR, str(tmp_path / "artifacts"))
    monkeypatch.setenv(constants.ARTIFACT_ROOT_ENV_VAR, "mlflow-artifacts:/")
    monkeypatch.setenv(constants.SERVE_ARTIFACTS_ENV_VAR, "true")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_shows_the_same_as_a_database(server: str, store: FolderStore, tmp_path: Path) -> None:
    tracking, clock = open_tracking(server), ManualClock(MONDAY)
    (tmp_path / "curve.svg").write_text("<svg/>")
    run = tracking.log_run(RunRecord(MODEL, "nightly", MONDAY, MONDAY, files=(tmp_path / "curve.svg",)))
    desk = Desk(Registry(store, tracking, clock=clock), clock)
    desk.registry.register(write_three(store)[0], actor="policy:gates", reason="passed", run=run)
    desk.enthrone("1")
    assert _production(tracking) == "1"
    assert [file.path for file in tracking._client.list_artifacts(run)] == ["curve.svg"]


def test_a_new_database_is_made_without_a_word_and_without_the_network(
    maker: "subprocess.CompletedProcess[str]",
) -> None:
    assert (maker.returncode, maker.stdout, maker.stderr) == (0, "", "")


def test_without_mlflow_the_extra_is_named() -> None:
    program = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from vigil.registry.registry import open_tracking\n"
        "from vigil.errors import MissingExtra\n"
        "try:\n    open_tracking('sqlite:///x.db')\nexcept MissingExtra as error:\n    print(error)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert result.stdout == "mlflow is not installed: pip install 'vigil[train]'\n"
