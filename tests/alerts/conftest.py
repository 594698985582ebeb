"""Receivers and an office for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.alerts.office import Office, told
from tests.alerts.receivers import Post, Web
from vigil.settings import Settings

Hire = Callable[..., Office]


@pytest.fixture
def web() -> Iterator[Web]:
    web = Web()
    yield web
    web.close()


@pytest.fixture
def post() -> Iterator[Post]:
    post = Post()
    yield post
    post.close()


@pytest.fixture
def office(tmp_path: Path) -> Office:
    """Return an office by the shipped settings."""
    return Office(tmp_path / "alerts", told())


@pytest.fixture
def hire(tmp_path: Path) -> Hire:
    """Return a new office over the same journal, by the shipped settings with some keys replaced."""

    def hired(mail_server: str | None = None, **changes: Any) -> Office:
        mail = Settings(mail_server=mail_server, mail_to="duty@shop.test", mail_from="vigil@shop.test")
        return Office(tmp_path / "alerts", told(**changes), mail=mail)

    return hired
