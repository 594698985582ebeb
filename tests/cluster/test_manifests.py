"""The API server takes every overlay, and gives each account the rights that tests/manifests lists and no others."""

import copy
import subprocess
from collections.abc import Iterator

import pytest
from kubernetes.client import ApiClient, AuthorizationV1Api, CoreV1Api

from tests.cluster.installed import apply, fresh_namespace
from tests.manifests.build import MANIFESTS, OVERLAYS, build
from tests.manifests.test_rights import ALLOWED, NO_RIGHTS, Right

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

OF_EVERYBODY = ("authentication.k8s.io", "authorization.k8s.io")


@pytest.fixture(scope="module")
def vigil(client: ApiClient) -> Iterator[str]:
    """The namespace `vigil` with accounts and rights, and nothing that runs."""
    with fresh_namespace(client, "vigil") as name:
        kinds = ("ServiceAccount", "Role", "RoleBinding")
        apply([one for one in build(MANIFESTS / "overlays/production") if one["kind"] in kinds])
        yield name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_api_server_takes_every_object(vigil: str, overlay: str) -> None:
    command = ["kubectl", "apply", "--dry-run=server", "-k", str(MANIFESTS / overlay)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    expected = len(build(MANIFESTS / overlay))
    assert sum("(server dry run)" in line for line in done.stdout.splitlines()) == expected


def rights(client: ApiClient, namespace: str, who: dict[str, str]) -> set[Right]:
    """Return what the API server lets someone do with objects, beyond what everybody may."""
    theirs = copy.copy(client)
    theirs.default_headers = {**client.default_headers, **who}
    review = AuthorizationV1Api(theirs).create_self_subject_rules_review({"spec": {"namespace": namespace}})
    return {
        (f"{resource}.{group}".rstrip(".") + (f"/{name}" if name else ""), verb)
        for rule in review.status.resource_rules
        for group in rule.api_groups
        if group not in OF_EVERYBODY
        for resource in rule.resources
        for name in rule.resource_names or [""]
        for verb in rule.verbs
    }


@pytest.mark.parametrize("subject", ALLOWED)
def test_each_account_may_do_what_is_listed_and_nothing_else(client: ApiClient, vigil: str, subject: str) -> None:
    kind, _, name = subject.partition(" ")
    who = {"Impersonate-User": "ana", "Impersonate-Group": name}
    if kind == "ServiceAccount":
        who = {"Impersonate-User": f"system:serviceaccount:{name.replace('/', ':')}"}
    assert rights(client, vigil, who) == ALLOWED[subject]


@pytest.mark.parametrize("account", sorted(NO_RIGHTS))
def test_the_accounts_of_the_other_pods_may_do_nothing(client: ApiClient, vigil: str, account: str) -> None:
    assert rights(client, vigil, {"Impersonate-User": f"system:serviceaccount:{vigil}:{account}"}) == set()


def test_rights_end_at_the_namespace(client: ApiClient, vigil: str) -> None:
    CoreV1Api(client).read_namespace("default")
    controller = {"Impersonate-User": f"system:serviceaccount:{vigil}:vigil-controller"}
    assert rights(client, "default", controller) == set()
