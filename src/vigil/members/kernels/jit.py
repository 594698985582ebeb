"""The compiler's settings, and a type for what it returns."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Return the function compiled on first use and cached on disk; it releases the GIL and keeps IEEE arithmetic.

    Without fast-math the compiler neither reorders a sum nor fuses a multiplication with an addition: the bits are the
    same on every machine.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))


class Bound:
    """A kernel for one object's tuples of arrays: calls go to the machine code at once.

    The dispatcher of numba 0.59 keys a tuple of many arrays by memory that it did not initialise. Nearly every call in
    a busy process would be typed anew, which takes ten times as long as to score a row, and would be remembered for
    ever. Of plain arrays only the type of the elements may differ from call to call; they are C-contiguous.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function: Any = function
        self._entries: dict[tuple[str | None, ...], Callable[..., Any]] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Return what the kernel returns."""
        key = tuple(item.dtype.char if type(item) is np.ndarray else None for item in arguments)
        entry = self._entries.get(key)
        if entry is None:
            entry = self._function.compile(tuple(_type_of(item) for item in arguments))
            self._entries[key] = entry
        return entry(*arguments)


def _type_of(item: Any) -> Any:
    """Return numba's type of an argument; an array that may not be written counts as one that may."""
    if type(item) is np.ndarray and not item.flags.writeable:
        return numba.typeof(item.copy())
    return numba.typeof(item)
