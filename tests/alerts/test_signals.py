"""What other parts send becomes signals: by the documents that they really make."""

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.alerts.events import binary, event, findings
from tests.alerts.office import NOON, Office, finding
from vigil.alerts.findings import Finding, FindingKind, findings_of, severity_of
from vigil.alerts.incidents import State
from vigil.alerts.reading import DECISION_EVENT, read_signals, signals_of_decisions
from vigil.alerts.signals import Signal
from vigil.contracts.cloud_events import read_event
from vigil.decisions.log import LoggedDecision
from vigil.decisions.policy import Action, Severity
from vigil.decisions.record import DecisionRecord, ReasonRecord
from vigil.fleet.panel import Series
from vigil.fleet.score import Findings, Kind
from vigil.monitoring.verdicts import DRIFT_ENDED_EVENT, DRIFT_EVENT, Answer, Cause, DriftVerdict, Evidence
from vigil.registry.metadata import Slug  # noqa: F401 - resolves the annotation of Asked
from vigil.rerun.records import Asked, Decision, Outcome, Rerun, Stage
from vigil.rerun.worker import finished_event
from vigil.rollout.intents import FINISHED_EVENT

LOW = Severity.LOW


def signal(kind: str, content: object) -> Signal | None:
    return next(iter(read_signals(event(kind, content), NOON).signals), None)


def columns(**changes: Any) -> Findings:
    """Return three rows of a fleet's findings: a dip, a normal one, and a missing one."""
    values: dict[str, Any] = {
        "series": (Series("S1", "sales"), Series("S2", "visitors")),
        "index": np.array([0, 0, 1], dtype=np.int32),
        "times": np.array([1, 2, 3], dtype=np.int64) * 3_600_000_000,
        "values": np.array([10.0, 80.0, np.nan]),
        "surprise": np.ones(3),
        "z": np.array([-7.0, 0.1, np.nan]),
        "expected": np.array([80.0, 80.0, 5.0]),
        "low": np.array([60.0, 60.0, 1.0]),
        "high": np.array([100.0, 100.0, 9.0]),
        "ratio": np.array([2.0, 0.1, 1.2]),
        "sign": np.array([-1, 0, 0], dtype=np.int8),
        "kind": np.array([Kind.POINT, Kind.NORMAL, Kind.SILENCE], dtype=np.int8),
        "basis": np.zeros(3, dtype=np.int8),
        "history": np.array([900, 900, 40], dtype=np.int64),
        "threshold": np.ones(3),
        "flagged": np.array([True, False, True]),
        "versions": ("7", "7", "8"),
    }
    return Findings(**{**values, **changes})


def test_flagged_rows_of_a_fleet_become_findings_with_the_numbers_of_the_row() -> None:
    dip, silent = findings_of(columns(), model="sites", feed="tills")
    assert (dip.site, dip.metric, dip.kind, dip.type) == ("S1", "sales", FindingKind.DIP, "site_dip")
    assert (dip.value, dip.expected, dip.low, dip.high, dip.distance) == (10.0, 80.0, 60.0, 100.0, -7.0)
    assert (dip.model, dip.version, dip.feed, dip.time.hour) == ("sites", "7", "tills", 1)
    assert dip.signal().severity is Severity.MEDIUM
    assert (silent.kind, silent.type, silent.value, silent.distance) == (
        FindingKind.SILENCE,
        "site_silence",
        None,
        None,
    )
    assert "silent" in silent.signal().summary


@pytest.mark.parametrize("kind", [one for one in Kind if one not in (Kind.NORMAL, Kind.LATE, Kind.DUPLICATE)])
def test_every_kind_of_a_fleet_that_can_be_flagged_is_known(kind: Kind) -> None:
    found = list(findings_of(columns(kind=np.full(3, kind, dtype=np.int8), sign=np.ones(3, dtype=np.int8))))
    assert len(found) == 2
    assert found[0].type != "site_dip"


@pytest.mark.parametrize(
    ("ratio", "severity"), [(1.0, "low"), (1.49, "low"), (1.5, "medium"), (2.5, "high"), (5.0, "critical")]
)
def test_severity_follows_how_many_times_the_threshold_is_reached(ratio: float, severity: str) -> None:
    assert severity_of(ratio) == severity


def verdict(cause: Cause = Cause.UNDECIDED, **changes: Any) -> DriftVerdict:
    values: dict[str, Any] = {
        "model": "card_fraud",
        "revision": "rev-2",
        "version": "12",
        "bundle": "sha256:0",
        "cause": cause,
        "answer": {Cause.DATA_BROKEN: Answer.HOLD}.get(cause, Answer.ASK),
        "summary": "scores moved since Monday",
        "evidence": (Evidence(kind="score", subject="score", statement="mean 0.2 to 0.4", strength=5.0),),
        "first_seen": NOON - timedelta(hours=3),
        "at": NOON,
        "rows": 5_000,
    }
    return DriftVerdict.model_validate({**values, **changes})


def test_drift_is_the_engineers_and_broken_data_the_it_contacts_until_its_end(office: Office) -> None:
    drift, broken = verdict(), verdict(Cause.DATA_BROKEN, sites=("S7",))
    for one in (drift, broken, drift):
        office.desk.take(event(DRIFT_EVENT, one.model_dump(mode="json"), one.id))
    office.after(minutes=1)
    assert sorted(office.told()) == [("alert", "it_contact"), ("alert", "ml_engineer")]
    by_type = {one.type: one for one in office.incidents()}
    assert by_type["feed_broken"].sites == ["S7"]
    assert (by_type["drift"].versions, by_type["drift"].reasons) == (("12",), ("mean 0.2 to 0.4",))
    office.desk.take(event(DRIFT_ENDED_EVENT, drift.model_dump(mode="json")))
    assert {one.type: one.state for one in office.incidents()} == {"drift": State.CLOSED, "feed_broken": State.OPEN}


