"""Readings become incidents: grouped, damped, suppressed in maintenance, grown and ended."""

import sqlite3
from datetime import timedelta

import pytest

from tests.alerts.conftest import Hire
from tests.alerts.office import ANA, NOON, Office, finding, silence
from vigil.alerts.acts import By, Noticed
from vigil.alerts.findings import FindingKind
from vigil.alerts.incidents import Judged, State
from vigil.alerts.records import ActKind, Window
from vigil.decisions.policy import Severity
from vigil.errors import ContractError, Unavailable

LOW = {"ratio": 1.1, "distance": -3.6}


def test_an_incident_says_what_where_since_when_how_far_by_which_version_and_why(office: Office) -> None:
    office.take(finding(hours=-2, distance=-4.0), finding(hours=0))
    found = office.only()
    assert (found.type, found.sites, found.metrics, found.severity) == ("site_dip", ["S0001"], ["sales"], "high")
    assert (found.first_seen, found.duration) == (NOON - timedelta(hours=3), timedelta(hours=2))
    assert (found.farthest.distance, found.farthest.expected) == (-6.2, 80.0)
    assert (found.models, found.versions) == (("sites",), ("7",))
    assert found.reasons == ("lowest Wednesday at 11 in 20 weeks",)
    assert found.opened == NOON


@pytest.mark.parametrize("order", [1, -1])
def test_an_outage_at_200_sites_in_three_metrics_is_one_incident_and_one_alert(office: Office, order: int) -> None:
    metrics = ("sales", "visitors", "energy")
    outage = [silence(f"S{site:04}", metric) for site in range(200) for metric in metrics]
    office.take_all(outage[::order])
    office.after(minutes=1)
    found = office.only()
    assert (len(found.sites), found.metrics, found.severity) == (200, sorted(metrics), "critical")
    assert office.told() == [("alert", "it_contact")]
    assert "at 200 sites" in office.letters()[0].message.subject
    assert found.first_seen == silence().time
    assert [one.kind for one in office.acts_of(found)] == ["opened", "alerted"]
    with office.journal.reading() as pages:
        assert [one.id for one in pages.incidents()] == [found.id]


def test_an_outage_that_arrives_reading_by_reading_is_one_incident_and_one_alert(office: Office) -> None:
    for site in range(40):
        office.take(silence(f"S{site:04}"))
    office.after(minutes=1)
    assert len(office.only().sites) == 40
    assert office.told() == [("alert", "it_contact")]


def test_dips_at_few_sites_or_far_apart_in_time_are_troubles_of_their_own(office: Office) -> None:
    office.take_all(finding(f"S{site:04}") for site in range(4))
    assert len(office.incidents()) == 4
    office.take_all(finding(f"S{site:04}", hours=-10 - 3 * site) for site in range(10, 18))
    assert len(office.incidents()) == 12


def test_other_metrics_are_other_incidents_unless_they_share_a_feed(office: Office) -> None:
    office.take_all(finding(f"S{site:04}", metric=f"metric_{site}") for site in range(6))
    assert len(office.incidents()) == 6
    office.take_all(finding(f"S{site:04}", metric=f"other_{site}", feed="till-7", hours=-20) for site in range(10, 16))
    assert len(office.incidents()) == 7


def test_troubles_that_share_a_metric_here_and_a_feed_there_are_one_on_record(office: Office) -> None:
    by_metric = [finding(f"A{site}", feed="till" if site == 0 else f"own_{site}") for site in range(5)]
    by_feed = [finding(f"B{site}", metric=f"metric_{site}", feed="till") for site in range(5)]
    office.take(*by_metric, *by_feed)
    with office.journal.reading() as pages:
        known = {one.id for one in pages.incidents()}
        rows = pages.connection.execute("SELECT outcome FROM signals").fetchall()
    assert {outcome for (outcome,) in rows} <= known
    assert (office.only().signals, len(office.only().sites)) == (10, 10)


def test_a_silent_site_is_one_incident_however_many_metrics_it_has(office: Office) -> None:
    office.take(silence(metric="sales"), silence(metric="visitors"), silence(metric="energy", hours=0.5))
    assert office.only().metrics == ["energy", "sales", "visitors"]


