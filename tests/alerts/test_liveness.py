"""A desk whose work has ended by a bug says so to the probe, so that it is started again."""

import asyncio
from datetime import datetime
from pathlib import Path

from aiohttp.test_utils import TestClient, TestServer

from tests.alerts.office import NOON, told
from vigil.alerts.desk import Desk
from vigil.alerts.journal import Journal
from vigil.alerts.service import Service
from vigil.clock import Clock, ManualClock
from vigil.settings import Settings


async def health(folder: Path, clock: Clock, wanted: int) -> int:
    """Return what the probe says in the end: it is asked until it says what is wanted, for ten seconds."""
    service = Service(
        Desk(Journal(folder / "alerts.db"), told(), ManualClock(NOON)), Settings(home=folder), clock, 0.01
    )
    async with TestClient(TestServer(service.app())) as client:
        for _ in range(200):
            await asyncio.sleep(0.05)
            status = (await client.get("/healthz")).status
            if status == wanted:
                break
        return status


def test_a_desk_at_work_is_up(tmp_path: Path) -> None:
    assert asyncio.run(health(tmp_path, ManualClock(NOON), 200)) == 200


def test_a_desk_that_a_bug_has_stopped_is_down(tmp_path: Path) -> None:
    def broken() -> datetime:
        raise RuntimeError("a clock without hands")

    assert asyncio.run(health(tmp_path, broken, 500)) == 500
