"""Who reaches whom: every way that is needed is open, and every other one is closed."""

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

import pytest

from tests.manifests.build import MANIFESTS, Document, build

HERE = "vigil"


@dataclass(frozen=True)
class Peer:
    """Something that has a place in the network."""

    name: str
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    namespace: str | None = HERE
    """None outside of the cluster, where only the address counts."""
    address: str = "10.1.2.3"


def part(name: str, **labels: str) -> Peer:
    store = {"vigil/store": "true"} if name in ("controller", "detector", "rerun") else {}
    return Peer(name, {"app.kubernetes.io/name": name, **store, **labels})


SERVING = Peer(
    "serving",
    {"app.kubernetes.io/name": "vigil", "serving.knative.dev/revision": "m-predictor-00001", "vigil/store": "true"},
)
INSIDE = [SERVING, *map(part, ("controller", "detector", "rerun", "alerts", "mlflow", "redis", "prometheus", "store"))]
GATEWAY = Peer("gateway", namespace="kourier-system")
ACTIVATOR = Peer("activator", namespace="knative-serving")
DNS = Peer("dns", namespace="kube-system")
PIPELINE = Peer("pipeline", namespace="kubeflow")
STRANGER = Peer("stranger", namespace="default")
INTERNET = Peer("internet", namespace=None, address="142.250.0.1")
METADATA = Peer("metadata", namespace=None, address="169.254.169.254")
API_SERVER = Peer("api-server", namespace=None, address="10.96.0.1")
OUTSIDE = [GATEWAY, ACTIVATOR, DNS, PIPELINE, STRANGER, INTERNET, METADATA, API_SERVER]
PORTS = (25, 53, 80, 443, 4443, 5000, 6379, 6443, 8012, 8080, 8085, 8090, 8091, 8092, 8888, 9090)

BOTH: set[tuple[str, str, int]] = {
    ("gateway", "serving", 8012),
    ("activator", "serving", 8012),
    ("gateway", "serving", 9090),
    ("activator", "serving", 9090),
    ("serving", "detector", 8090),
    ("serving", "redis", 6379),
    ("controller", "serving", 8080),
    ("controller", "detector", 8090),
    ("controller", "rerun", 8090),
    ("controller", "alerts", 8091),
    ("controller", "mlflow", 5000),
    ("controller", "api-server", 443),
    ("controller", "api-server", 6443),
    ("detector", "rerun", 8090),
    ("detector", "alerts", 8091),
    ("rerun", "alerts", 8091),
    ("rerun", "pipeline", 8888),
    ("pipeline", "mlflow", 5000),
    ("pipeline", "redis", 6379),
    ("pipeline", "alerts", 8091),
    *((one.name, "dns", 53) for one in INSIDE),
    ("prometheus", "serving", 8080),
    *(("prometheus", name, 8090) for name in ("detector", "rerun")),
    ("prometheus", "alerts", 8091),
    ("prometheus", "controller", 8092),
}
USERS_OF_THE_STORE = ("serving", "controller", "detector", "rerun")
LOCAL = BOTH | {(name, "store", 4443) for name in USERS_OF_THE_STORE}
PRODUCTION = (
    BOTH
    | {(name, "internet", 443) for name in USERS_OF_THE_STORE}
    | {(name, "metadata", 80) for name in USERS_OF_THE_STORE}
    | {("alerts", "internet", port) for port in (25, 443)}
)
BROAD = {"controller": {443, 6443}, "alerts": {25, 443}, "prometheus": {8080, 8090, 8091, 8092}}
"""Ports at which these reach what is not ours: API server, mail servers and webhooks have addresses unknown to us."""


def open_ways(policies: list[Document]) -> set[tuple[str, str, int]]:
    """Return who reaches whom at which port, among the peers above."""
    return {
        (source.name, target.name, port)
        for source, target, port in product([*INSIDE, *OUTSIDE], [*INSIDE, *OUTSIDE], PORTS)
        if source is not target
        and (source in INSIDE or target in INSIDE)
        and _lets(policies, "Egress", source, target, port)
        and _lets(policies, "Ingress", target, source, port)
    }


def _lets(policies: list[Document], way: str, subject: Peer, other: Peer, port: int) -> bool:
    """Return whether the policies of a pod let a packet through; what is not ours is not held back by us."""
    if subject not in INSIDE:
        return True
    mine = [one["spec"] for one in policies if way in one["spec"]["policyTypes"] and _selects(one, subject)]
    rules = [rule for spec in mine for rule in spec.get(way.lower(), ())]
    return not mine or any(_matches(rule, other, port, "to" if way == "Egress" else "from") for rule in rules)


def _selects(policy: Document, peer: Peer) -> bool:
    return _has(policy["spec"]["podSelector"], peer.labels)


def _matches(rule: Document, other: Peer, port: int, key: str) -> bool:
    if "ports" in rule and port not in {one["port"] for one in rule["ports"]}:
        return False
    return key not in rule or any(_is(one, other) for one in rule[key])


def _is(wanted: Document, peer: Peer) -> bool:
    if block := wanted.get("ipBlock"):
        address = ip_address(peer.address)
        inside = address in ip_network(block["cidr"])
        return inside and not any(address in ip_network(one) for one in block.get("except", ()))
    if peer.namespace is None:
        return False
    namespaces = wanted.get("namespaceSelector")
    if namespaces is None and peer.namespace != HERE:
        return False
    if namespaces is not None and not _has(namespaces, {"kubernetes.io/metadata.name": peer.namespace}):
        return False
    return _has(wanted.get("podSelector", {}), peer.labels)


def _has(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    for one in selector.get("matchExpressions", ()):
        value = labels.get(one["key"])
        if value is None or (one["operator"] == "In" and value not in one["values"]):
            return False
    return selector.get("matchLabels", {}).items() <= labels.items()


def policies_of(overlay: str) -> list[Document]:
    documents = build(MANIFESTS / overlay) + build(MANIFESTS / "monitoring")
    return [one for one in documents if one["kind"] == "NetworkPolicy"]


@pytest.mark.parametrize(("overlay", "needed"), [("overlays/local", LOCAL), ("overlays/production", PRODUCTION)])
def test_the_ways_that_are_needed_are_open(overlay: str, needed: set[tuple[str, str, int]]) -> None:
    assert needed - open_ways(policies_of(overlay)) == set()


@pytest.mark.parametrize(("overlay", "needed"), [("overlays/local", LOCAL), ("overlays/production", PRODUCTION)])
def test_no_other_way_is_open(overlay: str, needed: set[tuple[str, str, int]]) -> None:
    outward = {one.name for one in OUTSIDE}
    more = open_ways(policies_of(overlay)) - needed
    assert {way for way in more if not (way[1] in outward and way[2] in BROAD.get(way[0], ()))} == set()


def test_without_the_policies_everything_is_open() -> None:
    assert ("stranger", "redis", 6379) in open_ways([])
    assert ("stranger", "redis", 6379) not in open_ways(policies_of("overlays/production"))
