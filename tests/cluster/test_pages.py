"""Every command of the operating pages that needs a cluster, in order: installed, looked at, upgraded, removed.

They run as they stand there but for two things: the overlay is `local`, since the images of production are in no
registry here, and claims get volumes in folders of this machine.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from kubernetes.client import ApiClient, CoreV1Api, CustomObjectsApi
from kubernetes.client.exceptions import ApiException

from tests.cluster.installed import apply, remove, volume, wait_ready
from tests.manifests.build import MANIFESTS, build, named
from tests.manifests.pages import Command, commands

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_200)]

HERE = [command for command in commands() if command.on_cluster]
STORAGE = ("serving.kserve.io", "v1alpha1", "clusterstoragecontainers", "default")
LOCAL = build(MANIFESTS / "overlays/local")


@pytest.fixture(scope="module")
def folder(client: ApiClient) -> Iterator[Path]:
    """A folder as the pages suppose it: a checkout, with the two keys in it."""
    api = CoreV1Api(client)
    for name in ("vigil", "kubeflow"):
        remove(api, name)
    states = Path(tempfile.mkdtemp(prefix="vigil-pages-", dir="/var/tmp"))
    states.chmod(0o755)
    for name in ("manifests", "docs"):
        (states / name).symlink_to(MANIFESTS.parent / name)
    for command in (one for one in commands() if one.text.startswith("openssl")):
        subprocess.run(command.pipeline[0], cwd=states, check=True, capture_output=True, timeout=60)
    claims = named(LOCAL, "PersistentVolumeClaim")
    apply([volume("vigil", claim, states / claim) for claim in claims])
    api_of_kserve = CustomObjectsApi(client)
    before = api_of_kserve.get_cluster_custom_object(*STORAGE)["spec"]["container"]
    yield states
    for name in ("vigil", "kubeflow"):
        remove(api, name)
    api_of_kserve.patch_cluster_custom_object(*STORAGE, {"spec": {"container": {"env": None, **before}}})
    shutil.rmtree(states)


def run(command: Command, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command as someone would who works in the folder."""
    text = command.text.replace("overlays/production", "overlays/local")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VIGIL_")}
    environment = {**kept, "VIGIL_HOME": str(folder / "home"), "VIGIL_TRACKING_URI": "none"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    environment.setdefault("KUBECONFIG", str(cache / "vigil-cluster" / "kubeconfig"))
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("command", HERE, ids=lambda command: f"{command.page}: {command.text[:60]}")
def test_a_command_does_what_the_page_says(client: ApiClient, folder: Path, command: Command) -> None:
    if " exec " in command.text or " logs " in command.text:
        for name in named(LOCAL, "Deployment"):
            wait_ready(client, "vigil", name)
    done = run(command, folder)
    assert done.returncode == 0, done.stderr + done.stdout


def test_afterwards_nothing_is_left(client: ApiClient, folder: Path) -> None:
    with pytest.raises(ApiException, match="not found"):
        CoreV1Api(client).read_namespace("vigil")
