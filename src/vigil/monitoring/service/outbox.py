"""Events of ours on their way to the sinks: each is a file until every sink has taken it, so a restart loses none."""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import orjson

from vigil.contracts.cloud_events import STRUCTURED, BadEvent, CloudEvent, read_event, to_structured
from vigil.files import replace_file
from vigil.web import deliver

_log = logging.getLogger(__name__)
_FIRST_SECONDS, _LONGEST_SECONDS = 0.5, 60.0
_TIMEOUT = aiohttp.ClientTimeout(total=15)


class Outbox:
    """Sends events to all sinks, again and again with growing pauses, always under the same id."""

    def __init__(self, folder: Path, sinks: Sequence[str], capacity: int) -> None:
        self.counts: Counter[str] = Counter()
        self._folder, self._sinks, self._capacity = folder, tuple(sinks), capacity
        self._wake = {sink: asyncio.Event() for sink in self._sinks}
        self._tasks: list[asyncio.Task[None]] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __len__(self) -> int:
        return len(self._files())

    def start(self) -> None:
        """Begin to send, first of all what was left."""
        self._tasks = [asyncio.get_running_loop().create_task(self._serve(sink)) for sink in self._sinks]

    def put(self, event: CloudEvent) -> None:
        """Keep an event for all sinks; where too many wait, the oldest is given up. Any thread may call this."""
        if not self._sinks:
            return
        _, content = to_structured(event)
        self._write(self._folder / f"{event.id}.json", orjson.loads(content), self._sinks)
        waiting = self._files()
        for path in waiting[: max(len(waiting) - self._capacity, 0)]:
            self.counts["given_up"] += 1
            path.unlink(missing_ok=True)

    def wake(self) -> None:
        """Send what was put now."""
        for event in self._wake.values():
            event.set()

    async def close(self) -> None:
        """Stop sending; what waits is sent after the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, sink: str) -> None:
        pause = _FIRST_SECONDS
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            while True:
                if await self._send_all(session, sink):
                    pause = _FIRST_SECONDS
                    await self._wake[sink].wait()
                    self._wake[sink].clear()
                else:
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_SECONDS)

    async def _send_all(self, session: aiohttp.ClientSession, sink: str) -> bool:
        """Return whether the sink has taken, or refused for good, everything that waits for it."""
        for path in self._files():
            found = self._read(path)
            if found is None or sink not in found[1]:
                continue
            outcome = await deliver(session, sink, found[0])
            self.counts[outcome] += 1
            if outcome == "failed":
                return False
            self._strike(path, sink)
        return True

    def _files(self) -> list[Path]:
        """Return what waits, oldest first."""
        found = []
        for path in self._folder.glob("*.json"):
            try:
                found.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue
        return [path for _, path in sorted(found)]

    def _read(self, path: Path) -> tuple[CloudEvent, list[str]] | None:
        """Return an event and the sinks that need it; a file that is damaged is given up."""
        try:
            document = orjson.loads(path.read_bytes())
            return read_event({"content-type": STRUCTURED}, orjson.dumps(document["event"])), document["sinks"]
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, BadEvent, KeyError, TypeError) as error:
            _log.error("damaged event", extra={"path": str(path), "cause": str(error)})
            self.counts["given_up"] += 1
            path.unlink(missing_ok=True)
            return None

    def _strike(self, path: Path, sink: str) -> None:
        """Note that a sink needs the event no more."""
        try:
            document = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return
        rest = [other for other in document["sinks"] if other != sink and other in self._sinks]
        if rest:
            self._write(path, document["event"], rest)
        else:
            path.unlink(missing_ok=True)

    @staticmethod
    def _write(path: Path, event: object, sinks: Sequence[str]) -> None:
        replace_file(path, orjson.dumps({"event": event, "sinks": list(sinks)}), durable=False)
