"""When it happened, in the site's local time."""

from vigil.features.definitions.entities import hour, weekday
from vigil.features.language import Feature, feature, field

GROUP = "calendar"


def calendar() -> list[Feature]:
    """Return hour, weekday, month and quarter."""
    return [
        feature("hour", hour, group=GROUP, unit="hour 0-23", reason="sales follow the day"),
        feature("weekday", weekday, group=GROUP, unit="day 0-6, Monday 0", reason="sales follow the week"),
        feature("month", field("month"), group=GROUP, unit="month 1-12", reason="sales follow the year"),
        feature("quarter", field("quarter"), group=GROUP, unit="quarter 1-4", reason="budgets follow the quarter"),
    ]
