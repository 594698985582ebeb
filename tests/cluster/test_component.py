"""Every step of the compiled pipelines in a pod of the pipeline image, as Kubeflow starts it.

From raw data to a version that serves, to a batch that is scored, and to a fleet of which one shard fails.
"""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from aiosmtpd.controller import Controller
from google.cloud import storage
from kubernetes.client import ApiClient

from tests.alerts.receivers import Mailbox, text_of
from tests.cluster.installed import Document, apply, documents, fresh_namespace, install
from tests.cluster.names import SERVING_IMAGE
from tests.cluster.steps import ACCOUNT, Workplace, compiled, compiled_names, executors, started
from tests.cluster.steps_driver import BUCKET, OUTPUT_FILE, as_driven, as_local
from tests.cluster.traffic import Endpoint
from tests.manifests.build import MANIFESTS
from tests.training.sites.samples import FIRST, NEXT, Fleet, config, values, write_readings
from vigil.contracts.events import Transaction
from vigil.deployment.cluster import Cluster
from vigil.deployment.standing import read_standing
from vigil.fleet.bundled import live_shard, shard_model
from vigil.orchestration.filling import Purpose, Wanted, filled_arguments
from vigil.orchestration.ir import load_pipeline
from vigil.orchestration.runs import LocalRun, Outcome, StepState
from vigil.registry.bundle import load_bundle
from vigil.registry.registry import Registry
from vigil.registry.store import open_store
from vigil.settings import Settings
from vigil.training.register import read_registration
from vigil.training.sites.collect import read_summary

