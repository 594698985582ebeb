"""The compiler's settings, and a type for what it returns."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Return the function compiled on first use and cached on disk; it releases the GIL and keeps IEEE arithmetic.

    Without fast-math the compiler neither reorders a sum nor fuses a multiplication with an addition: the bits are the
    same on every machine.
    """
    return cast(F, numba.njit(cache=True, nogil=True, error_model="numpy")(function))
