"""Tests that share a process or a port are one story: a group of them has to stay in one worker, in its order.

A pytest that pytest-xdist does not know yet lets the mark silently do nothing.
"""

import pytest

pytestmark = pytest.mark.xdist_group("groups")

PARTS = 8
_told: list[int] = []


@pytest.mark.parametrize("part", range(PARTS))
def test_a_part_of_a_story_comes_after_all_parts_before_it(part: int) -> None:
    assert _told == list(range(part)), "the parts of a group run in several workers"
    _told.append(part)
