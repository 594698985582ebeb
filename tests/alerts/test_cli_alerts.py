"""`vigil alerts`, on a journal in a home of its own."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from tests.alerts.office import Office, document, finding, told
from tests.alerts.receivers import Answer, Post, Web, text_of
from tests.alerts.test_signals import columns, decision
from vigil.alerts.opening import open_journal
from vigil.cli_alerts import app
from vigil.clock import ManualClock, system_clock
from vigil.decisions.policy import Action
from vigil.errors import ContractError
from vigil.settings import load_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


@pytest.fixture
def office(home: Path) -> Office:
    """Return what a desk would be that serves in this home, now."""
    now = system_clock()
    office = Office(open_journal(load_settings()).folder, told(), ManualClock(now))
    office.take(finding("S0001", time=now - timedelta(hours=1)))
    return office


def vigil(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == status, done.output
    return done.output


def test_incidents_are_listed_and_shown_with_all_that_was_done(office: Office) -> None:
    office.after(minutes=1)
    identity = office.only().id
    listed = vigil("list")
    assert all(part in listed for part in (identity, "high", "dip of sales at site S0001", "operations_manager"))
    vigil("ack", identity, "--reason", "I drive there", "--ticket", "OPS-9", "--actor", "person:ana")
    shown = vigil("show", identity[:6])
    for part in ("-6.2 standard deviations", "taken by person:ana", "I drive there", "OPS-9", "waiting", "by mail"):
        assert part in shown
    assert json.loads(vigil("list", "--json"))[0]["state"] == "acknowledged"
    assert [one["kind"] for one in json.loads(vigil("show", identity, "--json"))["acts"]][-1] == "acknowledged"


def test_snooze_and_close_and_what_is_over_is_listed_on_demand_only(office: Office) -> None:
    identity = office.only().id
    assert "is quiet until" in vigil("snooze", identity, "--for", "30", "--reason", "after lunch")
    assert "quiet until" in vigil("list")
    vigil("close", identity, "--reason", "a holiday", "--false-alarm")
    assert "No incident" in vigil("list")
    assert "closed as false" in vigil("list", "--all")
    vigil("close", identity, "--reason", "it was real after all", "--real")
    assert "caught before the manual report: 100.0% (1 of 1)" in vigil("measures")
    with pytest.raises(ContractError, match="closed"):
        vigil("ack", identity, "--reason", "too late")


def test_a_report_says_whether_it_was_known(office: Office) -> None:
    assert "Vigil had it already" in vigil("report", "nobody buys", "--site", "S0001")
    assert "it is on record" in vigil("report", "the tills are dark", "--site", "S0002", "--severity", "high")
    assert "50.0% (1 of 2)" in vigil("measures")
    assert json.loads(vigil("measures", "--json"))["measures"][0]["denominator"] == 2
    with pytest.raises(ContractError, match="site"):
        vigil("report", "something")
    with pytest.raises(ContractError, match="later"):
        vigil("report", "something", "--site", "S1", "--at", "2999-01-01")


def test_maintenance_is_added_listed_and_ended(home: Path) -> None:
    vigil("maintenance", "add", "--until", "2999-01-01T00:00Z", "--site", "S00*", "--reason", "new tills")
    (window,) = [line.split()[0] for line in vigil("maintenance", "list").splitlines() if "new tills" in line]
    assert "ended" in vigil("maintenance", "end", window, "--reason", "done early")
    assert "done early" in vigil("maintenance", "list")
    with pytest.raises(ContractError, match="until"):
        vigil("maintenance", "add", "--until", "2000-01-01", "--reason", "x")
    with pytest.raises(ContractError, match="not a time"):
        vigil("maintenance", "add", "--until", "soon", "--reason", "x")


def test_the_routes_say_who_gets_what_and_send_a_real_message(
    home: Path, post: Post, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = {**document()["owners"], "fraud_desk": {"channels": ["mail", "hook"], "escalates_to": ["duty"]}}
    channels: dict[str, Any] = {**document()["channels"], "hook": {"kind": "slack", "url": f"{web.url}/secret"}}
    config = home / "own.yaml"
    config.write_text(yaml.safe_dump(document(owners=owners, channels=channels, table="2026-11")))
    monkeypatch.setenv("VIGIL_ALERTS", str(config))
    said = vigil("routes", "test", "fraud_hold", "--site", "S1", "--severity", "critical")
    assert "fraud_desk by line 6 of table 2026-11" in said
    assert "after 15 min without acknowledgement: duty" in said
    assert (post.box.mails, web.requests) == ([], [])
    monkeypatch.setenv("VIGIL_MAIL_SERVER", post.address)
    monkeypatch.setenv("VIGIL_MAIL_TO", "fraud@shop.test")
    vigil("routes", "test", "fraud_hold", "--send")
    assert "a test: nothing happened" in text_of(post.box.mails[0])
    assert "test: fraud hold" in web.requests[0].json["text"]
    web.answers = [Answer(404, b"no_service")]
    assert "hook: refused with 404: no_service" in vigil("routes", "test", "fraud_hold", "--send", status=1)
    assert "/secret" not in vigil("routes", "show")
    assert open_journal(load_settings()).folder.is_dir()


def test_findings_of_a_file_and_a_decision_log_are_taken_once(home: Path, web: Web) -> None:
    path = home / "findings.parquet"
    pq.write_table(columns().to_table(), path)
    assert vigil("take", str(path), "--feed", "tills").startswith("2 signals; they are part of 1 incidents")
    assert vigil("take", str(path), "--feed", "tills").startswith("0 signals")
    log = home / "log.jsonl"
    line = decision(Action.HOLD)
    extra = {"decision_id": line.decision_id, "model": line.model, "model_version": "12", "revision": "rev-2"}
    log.write_text(json.dumps(line.record.model_dump(mode="json") | extra) + "\n")
    assert vigil("take", str(log)).startswith("1 signals; they are part of 1 incidents")
    web.answers = [Answer(200, b'{"signals": 2, "repeated": 0, "incidents": ["a"]}')]
    web.answers += [Answer(200, b'{"signals": 0, "repeated": 0, "incidents": []}')]
    assert vigil("take", str(path), "--to", web.url).startswith("2 signals; they are part of 1 incidents")
    assert [len(one.json["data"]["findings"]) for one in web.requests] == [2, 0]
    web.answers = [Answer(400, b'{"error": "no"}')]
    with pytest.raises(ContractError, match="answered 400"):
        vigil("take", str(path), "--to", web.url)
    with pytest.raises(ContractError, match="nothing at"):
        vigil("take", str(home / "missing"))
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(ContractError, match="no column site_id"):
        vigil("take", str(path))


def test_what_does_not_exist_is_said(home: Path) -> None:
    for arguments in (("show", "nothing"), ("ack", "nothing", "--reason", "x")):
        with pytest.raises(ContractError, match="nothing"):
            vigil(*arguments)
    with pytest.raises(ContractError, match="type"):
        vigil("routes", "test", "No Such Type")
    with pytest.raises(ContractError, match="--config"):
        vigil("routes", "show", "--config", str(home / "missing.yaml"))
