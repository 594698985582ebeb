"""What the alerts are worth, from recorded times. Each measure says its formula and what it is a share of."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from pydantic import Field

from vigil.alerts.acts import is_where
from vigil.alerts.incidents import Incident, Judged, State
from vigil.alerts.journal import Journal
from vigil.alerts.records import Report
from vigil.alerts.settings import AlertSettings
from vigil.alerts.signals import AlertType, Document


class Measure(Document):
    """One number. `value` is None where the denominator is 0, or where it is not reached."""

    name: str
    value: float | None
    unit: str
    numerator: int
    denominator: int
    formula: str
    note: str = ""


class Measures(Document):
    """All measures of the incidents opened from a time to another."""

    since: datetime | None
    until: datetime
    measures: tuple[Measure, ...] = Field(min_length=1)


def measure(journal: Journal, settings: AlertSettings, now: datetime, since: datetime | None = None) -> Measures:
    """Return the measures of the incidents that were opened, and of the reports that came, since a time."""
    with journal.reading() as pages:
        every, reports = pages.incidents(), pages.reports()
    counted = [one for one in every if since is None or one.opened >= since]
    told = [one for one in reports if since is None or one.reported >= since]
    found = [one for one in counted if one.state is not State.MERGED]
    own = [one for one in found if one.type != AlertType.REPORT]
    alerted = [one for one in own if one.alerted is not None]
    measures = (
        caught_before_report(found, told, settings),
        *time_to_attention(alerted),
        _precision(alerted),
        _share(
            "escalation rate",
            [one for one in alerted if one.step > 0],
            alerted,
            "incidents that escalated at least once / incidents that were alerted",
        ),
    )
    return Measures(since=since, until=now, measures=measures)


def caught_before_report(found: Sequence[Incident], reports: Sequence[Report], settings: AlertSettings) -> Measure:
    """Return the share of real problems that Vigil had opened before a person reported them, or nobody reported."""
    late = {one.id for one in found if any(_was_first(report, one, settings) for report in reports)}
    real = [one for one in found if one.judged is Judged.REAL and one.type != AlertType.REPORT]
    reported_known = {one.incident for one in reports if one.was_known}
    real += [one for one in found if one.id in reported_known and one.judged is None]
    caught = [one for one in real if one.id not in late]
    false = {one.id for one in found if one.judged is Judged.FALSE}
    unknown = {one.incident for one in reports if not one.was_known} - false
    return _share(
        "caught before the manual report",
        caught,
        [*caught, *unknown],
        "problems whose incident was open before the first report of them / real problems: those of incidents judged "
        "real or reported by a person, and of reports that no incident was open for",
    )


def time_to_attention(alerted: Sequence[Incident]) -> tuple[Measure, Measure]:
    """Return median and P90 of the time from the opening to the first act of a person.

    An incident that nobody attended to counts as one that waits for ever, so that neglect does not look like speed.
    """
    minutes = sorted((one.attended - one.opened) / timedelta(minutes=1) for one in alerted if one.attended is not None)

    def at(share: float, name: str) -> Measure:
        place = math.ceil(share * len(alerted)) - 1
        value = minutes[place] if 0 <= place < len(minutes) else None
        note = "" if value is not None or not alerted else "not reached: too many have not been attended to"
        formula = (
            f"{name} over alerted incidents of (first acknowledgement, snooze or closing by a person - opening); "
            "never, where there is none"
        )
        return Measure(
            name=f"time to attention, {name}",
            value=value,
            unit="minutes",
            numerator=len(minutes),
            denominator=len(alerted),
            formula=formula,
            note=note,
        )

    return at(0.5, "median"), at(0.9, "P90")


def _precision(alerted: Sequence[Incident]) -> Measure:
    judged = [one for one in alerted if one.judged is not None]
    real = [one for one in judged if one.judged is Judged.REAL]
    formula = "alerted incidents that a person judged real / alerted incidents that a person judged real or false"
    made = _share("alert precision", real, judged, formula)
    return made.model_copy(update={"note": f"{len(alerted) - len(judged)} of {len(alerted)} are not judged"})


def _share(name: str, part: Sequence[object], whole: Sequence[object], formula: str) -> Measure:
    value = len(part) / len(whole) if whole else None
    return Measure(name=name, value=value, unit="share", numerator=len(part), denominator=len(whole), formula=formula)


def _was_first(report: Report, incident: Incident, settings: AlertSettings) -> bool:
    """Return whether a person had reported the incident's problem before it was opened."""
    rules = settings.rules(incident.type)
    early, late = timedelta(hours=rules.group_hours), timedelta(hours=rules.quiet_hours)
    near = incident.first_seen - early <= report.noticed <= incident.last_seen + late
    before = report.reported < incident.opened and not report.was_known
    return before and near and incident.type != AlertType.REPORT and is_where(incident, report.site, report.metric)
