"""What the tests run in several processes at once. Imports little, since every process imports it anew."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.registry.samples import MONDAY
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.errors import VigilError
from vigil.registry.bundle import BundleRef
from vigil.registry.registry import Registry
from vigil.registry.stages import Stage
from vigil.registry.store import FolderStore

Outcome = list[Any]


def run_together(work: Callable[..., Outcome], *arguments: Any) -> list[Outcome]:
    """Run `work(index, barrier, *arguments)` in two processes that start together, and return what each returns."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_report, args=(results, work, i, barrier, *arguments)) for i in range(2)]
    for worker in workers:
        worker.start()
    outcomes = dict(results.get(timeout=300) for _ in workers)
    for worker in workers:
        worker.join()
    return [outcomes[i] for i in range(2)]


def _report(results: Any, work: Callable[..., Outcome], index: int, *arguments: Any) -> None:
    results.put((index, work(index, *arguments)))


def create_files(_: int, barrier: Any, root: Path, rounds: int) -> Outcome:
    """Return for each round whether this process was the one that created the file."""
    store, won = FolderStore(root), []
    for number in range(rounds):
        barrier.wait()
        won.append(store.create(f"race/{number}", str(os.getpid()).encode() * 5000))
    return won


def promote(index: int, barrier: Any, root: Path, models: list[ModelName]) -> Outcome:
    """Promote another version than the other process; return for each model the error, or None for the winner."""
    registry, errors = Registry(FolderStore(root), clock=lambda: MONDAY), []
    for model in models:
        barrier.wait()
        try:
            registry.promote(
                model,
                ModelVersion(str(index + 1)),
                Stage.PRODUCTION,
                expected_production=None,
                actor=f"person:worker{index + 1}",
                reason="race",
            )
            errors.append(None)
        except VigilError as error:
            errors.append((type(error).__name__, str(error)))
    return errors


def register(index: int, barrier: Any, root: Path, bundles: list[list[BundleRef]]) -> Outcome:
    """Register this process's share of the bundles and return the versions that they got."""
    registry, versions = Registry(FolderStore(root), clock=lambda: MONDAY), []
    for bundle in bundles[index]:
        barrier.wait()
        versions.append(registry.register(bundle, actor="policy:race", reason="race").version)
    return versions