pytestmark = pytest.mark.timeout(2_400)
cluster = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
RUNS, SERVING = "vigil-steps", "vigil-steps-serving"
"""The namespaces of the steps, which is Kubeflow's elsewhere, and of what they deploy."""
OBJECTS, PREFIX = "vigil", "steps"
STORE = f"gs://{OBJECTS}/{PREFIX}"
SECRETS = "/etc/vigil/secrets"
SHARDS, BROKEN = 2, "shard-01"


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    """The environment of the steps' local half."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        yield


@pytest.fixture(scope="module")
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture(scope="module")
def post(node: str, mailbox: Mailbox) -> Iterator[str]:
    """The address of a mail server that pods reach."""
    with socket.socket() as free:
        free.bind((node, 0))
        port = free.getsockname()[1]
    controller = Controller(mailbox, hostname=node, port=port)
    controller.start()
    yield f"{node}:{port}"
    controller.stop()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the two keys, made as docs/install.md says."""
    folder = tmp_path_factory.mktemp("keys")
    for options in ("genpkey -algorithm ed25519 -out signing.pem", "pkey -in signing.pem -pubout -out public.pem"):
        subprocess.run(["openssl", *options.split()], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def workplace(client: ApiClient, emulator: str, post: str, keys: Path) -> Iterator[Workplace]:
    """Two namespaces: one for the steps, and one with what they need and may deploy to."""
    told = {
        "VIGIL_STORE": STORE,
        "VIGIL_TRACKING_URI": f"http://mlflow.{SERVING}:5000",
        "VIGIL_REDIS_URL": f"redis://redis.{SERVING}:6379/0",
        "VIGIL_DECISIONS": f"{STORE}/decisions",
        "VIGIL_SIGNING_KEY": f"{SECRETS}/signing.pem",
        "VIGIL_PUBLIC_KEY": f"{SECRETS}/public.pem",
        "VIGIL_MAIL_SERVER": post,
        "VIGIL_MAIL_TO": "ops@shop.test",
        "STORAGE_EMULATOR_HOST": emulator,
    }
    with (
        tempfile.TemporaryDirectory(prefix=f"{RUNS}-", dir="/var/tmp") as folder,
        fresh_namespace(client, SERVING),
        fresh_namespace(client, RUNS),
    ):
        Path(folder).chmod(0o755)
        states = install(client, SERVING, ("redis", "mlflow"), told, {})
        apply([*of_the_runs(told, keys), *of_the_servers(keys)])
        yield Workplace(RUNS, Path(folder))
    shutil.rmtree(states)


def of_the_runs(told: dict[str, str], keys: Path) -> list[Document]:
    """Return what steps find where they run: settings, keys, and the account that they run as."""
    settings = [one for one in documents(RUNS, (), told, {}) if one["metadata"]["name"] == "vigil-settings"]
    pair = {"stringData": {path.name: path.read_text() for path in keys.iterdir()}}
    return [*settings, named("Secret", "vigil-secrets", RUNS) | pair, named("ServiceAccount", ACCOUNT, RUNS)]


def of_the_servers(keys: Path) -> list[Document]:
    """Return what the servers' namespace needs besides: the public key, and the right of the steps to deploy."""
    (binding,) = yaml.safe_load_all((MANIFESTS / "overlays" / "production" / "access.yaml").read_text())
    binding["metadata"]["namespace"] = SERVING
    (subject,) = binding["subjects"]
    subject["namespace"] = RUNS
    public = {"data": {"public.pem": (keys / "public.pem").read_text()}}
    verifying = {"stringData": {"VIGIL_PUBLIC_KEY": f"{SECRETS}/public.pem"}}
    return [
        named("ConfigMap", "vigil-public-key", SERVING) | public,
        named("Secret", "vigil-serving", SERVING) | verifying,
        binding,
    ]


def named(kind: str, name: str, namespace: str) -> Document:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def run(workplace: Workplace, name: str, wanted: Wanted) -> LocalRun:
    """Run a pipeline with what a run on Kubeflow is told."""
    arguments = filled_arguments(load_pipeline(compiled(name)), wanted, Purpose.ONCE)
    return workplace.run(name, arguments)


@pytest.fixture(scope="module")
def business(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the raw data of a small chain, and its use case."""
    from tests.training.samples import use_case, write_raw  # whose components read the settings at once

    folder = tmp_path_factory.mktemp("business")
    write_raw(folder / "raw")
    (folder / "use_case.yaml").write_text(use_case().text)
    return folder


@pytest.fixture(scope="module")
def retrained(workplace: Workplace, business: Path) -> LocalRun:
    """A run that an event asked for; its candidate is the first version."""
    store = open_store(STORE)
    for path in (business / "raw").rglob("*.*"):
        store.create(path.relative_to(business).as_posix(), path)
    place = (f"namespace={SERVING}", f"serving_image={SERVING_IMAGE}", "profile=local")
    wanted = Wanted(
        use_case=str(business / "use_case.yaml"),
        data=f"{STORE}/raw",
        pairs=("event_id=drift-1", *place),
        cause="drift of amount",
        where="http://kubeflow.test/#/runs/details/7",
    )
    return run(workplace, "retraining", wanted)


@pytest.fixture(scope="module")
def scored(workplace: Workplace, business: Path, retrained: LocalRun) -> LocalRun:
    wanted = Wanted(use_case=str(business / "use_case.yaml"), data=f"{STORE}/raw", pairs=("version=1",))
    return run(workplace, "batch_scoring", wanted)


@pytest.fixture(scope="module")
def fitted(workplace: Workplace, keys: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalRun:
    """A run for a fleet that has champions, of which one is damaged."""
    home = tmp_path_factory.mktemp("fleet")
    fleet = Fleet(home)
    fleet.settings = Settings(home=home, store=STORE, signing_key=keys / "signing.pem")
    fleet.run(values()[:, :FIRST], config(shards=SHARDS))
    damage(BROKEN)
    readings = write_readings(home / "readings.parquet", values()[:, :NEXT])
    open_store(STORE).create("readings.parquet", readings)
    (home / "chain.yaml").write_text(config(shards=SHARDS).text)
    return run(workplace, "site_models", Wanted(use_case=str(home / "chain.yaml"), data=f"{STORE}/readings.parquet"))


def damage(shard: str) -> None:
    """Change the arrays of a shard's bundle, which its hash then no longer fits."""
    store = open_store(STORE)
    live = live_shard(Registry(store), shard_model("chain", shard))
    assert live is not None
    bucket = storage.Client.create_anonymous_client().bucket(OBJECTS)
    for path in store.paths(f"bundles/{live.bundle.removeprefix('sha256:')}"):
        if path.endswith(".npz"):
            bucket.blob(f"{PREFIX}/{path}").upload_from_string(store.read(path) + b"x")


def told_of(mailbox: Mailbox, done: LocalRun) -> tuple[str, str]:
    """Return the subject and the text of the one mail about the end of a run."""
    (mail,) = [one for one in mailbox.mails if done.pipeline.name in one["Subject"]]
    return str(mail["Subject"]), text_of(mail)


@cluster
def test_an_event_becomes_a_signed_version(retrained: LocalRun, keys: Path, mailbox: Mailbox) -> None:
    assert retrained.outcome is Outcome.SUCCEEDED, retrained.failure
    assert {one.state for one in retrained.steps} == {StepState.DONE}
    registered = read_registration(retrained.step("register-model").outputs.artifacts["registered"].path)
    assert load_bundle(registered.bundle_uri, public_key=keys / "public.pem").hash == registered.bundle
    assert registered.run is not None, "MLflow has no run"
    subject, text = told_of(mailbox, retrained)
    assert "succeeded" in subject
    assert "drift of amount" in text


@cluster
def test_the_version_serves_where_the_run_was_told_to_deploy_it(
    retrained: LocalRun, client: ApiClient, ingress: str
) -> None:
    live = Cluster(SERVING, client).service("retail-pos")
    assert live is not None
    standing = read_standing(live)
    assert standing.is_ready
    assert standing.url == retrained.step("deploy-candidate").outputs.parameters["Output"]
    event = Transaction(event_id="e1", event_time=datetime.now(UTC), amount=20.0, customer_id="c1")
    with Endpoint(ingress, standing.url) as endpoint:
        asked = {"instances": [event.model_dump(mode="json", exclude_none=True)]}
        status, answer = endpoint.ask("POST", "/v1/models/retail_pos:predict", asked)
    assert status == 200, answer
    (decision,) = answer["predictions"]
    assert (decision["event_id"], decision["model_version"]) == ("e1", "1")


@cluster
def test_the_version_scores_a_batch(scored: LocalRun, business: Path, mailbox: Mailbox) -> None:
    assert scored.outcome is Outcome.SUCCEEDED, scored.failure
    decisions = pq.read_table(scored.step("score-batch").outputs.artifacts["decisions"].path / "decisions.parquet")
    assert decisions.num_rows == pq.read_metadata(business / "raw" / "events" / "transaction.parquet").num_rows
    assert scored.step("notify").outputs.parameters["Output"] == "not_wanted"
    assert not [one for one in mailbox.mails if scored.pipeline.name in one["Subject"]]


@cluster
def test_a_shard_that_fails_holds_back_no_other_and_the_mail_names_the_run(fitted: LocalRun, mailbox: Mailbox) -> None:
    assert fitted.outcome is Outcome.FAILED
    assert fitted.failure is not None
    assert f"1 of {SHARDS} shards failed" in fitted.failure.message
    assert BROKEN in fitted.failure.message
    found = {
        one.shard: one.outcome for one in read_summary(fitted.step("collect-shards").outputs.artifacts["fleet"].path)
    }
    assert found == {"shard-00": "live", BROKEN: "failed"}
    registry = Registry(open_store(STORE))
    production = {shard: registry.state(shard_model("chain", shard)).production for shard in found}
    assert production == {"shard-00": "2", BROKEN: "1"}
    assert "failed" in told_of(mailbox, fitted)[0]


@cluster
def test_no_executor_of_a_pipeline_was_forgotten(
    workplace: Workplace, retrained: LocalRun, scored: LocalRun, fitted: LocalRun
) -> None:
    ran = workplace.ran()
    for one in ran:
        print(f"{one.pipeline:14} {one.executor:28} {one.seconds:6.1f} s, exit code {one.code}")
    pipelines = {name: executors(name) for name in compiled_names()}
    seen = {started(pipelines[one.pipeline][one.executor]) for one in ran}
    every = [(name, label, container) for name, found in pipelines.items() for label, container in found.items()]
    assert [(name, label) for name, label, container in every if started(container) not in seen] == []
    assert {one.executor for one in ran if one.code} == {"exec-require-every-shard"}
    functions = {container["args"][-1] for _, _, container in every}
    assert functions == {path.stem for path in (ROOT / "components").glob("*.py")} - {"__init__", "base"}


def test_a_step_is_told_what_the_driver_of_kubeflow_would_tell_it() -> None:
    kind, root = {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}, Path("/runs")
    status = {
        "state": "SUCCEEDED",
        "pipeline_task_name": "train",
        "pipeline_job_resource_name": "",
        "error": {"code": 0},
    }
    events = {"name": "events", "type": kind, "uri": "/runs/a/events", "metadata": {"rows": 3.0, "share": 0.5}}
    given = {
        "inputs": {
            "parameterValues": {"percent": 10, "names": ["a"], "status": status},
            "artifacts": {"events": {"artifacts": [events]}},
        },
        "outputs": {
            "parameters": {"Output": {"outputFile": "/runs/b/Output"}},
            "artifacts": {"page": {"artifacts": [{**events, "name": "page", "uri": "/runs/b/page", "metadata": {}}]}},
            "outputFile": "/runs/b/executor_output.json",
        },
    }
    driven = as_driven(given, root, "run-7")
    told = {"state": "COMPLETE", "pipelineTaskName": "train", "pipelineJobResourceName": "run-7", "error": {}}
    assert driven["inputs"]["parameterValues"] == {"percent": 10, "names": ["a"], "status": told}
    (taken,) = driven["inputs"]["artifacts"]["events"]["artifacts"]
    assert taken == {**events, "uri": f"{BUCKET}/a/events"}
    assert str(taken["metadata"]["rows"]) == "3"
    assert driven["outputs"] == {
        "parameters": {"Output": {"outputFile": "/tmp/kfp/outputs/Output"}},
        "artifacts": {"page": {"artifacts": [{"type": kind, "uri": f"{BUCKET}/b/page"}]}},
        "outputFile": OUTPUT_FILE,
    }
    written = {"artifacts": {"page": {"artifacts": [{"name": "", "uri": f"{BUCKET}/b/page", "metadata": {"n": 1}}]}}}
    (made,) = as_local(written, root)["artifacts"]["page"]["artifacts"]
    assert made == {"name": "page", "uri": "/runs/b/page", "metadata": {"n": 1}}