def test_a_low_finding_needs_a_second_one_in_time(office: Office) -> None:
    assert office.take(finding(**LOW)).pending == 1
    office.take(finding(hours=-5, **LOW))
    assert office.incidents() == []
    office.take(finding(hours=2, **LOW))
    assert (office.only().signals, office.only().severity) == (2, "low")


def test_the_same_finding_counts_once_and_does_not_open_anything_by_repetition(office: Office) -> None:
    for _ in range(5):
        taken = office.take(finding(**LOW))
    assert (taken.signals, taken.repeated) == (0, 1)
    assert office.incidents() == []


def test_what_flaps_is_one_incident_with_one_alert(office: Office) -> None:
    for round_ in range(4):
        office.take(finding(hours=8 * round_))
        office.after(minutes=1)
        office.after(hours=7, minutes=59)
    found = office.only()
    assert (found.reopened, found.signals) == (3, 4)
    assert [why for why, _ in office.told() if why in ("alert", "reopened")] == ["alert"]


def test_after_the_time_to_reopen_the_next_one_is_another_incident(office: Office) -> None:
    office.take(finding())
    office.after(minutes=1)
    office.after(hours=30)
    office.take(finding(hours=30))
    assert [one.state for one in office.incidents()] == [State.OPEN, State.CLOSED]


def test_an_incident_ends_by_event_time_once_all_readings_are_known_to_be_scored(office: Office) -> None:
    office.take(finding(), scored_until=NOON)
    office.after(minutes=1)
    assert office.only().state is State.OPEN
    office.take(scored_until=NOON + timedelta(hours=5))
    office.after(minutes=1)
    assert office.only().state is State.CLOSED
    assert office.told()[-1] == ("ended", "operations_manager")


def test_what_was_over_before_it_was_told_is_told_nevertheless(office: Office) -> None:
    office.take(finding(), scored_until=NOON + timedelta(days=2))
    office.after(minutes=1)
    office.after(minutes=1)
    assert [why for why, _ in office.told()] == ["alert", "ended"]


def test_a_maintenance_window_records_and_suppresses_what_it_covers_and_nothing_else(office: Office) -> None:
    window = Window(
        id="w1", site="S00*", since=NOON - timedelta(hours=2), until=NOON, actor="person:ana", reason="new tills"
    )
    office.acts.add_window(window)
    taken = office.take(finding("S0001"), finding("S0002"))
    assert (taken.suppressed, taken.incidents) == (2, ())
    with office.journal.reading() as pages:
        assert pages.suppressed("w1") == 2
    office.take(finding("S1001"), finding("S0001", hours=2))
    assert sorted(one.sites[0] for one in office.incidents()) == ["S0001", "S1001"]


def test_maintenance_that_is_ended_suppresses_no_more(office: Office) -> None:
    window = Window(id="w1", since=NOON - timedelta(hours=2), until=NOON + timedelta(days=1), actor="a", reason="b")
    office.acts.add_window(window)
    office.acts.end_window("w1", ANA)
    office.take(finding(hours=2))
    assert office.only().state is State.OPEN
    with pytest.raises(ContractError, match="w1"):
        office.acts.end_window("w1", ANA)


def test_severity_grows_with_sites_and_with_time_and_is_told_once_each(office: Office) -> None:
    office.take(silence("S0001", severity=Severity.LOW))
    office.after(minutes=1)
    office.acts.acknowledge(office.only().id, ANA)
    for hour in range(1, 8):
        office.take(silence("S0001", hours=hour, severity=Severity.LOW))
        office.after(hours=1)
    assert office.only().severity is Severity.HIGH
    assert [why for why, _ in office.told()] == ["alert", "grew"]
    office.take_all(silence(f"S{site:04}", hours=1) for site in range(2, 60))
    office.after(minutes=1)
    assert office.only().severity is Severity.CRITICAL
    assert office.told().count(("grew", "it_contact")) == 2


