"""The desk as it is run: a process on a port, with real receivers, killed in the middle of its work."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.alerts.events import binary, event, findings, one_finding, structured
from tests.alerts.office import document, finding, silence
from tests.alerts.receivers import Answer, Post, Web, until
from tests.alerts.service_process import Served

pytestmark = pytest.mark.xdist_group("alert-desk")


def settings(web: Web) -> dict[str, Any]:
    owners, routes = document()["owners"], document()["routes"]
    hook = {"channels": ["hook"], "escalates_to": ["duty"]}
    return document(
        channels={**document()["channels"], "hook": {"kind": "webhook", "url": web.url}},
        owners={**owners, "operations_manager": hook},
        types={"site_stuck": {"wait_seconds": 10}},
        routes=[{**one, "owner": "operations_manager"} if one["type"] == "site_stuck" else one for one in routes],
        defaults={**document()["defaults"], "wait_seconds": 0.3, "quiet_hours": 100},
        sending={"first_pause_seconds": 0.1, "timeout_seconds": 40},
    )


@dataclass
class World:
    post: Post
    web: Web
    served: Served


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One desk for all tests; each has sites of its own."""
    post, web = Post(), Web()
    mail = {"VIGIL_MAIL_SERVER": post.address, "VIGIL_MAIL_TO": "duty@shop.test"}
    served = Served(tmp_path_factory.mktemp("desk"), settings(web), mail).start()
    yield World(post, web, served)
    assert served.stop() == 0
    post.close()
    web.close()


def about(web: Web, site: str) -> list[Any]:
    return [one for one in web.requests if one.json["data"]["incident"]["sites"] == [site]]


def test_events_in_either_mode_become_an_incident_that_its_owner_is_told(world: World) -> None:
    first = one_finding(finding("A1"))
    answer = world.served.post(**binary(first))
    assert (answer.status_code, answer.json()["signals"]) == (202, 1)
    again = world.served.post(**structured(first))
    assert (again.status_code, again.json()["is_new"]) == (200, False)
    assert world.served.post(**structured(findings(finding("A1", hours=0.5)))).status_code == 202
    until(lambda: about(world.web, "A1"), "the alert")
    (incident,) = world.served.get("v1/incidents?site=A1").json()
    assert (incident["signals"], incident["owner"]) == (2, "operations_manager")
    text = world.served.get("metrics").text
    assert 'vigil_alerts_incidents{severity="high",state="open",type="site_dip"}' in text
    assert 'vigil_alerts_acts_total{kind="opened"}' in text


def test_the_same_event_at_once_from_many_is_taken_once(world: World) -> None:
    one = one_finding(finding("B1"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: world.served.post(**binary(one)).status_code, range(8)))
    assert sorted(answers) == [200] * 7 + [202]


def test_an_outage_reaches_the_it_contact_as_one_mail(world: World) -> None:
    world.served.post(**structured(findings(*(silence(f"C{site:03}") for site in range(200)))))
    until(lambda: world.post.box.mails, "the mail")
    (mail,) = world.post.box.mails
    assert mail["Subject"] == "[vigil] critical silence of sales at 200 sites"


def test_people_act_over_http_with_their_name_and_reason(world: World) -> None:
    served = world.served
    served.post(**binary(one_finding(finding("D1"))))
    identity = served.get("v1/incidents?site=D1").json()[0]["id"]
    path = f"v1/incidents/{identity}"
    assert served.post(f"{path}/ack", json={"actor": "person:ana"}).json() == {"error": "reason: Field required"}
    taken = served.post(f"{path}/ack", json={"actor": "person:ana", "reason": "mine", "ticket": "T1"})
    assert (taken.json()["state"], taken.json()["ticket"]) == ("acknowledged", "T1")
    quiet = served.post(f"{path}/snooze", json={"actor": "person:ana", "reason": "later", "minutes": 5})
    assert quiet.json()["snoozed"] is not None
    closed = served.post(f"{path}/close", json={"actor": "person:ana", "reason": "repaired", "judged": "real"})
    assert (closed.json()["state"], closed.json()["judged"]) == ("closed", "real")
    shown = served.get(path).json()
    assert [one["kind"] for one in shown["acts"] if one["actor"] == "person:ana"] == [
        "acknowledged",
        "snoozed",
        "closed",
    ]
    report = served.post("v1/reports", json={"actor": "person:bo", "reason": "no sales", "site": "D1"})
    assert (report.status_code, report.json()["was_known"]) == (201, True)
    measures = served.get("v1/measures").json()["measures"]
    assert measures[0]["name"] == "caught before the manual report"
    assert served.post("v1/incidents/nothing/ack", json={}).status_code == 404


@pytest.mark.parametrize(
    ("request_", "status", "error"),
    [
        ({"content": b"{}"}, 400, "ce-specversion"),
        (binary(event("vigil.site.finding", {"site": "S1"})), 400, "metric"),
        (binary(event("vigil.site.findings", {"findings": [{"site": 1}]})), 400, "findings.0"),
        (binary(event("vigil.drift.detected", {})), 400, "model"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field(world: World, request_: dict[str, Any], status: int, error: str) -> None:
    answer = world.served.post(**request_)
    assert (answer.status_code, error in answer.json()["error"]) == (status, True)


def test_what_asks_for_no_attention_is_taken_and_forgotten(world: World) -> None:
    answer = world.served.post(**binary(event("com.example.whatever", {"a": 1})))
    assert (answer.status_code, answer.json()["signals"]) == (200, 0)
    assert world.served.get("readyz").json()["works"] is True
    assert world.served.get("healthz").status_code == 200
    assert world.served.get("v1/incidents?limit=many").status_code == 400
    assert world.served.get("v1/incidents?state=gone").status_code == 400
    assert world.served.get("v1/incidents/nothing").status_code == 404
    assert world.served.get("v1/measures?since=yesterday").status_code == 400


def test_a_desk_killed_before_an_alert_and_while_it_sends_another_tells_both_when_it_is_back(world: World) -> None:
    web, served = world.web, world.served
    web.answers = [Answer(pause=20)] * 4  # news of an earlier incident may come first
    served.post(**binary(one_finding(finding("E1"))))
    until(lambda: about(web, "E1"), "the alert")
    assert served.post(**binary(one_finding(finding("F1", kind="stuck")))).status_code == 202
    served.kill()
    web.answers.clear()
    assert about(web, "F1") == []
    served.start()
    until(lambda: len(about(web, "E1")) == 2, "the alert again")
    first, second = about(web, "E1")
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert first.json["id"] == second.json["id"]
    until(lambda: about(web, "F1"), "the alert that was not due")
    assert served.post(**binary(one_finding(finding("E1")))).json()["repeated"] == 1
    assert (len(about(web, "E1")), len(about(web, "F1"))) == (2, 1)
