"""A local runtime with stand-ins for servers, traffic through its splitter, and a registry with real bundles."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.registry.samples import metadata, parts
from tests.runtime.world import World
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.registry.bundle import write_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import FolderStore
from vigil.rollout.beginning import begin
from vigil.rollout.evidence import EvidenceSettings, Tolerance
from vigil.rollout.opening import Order, Plan, make_spec
from vigil.rollout.spec import Arm, Spec
from vigil.rollout.stores import FolderRecords

PLAN = Plan(
    steps=(0, 50, 100),
    bake_seconds=1,
    minimum_samples=30,
    watch_seconds=2,
    detector=False,
    evidence=EvidenceSettings(errors=Tolerance(ratio=2, margin=0.1), latency=Tolerance(ratio=2, margin=0.3)),
)
"""Quick, tolerant, and without the detector service: stand-ins decide nothing."""


def registry(home: Path) -> Registry:
    """A registry with version 1 in production and version 2 as a candidate."""
    made = Registry(FolderStore(home.absolute() / "models"))
    for cut in (0.5, 0.625):
        bundle = write_bundle(parts(cut), metadata("m", auc=cut), made.store)
        made.register(bundle, actor="policy:gates", reason="all gates passed")
    for stage in (Stage.STAGING, Stage.PRODUCTION):
        made.promote(
            ModelName("m"), ModelVersion("1"), stage, expected_production=None, actor="person:ada", reason="the first"
        )
    return made


@contextmanager
def traffic(place: World) -> Iterator[dict[int, int]]:
    """Send requests of many customers all the time; what is yielded counts the answers by status."""
    stop, answers = threading.Event(), dict[int, int]()

    def send() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            body = f'{{"instances": [{{"customer_id": "C{number}"}}]}}'.encode()
            status, _ = place.post(body=body)
            answers[status] = answers.get(status, 0) + 1
            time.sleep(0.003)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield answers
    finally:
        stop.set()
        thread.join()


def order(place: World, actor: str = "person:ada", **behaviour: Any) -> Spec:
    """A rollout of version 2, whose stand-in behaves so, over version 1, which is deployed."""
    place.deploy("1", traffic=100)
    return make_spec(Order("m", "2", actor, "better on June"), PLAN, place.config.settings).model_copy(
        update={"candidate": _arm(place, "2", **behaviour), "production": _arm(place, "1")}
    )


def _arm(place: World, version: str, **behaviour: Any) -> Arm:
    """What the registry says of a version, but for the folder: that of its stand-in."""
    request = place.bundle(version, **behaviour)
    return Arm(version=ModelVersion(version), bundle=request.bundle, uri=request.uri)


def begun(spec: Spec, place: World) -> FolderRecords:
    """Keep the first record."""
    records = FolderRecords(place.home)
    records.save(begin(spec), None)
    return records