def test_a_false_alarm_stays_closed_and_a_real_one_that_comes_back_is_told_again(office: Office) -> None:
    office.take(finding("S0001"), finding("S0002"))
    office.after(minutes=1)
    first, second = sorted(office.incidents(), key=lambda one: one.sites)
    office.acts.close(first.id, By("person:ana", "a holiday"), Judged.FALSE)
    office.acts.close(second.id, By("person:ana", "till replaced"), Judged.REAL)
    office.take(finding("S0001", hours=2), finding("S0002", hours=2))
    office.after(minutes=1)
    first, second = sorted(office.incidents(), key=lambda one: one.sites)
    assert (first.state, first.signals) == (State.CLOSED, 2)
    assert (second.state, second.reopened) == (State.OPEN, 1)
    assert office.told()[-1] == ("reopened", "operations_manager")


def test_the_word_that_it_is_false_holds_for_a_time_and_for_nothing_more_severe(office: Office) -> None:
    office.take(finding("S0001"), finding("S0002"))
    for one in office.incidents():
        office.acts.close(one.id, By("person:ana", "a holiday"), Judged.FALSE)
    for hour in range(1, 24):
        office.take(finding("S0001", hours=hour))
        office.after(hours=1)
    assert [one.state for one in office.incidents()] == [State.CLOSED] * 2
    office.take(finding("S0002", hours=20, severity=Severity.CRITICAL))
    assert [one.sites for one in office.incidents() if one.state is State.OPEN] == [["S0002"]]
    office.after(hours=2)
    office.take(finding("S0001", hours=25))
    assert ["S0001"] in [one.sites for one in office.incidents() if one.state is State.OPEN]


def test_a_harmless_signal_is_kept_and_opens_nothing(office: Office) -> None:
    office.take(*(finding(hours=hour, severity=Severity.NONE) for hour in range(3)))
    assert office.take(finding(hours=0.5, **LOW)).pending == 1
    with office.journal.reading() as pages:
        assert pages.outcomes() == {"harmless": 3, "pending": 1}


def test_a_report_belongs_to_the_incident_that_is_open_for_it_or_is_one(office: Office) -> None:
    office.take(finding("S0001"))
    known = office.acts.report(Noticed("S0001", "", NOON), By("person:bo", "nobody buys"))
    unknown = office.acts.report(Noticed("S0009", "", NOON), By("person:bo", "tills are dark"))
    assert (known.was_known, unknown.was_known) == (True, False)
    office.after(seconds=1)
    assert office.told() == [("alert", "operations_manager")]
    again = office.acts.report(Noticed("S0009", "", NOON), By("person:cy", "still dark"))
    assert (again.incident, again.was_known) == (unknown.incident, False)


def test_acts_name_who_and_why_and_cannot_be_changed(office: Office) -> None:
    office.take(finding())
    found = office.only()
    with pytest.raises(ContractError, match="reason"):
        office.acts.acknowledge(found.id, By("person:ana", " "))
    office.acts.acknowledge(found.id[:5], ANA, ticket="OPS-7")
    assert [(one.kind, one.actor) for one in office.acts_of(found)] == [
        (ActKind.OPENED, "policy:desk"),
        (ActKind.ACKNOWLEDGED, "person:ana"),
    ]
    assert office.only().ticket == "OPS-7"
    with pytest.raises(Unavailable, match="never changed"), office.journal.writing() as pages:
        pages.connection.execute("UPDATE acts SET document = ''")
    with pytest.raises(Unavailable, match="never deleted"), office.journal.writing() as pages:
        pages.connection.execute("DELETE FROM acts")


def test_what_fails_in_the_middle_leaves_nothing_behind(office: Office) -> None:
    with pytest.raises(Unavailable), office.journal.writing() as pages:
        pages.put_signal(finding().signal(), "pending", NOON)
        raise sqlite3.OperationalError("the disk is full")
    assert office.take(finding()).signals == 1


def test_signals_of_long_ago_are_forgotten_and_incidents_are_not(hire: Hire) -> None:
    office = hire(keep_days=1)
    office.take(finding())
    office.after(minutes=1)
    office.after(days=3)
    with office.journal.reading() as pages:
        assert pages.outcomes() == {}
    assert office.only().signals == 1


def test_kinds_of_one_place_are_one_incident(office: Office) -> None:
    kinds = (FindingKind.DIP, FindingKind.COLLECTIVE, FindingKind.LEVEL_SHIFT)
    office.take_all(finding(hours=hour, kind=kind) for hour, kind in enumerate(kinds))
    assert office.only().kinds == ("dip", "collective", "level_shift")
