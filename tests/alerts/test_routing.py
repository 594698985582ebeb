"""The routing table: one owner for everything, and a table that is wrong is refused with its field."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.alerts.office import document, told
from vigil.alerts.routing import Addressed, choose
from vigil.alerts.settings import AlertSettings, load_alert_settings
from vigil.alerts.signals import AlertType
from vigil.alerts.trial import told_of
from vigil.decisions.policy import Severity
from vigil.errors import ContractError

OWNERS = {
    "site_dip": "operations_manager",
    "site_silence": "it_contact",
    "feed_broken": "it_contact",
    "fraud_hold": "fraud_desk",
    "drift": "ml_engineer",
    "something_else": "duty",
}


@pytest.mark.parametrize(("kind", "owner"), OWNERS.items())
def test_the_shipped_table_names_the_one_who_can_act(kind: str, owner: str) -> None:
    trial = told_of(load_alert_settings(), kind, "S0001", "sales", Severity.HIGH)
    assert trial.owner == owner
    assert f"{owner} by line" in trial.lines[0]


def test_every_alert_type_has_an_owner_in_the_shipped_table() -> None:
    routes = load_alert_settings().routes
    for kind in AlertType:
        assert routes[choose(routes, Addressed(kind, ["S1"], ["x"], Severity.LOW)).line].type == kind


LINES = [
    {"type": "site_dip", "metric": "energy*", "owner": "it_contact"},
    {"type": "site_dip", "site": "N*", "severity": "critical", "owner": "duty"},
]


@pytest.mark.parametrize(
    ("sites", "metrics", "severity", "owner"),
    [
        (["N1"], ["energy_kwh"], "low", "it_contact"),
        (["N1"], ["energy_kwh", "sales"], "low", "operations_manager"),
        (["N1", "N2"], ["sales"], "critical", "duty"),
        (["N1", "S2"], ["sales"], "critical", "operations_manager"),
        (["N1"], ["sales"], "high", "operations_manager"),
        ([], ["sales"], "critical", "operations_manager"),
    ],
)
def test_the_first_line_that_matches_all_of_an_incident_decides(
    sites: list[str], metrics: list[str], severity: str, owner: str
) -> None:
    routes = told(routes=[*LINES, *document()["routes"]]).routes
    assert choose(routes, Addressed("site_dip", sites, metrics, Severity(severity))).owner == owner


def without(kind: str) -> list[dict[str, Any]]:
    return [one for one in document()["routes"] if one["type"] != kind]


ROUTES = document()["routes"]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no owner for a type": ({"routes": without("site_dip")}, "routes: no owner for site_dip"),
    "no catch-all": ({"routes": without("*")}, "routes: the last line has to be the catch-all"),
    "catch-all with a pattern": ({"routes": [*without("*"), {**ROUTES[-1], "site": "S*"}]}, "routes: the last line"),
    "two owners": ({"routes": [*ROUTES[:3], {**ROUTES[0], "owner": "duty"}, *ROUTES[3:]]}, "routes.3.type: site_dip"),
    "never reached": ({"routes": [ROUTES[0], {**ROUTES[0], "site": "S1"}, *ROUTES[1:]]}, "routes.1: never reached"),
    "unknown owner": ({"routes": [{**ROUTES[0], "owner": "nobody"}, *ROUTES[1:]]}, "routes.0.owner: .*'nobody'"),
    "unknown channel": (
        {"owners": {**document()["owners"], "duty": {"channels": ["pigeon"]}}},
        "owners.duty.channels.0: .*'pigeon'",
    ),
    "unknown next": (
        {"owners": {**document()["owners"], "duty": {"channels": ["log"], "escalates_to": ["x"]}}},
        "owners.duty.escalates_to.0: .*'x'",
    ),
    "to oneself": (
        {"owners": {**document()["owners"], "duty": {"channels": ["log"], "escalates_to": ["duty"]}}},
        "owners.duty.escalates_to.0",
    ),
    "unknown kind of channel": ({"channels": {"log": {"kind": "fax"}}}, "channels.log"),
    "two URLs": ({"channels": {"x": {"kind": "slack", "url": "http://a", "url_file": "b"}}}, "channels.x.slack: give"),
    "no URL": ({"channels": {"x": {"kind": "webhook"}}}, "channels.x.webhook: give either"),
    "not http": ({"channels": {"x": {"kind": "webhook", "url": "ftp://a"}}}, "channels.x.webhook.url"),
    "unknown key": ({"rotues": []}, "rotues"),
    "unknown severity": ({"acknowledge_minutes": {"urgent": 5}}, "acknowledge_minutes.urgent"),
    "no time": ({"types": {"site_dip": {"quiet_hours": 0}}}, "types.site_dip.quiet_hours"),
    "another format": ({"version": 2}, "version"),
    "no version of the table": ({"table": ""}, "table"),
}


@pytest.mark.parametrize(("changes", "match"), WRONG.values(), ids=WRONG.keys())
def test_a_file_that_is_wrong_is_refused_by_its_field(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(document()))
    load_alert_settings(path)
    path.write_text(yaml.safe_dump(document(**changes)))
    with pytest.raises(ContractError, match=match):
        load_alert_settings(path)


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(yaml.safe_dump(document()) + "\nowners: {}\n")
    with pytest.raises(ContractError, match="owners is given twice"):
        load_alert_settings(path)


def test_a_type_has_what_the_file_says_of_it_then_what_is_built_in_then_the_defaults() -> None:
    settings = told(defaults={"quiet_hours": 9, "open_after": 4}, types={"site_dip": {"open_after": 3}})
    dip, drift, own = (settings.rules(kind) for kind in ("site_dip", "drift", "anything"))
    assert (dip.open_after, dip.quiet_hours, dip.sites_high) == (3, 9, 5)
    assert (drift.open_after, drift.quiet_hours) == (1, 168)
    assert (own.open_after, own.quiet_hours) == (4, 9)


@pytest.mark.parametrize("kind", ["drift", "feed_broken", "rollout", "rerun", "report", "fraud_hold", "fraud_alert"])
def test_what_is_told_once_opens_an_incident_by_a_file_that_says_nothing_of_types(kind: str) -> None:
    content = {name: value for name, value in document().items() if name not in ("types", "defaults")}
    assert AlertSettings.model_validate(content).rules(kind).open_after == 1


def test_a_url_is_never_shown_beyond_its_host() -> None:
    channels = {**document()["channels"], "s": {"kind": "slack", "url": "https://u:p@hooks.test/services/secret"}}
    assert told(channels=channels).channels["s"].where() == "slack at https://hooks.test/..."
