"""The service with the real watch: usual decisions leave it steady, and a shift of a feature is told by name."""

import asyncio
import io
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.monitoring.service.events import MODEL, START, decision, exchange, instance
from tests.monitoring.service.stage import BEGIN, Running, in_loop, running
from tests.monitoring.service.test_watching import RELEASE, sink
from vigil.clock import ManualClock, to_micros
from vigil.contracts.cloud_events import CloudEvent
from vigil.monitoring.verdicts import DriftVerdict
from vigil.registry.bundle import load_bundle, write_bundle
from vigil.registry.store import FolderStore

QUICK = {"learning_rows": 200, "warm_rows": 100}
EVERY = 300
"""Seconds of event time between two decisions."""


class Traffic:
    """Decisions of a model whose bundle has a reference; one feature can be shifted."""

    def __init__(self, home: Path) -> None:
        release = load_bundle(RELEASE)
        schema = release.json("feature_schema.json")
        self.names = [found["name"] for found in schema["features"]]
        self.random = np.random.default_rng(7)
        rows = 3_000
        table = pa.table(
            {
                "event_time": pa.array(
                    to_micros(START) - np.arange(rows, 0, -1) * EVERY * 1_000_000, pa.timestamp("us", "UTC")
                ),
                "score": self.random.beta(2, 10, rows),
                **{name: self.random.gamma(2.0, 10.0, rows).astype(np.float32) for name in self.names},
            }
        )
        content = io.BytesIO()
        pq.write_table(table, content)
        parts = {name: release.read(name) for name in release.names} | {"reference/rows.parquet": content.getvalue()}
        bundle = write_bundle(parts, release.metadata, FolderStore(home / "models"))
        self.facts = {"bundle": bundle.hash, "feature_schema": schema["content_hash"]}
        self.number = 0

    def exchange(self, rows: int, shift: float = 1.0) -> list[CloudEvent]:
        instances, decisions = [], []
        for _ in range(rows):
            self.number += 1
            vector = self.random.gamma(2.0, 10.0, len(self.names))
            vector[0] *= shift
            name = f"e{self.number}"
            instances.append(instance(name, self.number * EVERY, amount=20.0))
            decisions.append(decision(name, float(self.random.beta(2, 10)), vector, **self.facts))
        return exchange(f"x{self.number}", instances, decisions)


async def _status(stage: Running, rows: int) -> dict[str, Any]:
    """Return the watch once it has judged almost all of so many rows."""
    found: list[dict[str, Any]] = []

    async def look() -> bool:
        found[:] = await stage.get(f"/v1/watch/{MODEL}")
        return bool(found) and found[0]["rows"] >= rows - 50

    for _ in range(400):
        stage.clock.advance(timedelta(seconds=0.5))
        if await look():
            return found[0]
        await asyncio.sleep(0.05)
    pytest.fail(f"of {rows} rows it knows {found}")


def test_a_shifted_feature_is_told_by_name_and_the_watch_survives_a_restart(tmp_path: Path) -> None:
    traffic = Traffic(tmp_path)

    @in_loop
    async def check() -> None:
        clock = ManualClock(BEGIN)
        async with sink(202) as taker:
            options: dict[str, Any] = {"clock": clock, "sinks": taker.url, "watch": QUICK}
            async with running(tmp_path, **options) as stage:
                for _ in range(12):
                    await stage.send(traffic.exchange(50))
                usual = await _status(stage, 600)
                assert (usual["state"], usual["verdict"]) == ("steady", None)
            async with running(tmp_path, **options) as stage:
                again = await _status(stage, 600)
                assert {name: again[name] for name in ("rows", "windows", "state")} == {
                    name: usual[name] for name in ("rows", "windows", "state")
                }
                for _ in range(8):
                    await stage.send(traffic.exchange(50, shift=3.0))
                drifting = await _status(stage, 1_000)
                assert drifting["state"] == "drifting"
                assert next(iter(drifting["features"])) == traffic.names[0]
                await stage.passes(lambda: bool(taker.events))
            told = DriftVerdict.model_validate(taker.events[0].json())
            assert told.first_seen > START + timedelta(seconds=550 * EVERY)
            assert traffic.names[0] in {found.subject for found in told.evidence}
            assert told.plot is not None
            assert Path(told.plot).read_bytes().startswith(b"\x89PNG")
            assert Path(told.plot).parent == tmp_path / "monitor" / "plots"

    check()
