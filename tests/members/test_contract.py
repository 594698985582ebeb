from collections.abc import Callable

import pytest

from tests.members.checks import CHECKS
from tests.members.subjects import Subject, subject_of
from vigil.members.catalog import KINDS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.xdist_group(kind)) for kind in KINDS])
def test_every_kind_of_member(kind: str, check: Callable[[Subject], None]) -> None:
    check(subject_of(kind))
