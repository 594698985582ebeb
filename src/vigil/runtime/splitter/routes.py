"""Which revision a request goes to."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from vigil.runtime.splitter.buckets import Table, bucket_of, percents_of, spread
from vigil.runtime.splitter.counts import Counts
from vigil.runtime.splitter.http import Failure
from vigil.runtime.splitter.upstream import Upstream


@dataclass(eq=False)
class Target:
    """A revision, as the splitter sees it."""

    name: str
    model: str
    upstream: Upstream
    grpc_port: int
    ready: bool = False
    shadow: bool = False
    in_flight: int = 0
    counts: Counts = field(default_factory=Counts)
    on_failure: Callable[[], None] = lambda: None
    """Called when the revision did not take a request: someone should look at it at once."""

    def fail(self) -> None:
        """Take no more traffic until the revision has been seen ready again."""
        self.ready = False
        self.on_failure()


class Routes:
    """The traffic tables of all models. Everything changes between two requests, never within one."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        self._tables: dict[str, Table] = {}
        self._weighted: dict[str, tuple[str, ...]] = {}
        self._number = 0

    def table(self, model: str) -> Table:
        """Return the traffic table of a model."""
        return self._tables.get(model, ())

    def set_table(self, model: str, table: Table) -> None:
        """Put new weights in force."""
        self._tables[model] = table
        self._weighted[model] = tuple(percents_of(table))

    def models(self) -> list[str]:
        """Return the models that have a revision."""
        return sorted({target.model for target in self.targets.values()})

    def is_ready(self, model: str) -> bool:
        """Return whether any revision with traffic is ready."""
        return any(True for _ in self._ready(model, ()))

    def pick(self, model: str, entity: str | None, tried: tuple[str, ...] = ()) -> Target:
        """Return the revision of an entity, or another one with traffic where that is not ready."""
        if entity is None:
            self._number += 1
            bucket = spread(self._number)
        else:
            bucket = bucket_of(entity)
        table = self._tables.get(model)
        owner = self.targets.get(table[bucket]) if table else None
        if owner is not None and owner.ready and owner.name not in tried:
            return owner
        others = list(self._ready(model, tried))
        if not others:
            raise self._unavailable(model)
        if owner is not None:
            owner.counts.rerouted += 1
        return others[bucket % len(others)]

    def shadows(self, model: str) -> list[Target]:
        """Return the revisions that get a copy of the model's requests."""
        return [target for target in self.targets.values() if target.shadow and target.model == model]

    async def drained(self, target: Target, seconds: float) -> bool:
        """Wait until the revision serves nothing any more, for at most `seconds`; return whether it does not."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while target.in_flight and loop.time() < end:
            await asyncio.sleep(0.02)
        return not target.in_flight

    def _ready(self, model: str, tried: tuple[str, ...]) -> Iterator[Target]:
        for name in self._weighted.get(model, ()):
            target = self.targets.get(name)
            if target is not None and target.ready and name not in tried:
                yield target

    def _unavailable(self, model: str) -> Failure:
        """Return what to tell a client that no revision can serve."""
        if not self.targets:
            return Failure(503, "nothing_deployed", "no model is deployed: run `vigil deploy MODEL`")
        if model not in self.models():
            known = ", ".join(self.models())
            return Failure(404, "unknown_model", f"no model of this name is deployed, only {known}")
        return Failure(
            503, "not_ready", f"no revision of {model} is ready: `vigil status` and `vigil logs` show why; try again"
        )
