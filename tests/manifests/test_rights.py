"""What each account may do: exactly this, and a right more or less fails."""

import pytest

from tests.manifests.build import MANIFESTS, OVERLAYS, Document, build, named

Right = tuple[str, str]
"""A resource, with the name after a slash where only that one is meant, and a verb."""

READS: set[Right] = {
    ("inferenceservices.serving.kserve.io", "get"),
    ("revisions.serving.knative.dev", "get"),
    ("pods", "list"),
}
RECORDS: set[Right] = {("configmaps", verb) for verb in ("get", "list", "create", "update")}
LEASE = "leases.coordination.k8s.io/vigil-rollout-controller"
DEPLOYS: set[Right] = READS | {("inferenceservices.serving.kserve.io", verb) for verb in ("create", "patch")}

ALLOWED: dict[str, set[Right]] = {
    "ServiceAccount vigil/vigil-controller": READS
    | RECORDS
    | {
        ("inferenceservices.serving.kserve.io", "patch"),
        ("leases.coordination.k8s.io", "create"),
        (LEASE, "get"),
        (LEASE, "update"),
    },
    "ServiceAccount kubeflow/pipeline-runner": DEPLOYS,
    "Group vigil-operators": READS | RECORDS | {(LEASE, "get")},
}
NO_RIGHTS = {"vigil-services", "vigil-serving", "vigil-prometheus"}
"""Accounts that no binding names."""


def rights(documents: list[Document]) -> dict[str, set[Right]]:
    """Return what each subject may do, by all bindings together."""
    roles = named(documents, "Role")
    found: dict[str, set[Right]] = {}
    for binding in named(documents, "RoleBinding").values():
        assert binding["roleRef"]["kind"] == "Role", "a ClusterRole would hold rights that stand nowhere here"
        for subject in binding["subjects"]:
            who = f"{subject.get('namespace', '')}/{subject['name']}".lstrip("/")
            granted = {right for rule in roles[binding["roleRef"]["name"]]["rules"] for right in _of(rule)}
            found.setdefault(f"{subject['kind']} {who}", set()).update(granted)
    return found


def _of(rule: Document) -> set[Right]:
    resources = {
        f"{resource}.{group}".rstrip(".") + (f"/{name}" if name else "")
        for resource in rule["resources"]
        for group in rule["apiGroups"]
        for name in rule.get("resourceNames", [""])
    }
    return {(resource, verb) for resource in resources for verb in rule["verbs"]}


def test_each_account_may_do_what_stands_here_and_nothing_else() -> None:
    assert rights(build(MANIFESTS / "overlays/production")) == ALLOWED


def test_a_right_more_is_noticed() -> None:
    documents = build(MANIFESTS / "overlays/production")
    named(documents, "Role")["vigil-controller"]["rules"][2]["verbs"].append("delete")
    assert rights(documents) != ALLOWED


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_holds_for_the_whole_cluster_and_nobody_may_do_everything(overlay: str) -> None:
    documents = build(MANIFESTS / overlay)
    assert not named(documents, "ClusterRole")
    assert not named(documents, "ClusterRoleBinding")
    text = [part for role in named(documents, "Role").values() for rule in role["rules"] for part in _words(rule)]
    assert "*" not in text
    assert "secrets" not in text


def _words(rule: Document) -> list[str]:
    return [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_the_controller_carries_a_token(overlay: str) -> None:
    documents = build(MANIFESTS / overlay)
    for account in named(documents, "ServiceAccount").values():
        assert account["automountServiceAccountToken"] is False
    for name, deployment in named(documents, "Deployment").items():
        pod = deployment["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is (name == "controller"), name
        assert (pod["serviceAccountName"] in NO_RIGHTS) is (name != "controller"), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_runs_as_the_default_account(overlay: str) -> None:
    documents = build(MANIFESTS / overlay)
    accounts = set(named(documents, "ServiceAccount"))
    for name, deployment in named(documents, "Deployment").items():
        assert deployment["spec"]["template"]["spec"]["serviceAccountName"] in accounts, name
