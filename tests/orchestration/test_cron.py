"""Cron expressions: what Kubeflow would misread is refused with the reason."""

import re

import pytest

from vigil.errors import ContractError
from vigil.orchestration.cron import EVERY_SIX_HOURS, checked_cron


@pytest.mark.parametrize(
    "expression",
    [
        EVERY_SIX_HOURS,
        "0 0 3 * * *",
        "30 15,45 0-6/2 1 JAN-MAR ?",
        "0 0 9 ? * MON-FRI",
        "0 5/10 * * * sun,wed",
        "59 59 23 31 12 6",
    ],
)
def test_six_fields_are_taken(expression: str) -> None:
    assert checked_cron(expression) == expression


def test_spaces_are_evened_out() -> None:
    assert checked_cron("  0  0 */6 * *\t* ") == EVERY_SIX_HOURS


def test_five_fields_are_refused_with_what_to_write() -> None:
    with pytest.raises(ContractError, match=re.escape("write '0 0 3 * * *'")):
        checked_cron("0 3 * * *")


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "has 0 fields"),
        ("@hourly", "has 1 fields"),
        ("@every 6h", "has 2 fields"),
        ("0 0 3 * * * 2026", "has 7 fields"),
        ("* 0 3 * * *", "several runs a minute"),
        ("*/30 0 3 * * *", "several runs a minute"),
        ("0,30 0 3 * * *", "several runs a minute"),
        ("60 0 3 * * *", "second '60' is not within 0 and 59"),
        ("0 0 24 * * *", "hour '24' is not within 0 and 23"),
        ("0 0 3 0 * *", "day of month '0' is not within 1 and 31"),
        ("0 0 3 * 13 *", "month '13' is not within 1 and 12"),
        ("0 0 3 * * 7", "day of week '7' is not within 0 and 6"),
        ("0 0 6-3 * * *", "hour '6-3' ends before it begins"),
        ("0 0 */0 * * *", "after the slash"),
        ("0 0 */² * * *", "after the slash"),
        ("0 0 */x * * *", "after the slash"),
        ("0 0 3/ * * *", "after the slash"),
        ("0 0 three * * *", "hour 'three' is none of"),
        ("0 0 -3 * * *", "hour '-3' is none of"),
        ("0 0 3- * * *", "hour '3-' is none of"),
        ("0 0 3,, * * *", "hour '' is none of"),
        ("0 ? 3 * * *", "minute '?' is none of"),
        ("0 0 3 L * *", "day of month 'L' is none of"),
        ("0 0 3 * MON *", "month 'MON' is none of"),
        ("0 0 \u0663 * * *", "hour '\u0663' is none of"),
    ],
)
def test_what_the_server_would_misread_or_refuse_is_refused_by_field(expression: str, complaint: str) -> None:
    with pytest.raises(ContractError, match=re.escape(complaint)):
        checked_cron(expression)
