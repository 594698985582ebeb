"""Arrays in JSON, without loss."""

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(array: NDArray[Any]) -> dict[str, Any]:
    """Return an array of numbers as a JSON document."""
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return {"type": plain.dtype.str, "shape": list(array.shape), "data": base64.b64encode(plain.tobytes()).decode()}


def unpack(document: dict[str, Any]) -> NDArray[Any]:
    """Return the array that `pack` was given."""
    raw = np.frombuffer(base64.b64decode(document["data"]), dtype=document["type"])
    return raw.reshape(document["shape"]).copy()
