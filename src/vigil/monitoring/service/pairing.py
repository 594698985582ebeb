"""Requests and answers find each other by their id, whichever comes first; duplicates are told by id and type."""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from vigil.contracts.cloud_events import CloudEvent

REQUEST = "org.kubeflow.serving.inference.request"
RESPONSE = "org.kubeflow.serving.inference.response"


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """An event, and when it came."""

    event: CloudEvent
    at: float
    """Seconds since 1970."""
    binary_length: str | None = None
    """Where the JSON of a V2 body ends and its raw tensors begin, if the sender said it."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A request with its answer."""

    request: Received
    response: Received
    at: float
    """When the later one came."""


class Duplicates:
    """Remembers the last ids, as 64 bits each."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._seen: OrderedDict[int, None] = OrderedDict()

    def is_new(self, event: CloudEvent) -> bool:
        """Return whether the event is not among those remembered, and remember it."""
        key = int.from_bytes(blake2b(f"{event.type}\n{event.id}".encode(), digest_size=8).digest(), "big")
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > self._capacity:
            self._seen.popitem(last=False)
        return True

    def keys(self) -> list[int]:
        """Return what is remembered, oldest first."""
        return list(self._seen)

    def restore(self, keys: Iterable[int]) -> None:
        """Remember again what `keys` told."""
        self._seen = OrderedDict.fromkeys(keys)


class Pairing:
    """Holds the halves of pairs for a while. `counts` holds why halves were given up."""

    def __init__(self, seconds: float, capacity: int) -> None:
        self.counts: Counter[str] = Counter()
        self._seconds, self._capacity = seconds, capacity
        self._halves: OrderedDict[str, Received] = OrderedDict()

    def __len__(self) -> int:
        return len(self._halves)

    def add(self, received: Received) -> Pair | None:
        """Return the pair that the event completes."""
        identity = received.event.id
        other = self._halves.get(identity)
        if other is None or other.event.type == received.event.type:
            self._halves[identity] = received
            if len(self._halves) > self._capacity:
                self._give_up("unpaired_too_many")
            return None
        del self._halves[identity]
        request, response = (other, received) if received.event.type == RESPONSE else (received, other)
        return Pair(request, response, received.at)

    def expire(self, now: float) -> None:
        """Give up the halves that have waited for too long."""
        while self._halves and now - next(iter(self._halves.values())).at > self._seconds:
            self._give_up("unpaired")

    def _give_up(self, why: str) -> None:
        _, half = self._halves.popitem(last=False)
        self.counts[f"{why}_{'request' if half.event.type == REQUEST else 'response'}"] += 1
