"""A place of serving in a folder: it outlives the controllers that work on it, and is moved by nobody else."""

import fcntl
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.registry.samples import metadata, parts
from tests.rollout.nursery import Nursery
from tests.rollout.scene import NEW, OLD, START, STEPS, Scene, drift
from tests.rollout.scene import spec as make_spec
from vigil.contracts.cloud_events import CloudEvent
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.monitoring.samples import Slot
from vigil.monitoring.verdicts import Cause, WatchStatus
from vigil.registry.bundle import write_bundle
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import FolderStore
from vigil.rollout.audit import AuditLog
from vigil.rollout.beginning import begin
from vigil.rollout.controller import Controller
from vigil.rollout.observation import RevisionSeen, ServingSeen
from vigil.rollout.ports import Surroundings
from vigil.rollout.spec import Arm, Patience, Spec
from vigil.rollout.stages import RegistryStages
from vigil.rollout.status import Record, Status, Wish
from vigil.rollout.stores import FolderRecords

TICK = 10


@dataclass
class Simulated:
    """Files: the time, which each look at the clock moves on; what serves; who was told."""

    home: Path
    behaviour: dict[str, Any] = field(default_factory=dict)
    blamed: bool = False
    """Whether the watch blames the candidate once it is production."""

    def prepare(self) -> "Simulated":
        """Register both versions, let the first one serve, and begin the rollout."""
        self.home.mkdir(parents=True)
        registry, model = Registry(FolderStore(self.home / "models")), ModelName("m")
        bundles = [write_bundle(parts(cut), metadata("m", auc=cut), registry.store) for cut in (0.5, 0.625)]
        for bundle in bundles:
            registry.register(bundle, actor="policy:gates", reason="all gates passed")
        for stage in (Stage.STAGING, Stage.PRODUCTION):
            registry.promote(
                model, ModelVersion("1"), stage, expected_production=None, actor="person:ada", reason="first"
            )
        old, new = (
            Arm(version=ModelVersion(str(number)), bundle=bundle.hash, uri=bundle.uri)
            for number, bundle in enumerate(bundles, 1)
        )
        steps = tuple(step.model_copy(update={"bake_seconds": 20}) for step in STEPS)
        patience = Patience(ready=36_000, evidence=36_000, silence=36_000, split=36_000, gap=36_000)
        spec = make_spec(candidate=new, production=old, steps=steps, watch_seconds=40, patience=patience)
        self.write("time", int(START.timestamp()))
        self.write("serving", {"percent": 0, "shadow": "none", "deployed": False})
        FolderRecords(self.home).save(begin(spec), None)
        return self

    def controller(self) -> Controller:
        registry = RegistryStages(Registry(FolderStore(self.home / "models")))
        place = Surroundings(serving=self, traffic=_Traffic(self), detector=_Detector(self), stages=registry)
        records = FolderRecords(self.home)
        return Controller(records, AuditLog(FolderStore(records.root)), self, lambda _: place, clock=self.clock)

    def record(self) -> Record:
        kept = FolderRecords(self.home).load("m")
        assert kept is not None
        return kept.record

    def outcome(self) -> dict[str, Any]:
        """What must be the same whoever was killed on the way: all but the times."""
        record = self.record()
        records = FolderRecords(self.home)
        log = AuditLog(FolderStore(records.root))
        ledger = Registry(FolderStore(self.home / "models")).history(ModelName("m"))
        return {
            "phase": record.status.phase,
            "settled": record.status.settled,
            "serving": self.read("serving"),
            "ledger": [(entry.action, entry.version, entry.moves) for entry in ledger],
            "acts": [(one.act.kind, one.act.phase, one.act.percent, one.act.actor) for one in log.entries("m")],
            "log": log.verify("m", record.status),
            "told": sorted(set((self.home / "told").read_text().split())),
        }

    def clock(self) -> datetime:
        with (self.home / "time.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            now = int(self.read("time")) + TICK
            self.write("time", now)
        return datetime.fromtimestamp(now, UTC)

    def see(self, spec: Spec) -> ServingSeen:
        found = self.read("serving")
        candidate = RevisionSeen(NEW, found["percent"], True, found["shadow"] == "candidate")
        production = RevisionSeen(OLD, 100 - found["percent"], True, found["shadow"] == "production")
        return ServingSeen(candidate if found["deployed"] else None, production)

    def serve(self, spec: Spec, wish: Wish) -> None:
        """Change one thing at a time, as a real place does: a kill may come between."""
        for change in ({"deployed": True}, {"percent": wish.percent}, {"shadow": wish.shadow}):
            self.write("serving", {**self.read("serving"), **change})

    def send(self, event: CloudEvent) -> None:
        with (self.home / "told").open("a") as file:
            file.write(f"{event.id}\n")

    def slots(self, source: str, after: int) -> list[Slot]:
        now, found = int(self.read("time")), self.read("serving")
        number = now // TICK
        if number <= after:
            return []
        scene = Scene(now=datetime.fromtimestamp(now, UTC), behaviour=self.behaviour, slots=number)
        scene.percent, scene.shadow = found["percent"], found["shadow"]
        return [slot for slot in scene.observe_slots() if slot.source == source]

    def read(self, name: str) -> Any:
        return json.loads((self.home / name).read_text())

    def write(self, name: str, content: Any) -> None:
        draft = self.home / f"{name}.{os.getpid()}"
        draft.write_text(json.dumps(content))
        draft.replace(self.home / name)


@dataclass
class _Traffic:
    place: Simulated

    def slots(self, spec: Spec, status: Status) -> Sequence[Slot]:
        return self.place.slots("traffic", status.cursors.get("traffic", -1))


@dataclass
class _Detector:
    place: Simulated

    def slots(self, model: str, after: int) -> Sequence[Slot]:
        return self.place.slots("decisions", after)

    def watch(self, model: str) -> Sequence[WatchStatus]:
        serving = self.place.read("serving")
        blames = self.place.blamed and serving["percent"] == 100 and self.place.record().status.phase == "watching"
        return [drift(Cause.MODEL_WORSE)] if blames else []


def kill_after(nursery: Nursery, pid: int, seconds: float) -> bool:
    """Kill a process after a while; return whether it was still at work."""
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    status = nursery.wait(pid)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the controller failed by itself"
    return os.WIFSIGNALED(status)


def carry_on(place: Simulated) -> None:
    """Run a controller until all is over."""
    place.controller().run(0, is_over=lambda running: not running)


def carry_on_unlocked(place: Simulated) -> None:
    """Run a controller that ignores the lock until all is over."""
    controller = place.controller()
    while controller.tick_all():
        time.sleep(0.001)


def control_for_ever(place: Simulated) -> None:
    """Run a controller until somebody ends it."""
    place.controller().run(0.05, is_over=lambda _: False)
