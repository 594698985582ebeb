"""Randomness by name: every stream and every row's draw follow from the seed and from what they are for, nothing else.

Because no stream is shared, adding, changing or removing one thing cannot shift the numbers of another.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ids = npt.NDArray[np.uint64]
_HEX = np.array([f"{byte:02x}".encode() for byte in range(256)], dtype="S2").view(np.uint16)


def key_of(seed: int, *path: str | int) -> int:
    """Return 64 bits for the thing that `path` names."""
    name = "\x1f".join(map(str, (seed, *path))).encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")


def stream(seed: int, *path: str | int) -> np.random.Generator:
    """Return a generator for the thing that `path` names."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence([key_of(seed, *path)])))


def mix(numbers: Ids, key: int) -> Ids:
    """Return `numbers` scrambled under `key`: different numbers stay different (splitmix64's finalizer)."""
    z = numbers + np.uint64(key)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def uniform(rows: Ids, key: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) for each row id: of that row and `key` only, whatever other rows there are."""
    return (mix(rows, key) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def id_strings(prefix: str, rows: Ids) -> pa.StringArray:
    """Return `prefix` and 16 hexadecimal digits for each row id; strings sort as the ids do."""
    head = prefix.encode("ascii")
    width = len(head) + 16
    text = np.empty((len(rows), width), dtype=np.uint8)
    text[:, : len(head)] = np.frombuffer(head, dtype=np.uint8)
    text[:, len(head) :] = _HEX[rows.astype(">u8").view(np.uint8)].view(np.uint8).reshape(-1, 16)
    offsets = np.arange(len(rows) + 1, dtype=np.int32) * np.int32(width)
    return pa.StringArray.from_buffers(len(rows), pa.py_buffer(offsets), pa.py_buffer(text))
