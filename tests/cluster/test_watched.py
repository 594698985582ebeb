"""Prometheus in a pod scrapes what serves and what watches; rules and dashboards ask for what is really there."""

import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from kubernetes.client import ApiClient, CoreV1Api, V1Pod

from tests.cluster.installed import apply, documents, until, volume, wait_ready
from tests.cluster.load import population
from tests.cluster.place import Place
from tests.cluster.traffic import MODEL, Endpoint
from tests.manifests.build import MANIFESTS, Document, build
from tests.manifests.test_metrics import OF_PROMETHEUS, SERIES, alerts, queries

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1_800)]

SCRAPED_SECONDS = 60
"""Of traffic: a rate needs two scrapes, which are 15 seconds apart."""

ON_OCCASION = {
    "ALERTS",  # something is wrong
    "vigil_alerts_messages",  # an owner was told
    "vigil_monitor_anomaly_rate",  # a window was judged
    "vigil_monitor_drift_strength",  # something drifts
    "vigil_monitor_precision",  # verdicts have matured
    "vigil_rerun_events_total",  # something has drifted
    "vigil_rerun_runs",
    "vigil_rollout_holds",  # a rollout halts
    "vigil_rollout_observed_percent",  # one goes on
    "vigil_rollout_silence_seconds",
    "vigil_rollout_verdict",
    "vigil_site_events_total",  # site models are served
    "vigil_site_findings_total",
    "vigil_site_readings_total",
    "vigil_site_shards",
}
"""Series that are there only while, or once, something happens; tests/manifests shows that they are exported."""


class Prometheus:
    """The pod's API, through the API server."""

    def __init__(self, client: ApiClient, namespace: str) -> None:
        self._api, self._namespace = CoreV1Api(client), namespace

    def ask(self, path: str) -> Any:
        answer = self._api.connect_get_namespaced_service_proxy_with_path(
            "prometheus:9090", self._namespace, path, _preload_content=False
        )
        return json.loads(answer.data)["data"]

    def query(self, expression: str) -> list[Document]:
        """Return the series of an instant query."""
        address = (
            f"http://{self._service().cluster_ip}:9090/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        )
        with urllib.request.urlopen(address, timeout=30) as response:
            found: list[Document] = json.load(response)["data"]["result"]
            return found

    def _service(self) -> Any:
        return self._api.read_namespaced_service("prometheus", self._namespace).spec


@pytest.fixture(scope="module")
def prometheus(client: ApiClient, place: Place, ingress: str) -> Iterator[Prometheus]:
    """Prometheus beside the services and a served model, after traffic and an incident, while a rollout goes on."""
    name = place.namespace
    desk = [one for one in documents(name, ["alerts"], {}, {}) if one["metadata"]["name"].startswith("alerts")]
    watching = [one for one in build(MANIFESTS / "monitoring") if one["kind"] != "NetworkPolicy"]
    for one in watching:
        one["metadata"]["namespace"] = name
    apply([volume(name, "alerts-state", place.states / "alerts-state"), *desk, *watching])
    for part in ("alerts", "prometheus"):
        wait_ready(client, name, part)
    report(client, name)
    production = place.registry.state(MODEL).production
    assert production is not None
    place.deploy(production)  # other tests have let versions serve that are not in production
    place.start(place.version(0.92), {"steps": [5, 100], "bake_seconds": 3_600}, "to be looked at")
    until(lambda: place.record().status.in_force is not None, "the candidate")
    deadline = time.monotonic() + SCRAPED_SECONDS
    with Endpoint(ingress, place.deployed.url) as endpoint:
        for event in population(41, "watched"):
            endpoint.predict([event])
            if time.monotonic() > deadline:
                break
    yield Prometheus(client, name)
    place.vigil("abort", MODEL, "--reason", "it was looked at")
    until(lambda: place.record().status.over, "the end of the rollout")


def report(client: ApiClient, namespace: str) -> None:
    """Make an incident, as someone would who has noticed something."""
    address = CoreV1Api(client).read_namespaced_service("alerts", namespace).spec.cluster_ip
    body = {"actor": "person:ada", "reason": "the tills stand still", "severity": "critical", "site": "S0001"}
    request = urllib.request.Request(f"http://{address}:8091/v1/reports", json.dumps(body).encode(), method="POST")

    def is_taken() -> bool:
        """Return whether the desk has it: the node may not yet know where a pod is that is ready."""
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return bool(response.status == 201)
        except urllib.error.URLError:
            return False

    until(is_taken, "the answer of the desk", 60)


def test_every_target_answers(prometheus: Prometheus, place: Place) -> None:
    """Those of pods that come up, go, or never get ready need not."""
    with suppress(TimeoutError):
        until(lambda: not _silent(prometheus, place), "an answer of every target", 180)
    assert _silent(prometheus, place) == set()
    answering = {(job, service) for job, _, service, health, _ in _targets(prometheus) if health == "up"}
    services = {("services", name) for name in ("controller", "detector", "rerun", "alerts")}
    assert answering == services | {("serving", ""), ("predictors", "")}


def _silent(prometheus: Prometheus, place: Place) -> set[tuple[str, str, str]]:
    """Return job, address and error of each target that does not answer, but for those whose pod is not ready."""
    pods = CoreV1Api(place.client).list_namespaced_pod(place.namespace).items
    unready = {pod.status.pod_ip for pod in pods if pod.metadata.deletion_timestamp or not _is_ready(pod)}
    return {
        (job, address, error)
        for job, address, _, health, error in _targets(prometheus)
        if health != "up" and address.partition(":")[0] not in unready
    }


def _is_ready(pod: V1Pod) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or [])