def test_drift_at_some_sites_says_which() -> None:
    found = signal(DRIFT_EVENT, verdict(sites=("S1", "S2")).model_dump(mode="json"))
    assert found is not None
    assert (found.site, found.reasons[-1]) == ("", "it shows at 2 sites: S1, S2")


def decision(action: Action, identity: str = "tx-1") -> LoggedDecision:
    severity = {Action.ALLOW: Severity.NONE, Action.ALERT: Severity.MEDIUM, Action.HOLD: Severity.CRITICAL}[action]
    record = DecisionRecord(
        event_id=identity,
        decided_at=NOON,
        bundle="sha256:" + "0" * 64,  # type: ignore[arg-type]
        feature_schema="sha256:" + "0" * 64,  # type: ignore[arg-type]
        vector="",
        score=0.91,
        levels={},
        business=None,
        mode="full",
        threshold=0.5,
        action=action,
        severity=severity,
        reasons=(ReasonRecord(source="m", feature="f", value=1.0, share=0.5, sentence="nine times the usual amount"),),
    )
    return LoggedDecision(record, record.decision_id, "card_fraud", "12", "rev-2")


def test_decisions_that_alert_or_hold_are_signals_and_the_others_are_none(office: Office) -> None:
    log = [decision(action, f"tx-{number}") for number, action in enumerate(Action)]
    alert, hold = signals_of_decisions(log, {"tx-2": "S4"})
    assert (alert.type, hold.type, hold.site) == ("fraud_alert", "fraud_hold", "S4")
    assert (hold.version, hold.reasons) == ("12", ("nine times the usual amount",))
    office.desk.take_signals([alert, hold])
    office.after(minutes=1)
    assert office.told() == [("alert", "fraud_desk")] * 2


def test_held_transactions_of_a_site_are_one_incident_for_a_few_hours(office: Office) -> None:
    for number in range(30):
        line = decision(Action.HOLD, f"tx-{number}").record.model_dump(mode="json")
        when = NOON + timedelta(minutes=20 * number)
        content = {**line, "decided_at": when.isoformat(), "site_id": "S4", "model": "card_fraud"}
        office.desk.take(event(DECISION_EVENT, content))
    assert sorted(one.signals for one in office.incidents()) == [4, 13, 13]


def rollout(outcome: str) -> dict[str, Any]:
    return {
        "rollout": "r-1",
        "model": "card_fraud",
        "candidate": "13",
        "production": "12",
        "outcome": outcome,
        "cause": "precision fell from 0.4 to 0.2",
        "evidence": None,
        "started": NOON.isoformat(),
        "ended": NOON.isoformat(),
    }


@pytest.mark.parametrize(
    ("outcome", "severity"), [("succeeded", None), ("rolled_back", "high"), ("failed", "high"), ("aborted", "medium")]
)
def test_a_rollout_that_did_not_succeed_is_a_signal(outcome: str, severity: str | None) -> None:
    found = signal(FINISHED_EVENT, rollout(outcome))
    assert (found and found.severity) == severity


@pytest.mark.parametrize(("stage", "is_signal"), [(Stage.SUCCEEDED, False), (Stage.FAILED, True)])
def test_a_retraining_that_did_not_succeed_is_a_signal(stage: Stage, is_signal: bool) -> None:
    rerun = Rerun(
        asked=Asked(event_id="e1", model="card_fraud", summary="the population moved"),
        decision=Decision.START,
        why="drift",
        received=NOON,
        run="retrain-1",
        stage=stage,
        ended=NOON,
        outcome=Outcome(reason="gate recall: 0.41 is below 0.50"),
    )
    body = finished_event(rerun, NOON).encode()
    found = read_signals(read_event({"Content-Type": "application/cloudevents+json"}, body), NOON).signals
    assert bool(found) == is_signal
    assert not found or "gate recall" in found[0].summary


def test_anybody_may_raise_an_alert_of_a_type_of_his_own_and_the_catch_all_takes_it(office: Office) -> None:
    own = {"type": "freezer_door", "at": NOON.isoformat(), "severity": "high", "summary": "open for an hour"}
    office.desk.take(event("vigil.alert.raised", own))
    office.after(minutes=1)
    assert office.told() == [("alert", "duty")]


@pytest.mark.parametrize(
    "changes",
    [{"time": "2026-11-25T12:00:00"}, {"value": float("nan")}, {"kind": "odd"}, {"site": ""}, {"ratio": -1}, {"x": 1}],
)
def test_a_finding_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    content = finding().model_dump(mode="json")
    Finding.model_validate(content)
    with pytest.raises(ValidationError, match=next(iter(changes))):
        Finding.model_validate({**content, **changes})


def test_a_batch_is_read_from_either_mode_as_what_was_sent(tmp_path: Path) -> None:
    sent = findings(finding("S1"), finding("S2", value=None))
    request = SimpleNamespace(**binary(sent))
    read = read_signals(read_event(request.headers, request.content), NOON)
    assert [one.site for one in read.signals] == ["S1", "S2"]
    assert read.signals[0] == finding("S1").signal()
