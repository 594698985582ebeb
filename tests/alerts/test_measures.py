"""What the alerts are worth, from recorded times, with formula and denominator."""

from datetime import timedelta

from tests.alerts.office import ANA, NOON, Office, finding
from vigil.alerts.acts import By, Noticed
from vigil.alerts.incidents import Incident, Judged
from vigil.alerts.measures import Measure, measure

BO = By("person:bo", "nobody buys")


def measured(office: Office, name: str) -> Measure:
    found = measure(office.journal, office.settings, office.clock())
    return next(one for one in found.measures if one.name == name)


def alerted(office: Office, *sites: str) -> dict[str, Incident]:
    office.take_all(finding(site) for site in sites)
    office.after(minutes=1)
    return {one.sites[0]: one for one in office.incidents()}


def test_caught_before_the_report_counts_what_people_reported_first_against_it(office: Office) -> None:
    found = alerted(office, "S1", "S2", "S3", "S4")
    office.acts.report(Noticed("S1", "", NOON), BO)
    office.acts.close(found["S2"].id, ANA, Judged.REAL)
    office.acts.close(found["S3"].id, ANA, Judged.FALSE)
    office.acts.report(Noticed("S9", "", NOON), BO)
    caught = measured(office, "caught before the manual report")
    assert (caught.numerator, caught.denominator) == (2, 3)
    assert "/" in caught.formula


def test_what_was_found_only_after_a_report_is_one_problem_that_was_not_caught(office: Office) -> None:
    office.acts.report(Noticed("S1", "", NOON), BO)
    office.clock.advance(timedelta(minutes=10))
    found = alerted(office, "S1")
    office.acts.close(next(one for one in office.incidents() if one.type == "site_dip").id, ANA, Judged.REAL)
    assert len(found) == 1
    caught = measured(office, "caught before the manual report")
    assert (caught.numerator, caught.denominator) == (0, 1)


def test_a_report_that_proves_wrong_is_no_problem(office: Office) -> None:
    report = office.acts.report(Noticed("S1", "", NOON), BO)
    assert measured(office, "caught before the manual report").denominator == 1
    office.acts.close(report.incident, ANA, Judged.FALSE)
    caught = measured(office, "caught before the manual report")
    assert (caught.value, caught.denominator) == (None, 0)


def test_attention_is_from_the_opening_to_the_first_act_and_neglect_is_no_speed(office: Office) -> None:
    found = alerted(office, "S1", "S2", "S3")
    office.clock.advance(timedelta(minutes=9))
    office.acts.acknowledge(found["S1"].id, ANA)
    assert measured(office, "time to attention, median").value is None
    office.clock.advance(timedelta(minutes=20))
    office.acts.snooze(found["S2"].id, ANA, office.clock() + timedelta(hours=1))
    office.acts.close(found["S1"].id, ANA, Judged.REAL)
    median, late = (measured(office, f"time to attention, {name}") for name in ("median", "P90"))
    assert (median.value, median.numerator, median.denominator) == (30.0, 2, 3)
    assert (late.value, late.note[:11]) == (None, "not reached")


def test_precision_is_over_what_was_judged_and_says_how_much_was_not(office: Office) -> None:
    found = alerted(office, "S1", "S2", "S3", "S4")
    for site, judged in (("S1", Judged.REAL), ("S2", Judged.REAL), ("S3", Judged.FALSE)):
        office.acts.close(found[site].id, ANA, judged)
    precision = measured(office, "alert precision")
    assert (precision.numerator, precision.denominator) == (2, 3)
    assert precision.note == "1 of 4 are not judged"


def test_the_escalation_rate_is_over_all_that_was_alerted(office: Office) -> None:
    found = alerted(office, "S1", "S2", "S3", "S4")
    for site in ("S1", "S2", "S3"):
        office.acts.acknowledge(found[site].id, ANA)
    office.after(minutes=60)
    rate = measured(office, "escalation rate")
    assert (rate.numerator, rate.denominator, rate.value) == (1, 4, 0.25)


def test_an_empty_journal_has_no_numbers_instead_of_zeros(office: Office) -> None:
    assert {one.value for one in measure(office.journal, office.settings, NOON).measures} == {None}
