"""A bounded way into threads: work beyond its depth is refused instead of queued."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from vigil.serving.refusals import OVERLOADED, Refusal

P = ParamSpec("P")
T = TypeVar("T")


class Lane:
    """Runs calls in `threads` threads; at most `depth` are there at once, those that wait included."""

    def __init__(self, name: str, threads: int, depth: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix=name)
        self._depth = depth
        self._lock = threading.Lock()
        self._inside = 0

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `work(...)`, or raise Refusal (429) if the lane is full.

        A caller that gives up frees its place only when its work is done: a thread cannot be interrupted.
        """
        if self._inside >= self._depth:
            raise Refusal(OVERLOADED, "the server has as much work as it can do: try again after a pause")
        with self._lock:
            self._inside += 1
        future = self._pool.submit(work, *args, **kwargs)
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _: object) -> None:
        with self._lock:
            self._inside -= 1

    @property
    def inside(self) -> int:
        """The number of calls that wait or run."""
        return self._inside

    def close(self) -> None:
        """Wait for what runs, and take nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)
