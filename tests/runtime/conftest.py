from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime.world import World, world


@pytest.fixture
def place(tmp_path: Path) -> Iterator[World]:
    """A runtime that is not running yet."""
    with world(tmp_path / "home") as made:
        yield made


@pytest.fixture
def runtime(place: World) -> World:
    """A running runtime with nothing deployed."""
    place.up()
    return place
