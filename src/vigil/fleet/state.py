"""What the fleet remembers between readings: one seat of flat arrays for each series, and some for unseen ones."""

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vigil.fleet.kernels.online import MEMORY
from vigil.fleet.panel import Floats, Series


@dataclass(eq=False)
class FleetState:
    """Seats in the order of the fleet's series; those of unseen series follow as they come, the least recent reused."""

    memory: Floats
    """(seats, vigil.fleet.kernels.online.MEMORY)"""
    daily: Floats
    """(seats, steps of a day)"""
    ring: Floats
    """(seats, window)"""
    guests: dict[Series, int] = field(default_factory=dict)
    """The seat of each unseen series, the least recent first."""

    def __len__(self) -> int:
        return len(self.memory)

    @classmethod
    def empty(cls, seats: int, day: int, window: int) -> Self:
        """Return seats that remember nothing."""
        return cls(np.zeros((seats, MEMORY)), np.zeros((seats, day)), np.zeros((seats, window)))

    def copy(self) -> "FleetState":
        """Return a state that can change by itself."""
        return FleetState(self.memory.copy(), self.daily.copy(), self.ring.copy(), dict(self.guests))

    def seats(self, chosen: NDArray[np.int64]) -> "FleetState":
        """Return the chosen seats, without guests."""
        return FleetState(self.memory[chosen], self.daily[chosen], self.ring[chosen])

    def joined(self, other: "FleetState") -> "FleetState":
        """Return the seats of both, without guests."""
        mine = self.seats(np.arange(len(self) - len(self.guests)))
        theirs = other.seats(np.arange(len(other) - len(other.guests)))
        return FleetState(
            np.concatenate([mine.memory, theirs.memory]),
            np.concatenate([mine.daily, theirs.daily]),
            np.concatenate([mine.ring, theirs.ring]),
        )

    def seat_guest(self, series: Series, most: int) -> int:
        """Return the seat of an unseen series, a fresh one if it has none, and make it the most recent."""
        seat = self.guests.pop(series, None)
        if seat is None:
            seat = self._fresh(most)
        self.guests[series] = seat
        return seat

    def _fresh(self, most: int) -> int:
        if len(self.guests) < most:
            for name in ("memory", "daily", "ring"):
                array = getattr(self, name)
                setattr(self, name, np.concatenate([array, np.zeros((1, array.shape[1]))]))
            return len(self) - 1
        oldest = self.guests.pop(next(iter(self.guests)))
        for array in (self.memory, self.daily, self.ring):
            array[oldest] = 0.0
        return oldest

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the state as arrays."""
        texts = np.array([list(one) for one in self.guests], dtype=np.str_).reshape(-1, 2)
        seats = np.array(list(self.guests.values()), dtype=np.int64)
        return {"memory": self.memory, "daily": self.daily, "ring": self.ring, "guests": texts, "guest_seats": seats}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> "FleetState":
        """Return the state that `to_arrays` wrote."""
        guests = [Series(str(site), str(metric)) for site, metric in arrays["guests"]]
        seats = dict(zip(guests, map(int, arrays["guest_seats"]), strict=True))
        return cls(arrays["memory"], arrays["daily"], arrays["ring"], seats)
