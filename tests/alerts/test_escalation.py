"""Who is told when: one owner, the next if nobody comes, nobody while it is quiet, and a digest of what is too much."""

from datetime import timedelta

from tests.alerts.conftest import Hire
from tests.alerts.office import ANA, NOON, Office, document, finding
from vigil.alerts.outbox import Delivery
from vigil.alerts.records import ActKind
from vigil.decisions.policy import Severity

CHAIN = {
    "operations_manager": {"channels": ["mail"], "escalates_to": ["it_contact", "duty"]},
}


def chained(hire: Hire) -> Office:
    return hire(owners={**document()["owners"], **CHAIN}, acknowledge_minutes={"high": 30, "critical": 10})


def test_the_owner_is_told_after_the_wait_and_only_once(office: Office) -> None:
    office.take(finding())
    office.rounds.step()
    assert office.told() == []
    office.after(seconds=30)
    office.after(minutes=5)
    assert office.told() == [("alert", "operations_manager")]
    assert (office.only().owner, office.only().route) == ("operations_manager", "1:0")


def test_what_nobody_acknowledges_goes_through_the_chain_and_stops_at_its_end(hire: Hire) -> None:
    office = chained(hire)
    office.take(finding())
    office.after(minutes=1)
    office.after(minutes=29)
    assert len(office.told()) == 1
    office.after(minutes=1)
    assert office.told()[1:] == [("escalated", "it_contact")]
    office.after(minutes=30)
    office.after(minutes=90)
    assert office.told()[2:] == [("escalated", "duty")]
    assert office.only().step == 2


def test_an_acknowledgement_stops_the_chain_and_withdraws_what_is_not_sent_yet(hire: Hire) -> None:
    office = chained(hire)
    office.take(finding())
    office.after(minutes=1)
    office.after(minutes=30)
    office.acts.acknowledge(office.only().id, ANA)
    office.after(hours=2)
    assert [(one.message.why, one.state) for one in office.letters()] == [
        ("alert", Delivery.WAITING),
        ("escalated", Delivery.NEEDLESS),
    ]
    assert office.only().taken_by == "person:ana"


def test_a_severity_without_a_time_never_escalates(hire: Hire) -> None:
    office = chained(hire)
    office.take(finding(severity=Severity.MEDIUM), finding(hours=1, severity=Severity.MEDIUM))
    office.after(minutes=1)
    office.after(hours=5)
    assert office.told() == [("alert", "operations_manager")]


def test_when_it_gets_worse_the_timer_of_the_new_severity_counts(hire: Hire) -> None:
    office = chained(hire)
    office.take(finding())
    office.after(minutes=1)
    office.take(finding(hours=1, severity=Severity.CRITICAL))
    office.after(minutes=1)
    office.after(minutes=10)
    assert [why for why, _ in office.told()] == ["alert", "grew", "escalated"]


def test_a_snoozed_incident_is_quiet_and_told_again_after_it(hire: Hire) -> None:
    office = chained(hire)
    office.take(finding())
    office.after(minutes=1)
    office.acts.snooze(office.only().id, ANA, office.clock() + timedelta(hours=2))
    office.take(finding(hours=1, severity=Severity.CRITICAL))
    office.after(hours=1, minutes=59)
    assert len(office.told()) == 1
    office.after(minutes=2)
    assert office.told()[1:] == [("alert", "operations_manager")]
    office.after(minutes=10)
    assert office.told()[2:] == [("escalated", "it_contact")]


def test_timers_and_alerts_survive_the_end_of_the_process(hire: Hire) -> None:
    chained(hire).take(finding())
    office = chained(hire)
    office.after(minutes=1)
    again = chained(hire)
    again.clock.advance(timedelta(minutes=31))
    again.rounds.step()
    again.rounds.step()
    assert again.told() == [("alert", "operations_manager"), ("escalated", "it_contact")]


def test_more_than_an_owner_is_to_get_in_an_hour_comes_as_one_digest(hire: Hire) -> None:
    owners = {**document()["owners"], "operations_manager": {"channels": ["mail"], "most_per_hour": 3}}
    office = hire(owners=owners, digest_minutes=15)
    office.take_all(finding(f"S{number:04}", metric=f"metric_{number}") for number in range(10))
    office.after(minutes=1)
    states = [one.state for one in office.letters()]
    assert (states.count(Delivery.WAITING), states.count(Delivery.HELD)) == (3, 7)
    office.after(minutes=15)
    office.after(minutes=15)
    digests = [one for one in office.letters() if one.message.why == "digest"]
    assert len(digests) == 1
    assert all(one.subject.partition("] ")[2] in digests[0].message.text for one in held(office))


def held(office: Office) -> list:  # type: ignore[type-arg]
    found = [one.message for one in office.letters() if one.state is Delivery.DIGESTED]
    assert len(found) == 7
    return found


def test_a_critical_incident_is_never_held_back(hire: Hire) -> None:
    owners = {**document()["owners"], "operations_manager": {"channels": ["mail"], "most_per_hour": 1}}
    office = hire(owners=owners)
    office.take(*(finding(metric=f"m{number}", severity=Severity.CRITICAL) for number in range(3)))
    office.after(minutes=1)
    assert {one.state for one in office.letters()} == {Delivery.WAITING}


def test_of_two_desks_over_one_journal_one_works(office: Office) -> None:
    with office.journal.alone() as first:
        with office.journal.alone() as second:
            assert (first, second) == (True, False)
        with office.journal.alone() as third:
            assert not third
    with office.journal.alone() as fourth:
        assert fourth


def test_the_record_says_who_was_told_and_why(hire: Hire) -> None:
    office = chained(hire)
    office.take(finding())
    office.after(minutes=1)
    office.after(minutes=30)
    kinds = [one.kind for one in office.acts_of(office.only())]
    assert kinds == [ActKind.OPENED, ActKind.ALERTED, ActKind.ESCALATED]
    assert office.acts_of(office.only())[0].at == NOON
