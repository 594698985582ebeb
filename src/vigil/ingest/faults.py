"""What can be wrong with an event, in words."""

from dataclasses import dataclass

from vigil.ingest.conversions import Mask

UNREADABLE = "unreadable"
EXCLUDED = "excluded"
UNMAPPED = "unmapped"
ENCODING = "encoding"
TYPE = "type"
CATEGORY = "unknown_category"
NULL = "null"
LENGTH = "length"
NOT_FINITE = "not_finite"
RANGE = "range"
NO_SUCH_TIME = "no_such_local_time"
TOO_EARLY = "too_early"
TOO_LATE = "too_late"
FUTURE = "future"
LATE = "late"
ORPHAN = "orphan"
DUPLICATE = "duplicate"
CONFLICT = "conflicting_duplicate"
UNIT_JUMP = "unit_jump"

MEANING = {
    UNREADABLE: "the row cannot be split into fields",
    EXCLUDED: "the mapping leaves such rows out on purpose",
    UNMAPPED: "no event of the mapping takes such a row",
    ENCODING: "bytes that are no text",
    TYPE: "not of the field's type",
    CATEGORY: "a category that the mapping does not know",
    NULL: "nothing recorded where the event needs a value",
    LENGTH: "a text that is empty or too long",
    NOT_FINITE: "NaN or infinity",
    RANGE: "outside the limits of the field",
    NO_SUCH_TIME: "a local time that the clocks skipped",
    TOO_EARLY: "before the earliest time that is allowed",
    TOO_LATE: "after the latest time that is allowed",
    FUTURE: "after the time of this run",
    LATE: "older than the allowed lateness behind the rows before it",
    ORPHAN: "the event that it refers to was quarantined",
    DUPLICATE: "the same event once more",
    CONFLICT: "the id of an earlier event, with other contents",
    UNIT_JUMP: "a run of values on another scale than the feed's history",
}
"""Every rule, by its name in the reports."""


@dataclass(frozen=True)
class Fault:
    """A rule that a field broke, for the rows of `rows`; `sentence` continues "FIELD is VALUE"."""

    field: str
    rule: str
    rows: Mask
    sentence: str