def _targets(prometheus: Prometheus) -> set[tuple[str, str, str, str, str]]:
    """Return job, address, service, health and last error of each target."""
    found = prometheus.ask("api/v1/targets")["activeTargets"]
    labels = [(one["labels"]["job"], one["labels"]["instance"], one["labels"].get("service", "")) for one in found]
    return {(*label, one["health"], one["lastError"]) for label, one in zip(labels, found, strict=True)}


def test_every_rule_is_healthy(prometheus: Prometheus) -> None:
    loaded = [rule for group in prometheus.ask("api/v1/rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in loaded} >= {rule["alert"] for rule in alerts()}
    until(lambda: _all_evaluated(prometheus), "the evaluation of all rules", 120)
    loaded = [rule for group in prometheus.ask("api/v1/rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule.get("lastError", "") for rule in loaded if rule["health"] != "ok"} == {}


def _all_evaluated(prometheus: Prometheus) -> bool:
    return all(
        rule["health"] != "unknown" for group in prometheus.ask("api/v1/rules")["groups"] for rule in group["rules"]
    )


def test_every_series_that_a_query_names_is_there(prometheus: Prometheus) -> None:
    names = {name for query in queries() for name, _ in SERIES.findall(query)} - ON_OCCASION - set(OF_PROMETHEUS)
    assert len(names) > 30
    assert sorted(name for name in names if not prometheus.query(f"last_over_time({name}[15m])")) == []


def test_every_panel_shows_something(prometheus: Prometheus) -> None:
    board = json.loads((MANIFESTS / "monitoring/dashboards/vigil.json").read_text())
    shown = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    always = [query for query in shown if not {name for name, _ in SERIES.findall(query)} & ON_OCCASION]
    assert len(always) > 30
    assert [query for query in always if not prometheus.query(re.sub(r"\$\w+", ".*", query))] == []


def test_a_critical_incident_fires_its_alert(prometheus: Prometheus) -> None:
    def is_firing() -> bool:
        return bool(prometheus.query('ALERTS{alertname="VigilIncidentCritical", alertstate="firing"}'))

    until(is_firing, "the alert of a critical incident", 180)
