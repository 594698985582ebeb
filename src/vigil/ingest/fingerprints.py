"""Hashes of ids and of whole events, a column at a time."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from vigil.ingest.conversions import to_mask

Hashes = npt.NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_NULL = np.uint64(0x5851F42D4C957F2D)
_WORD = 8
_LOW_BYTES = np.array([(1 << (8 * count)) - 1 for count in range(_WORD + 1)], np.uint64)


def _mix(values: Hashes) -> Hashes:
    """Return the finalizer of splitmix64: every bit of the input moves half of the output's."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def hash_texts(texts: pa.Array, seeds: tuple[int, ...] = (0,)) -> tuple[Hashes, ...]:
    """Return a 64-bit hash of each text for each seed; null counts as empty."""
    texts = pc.fill_null(texts, "")
    _, offsets_buffer, data = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    hashes = [_mix(lengths.astype(np.uint64) + np.uint64((seed + 1) * int(_GOLDEN) % 2**64)) for seed in seeds]
    longest = int(lengths.max(initial=0))
    if not longest:
        return tuple(hashes)
    words_at = _words_at(np.frombuffer(data, np.uint8))
    for start in range(0, longest, _WORD):
        left = np.clip(lengths - start, 0, _WORD).astype(np.uint64)
        words = words_at[np.minimum(offsets[:-1] + start, len(words_at) - 1)] & _LOW_BYTES[left]
        hashes = [_mix(one ^ words) for one in hashes]
    return tuple(hashes)


def _words_at(data: npt.NDArray[np.uint8]) -> Hashes:
    """Return a view that holds at each place the eight bytes from there as one number."""
    padded = np.append(data, np.zeros(_WORD, np.uint8))
    return np.ndarray((len(data) + 1,), "<u8", padded.data, strides=(1,))


def hash_column(column: pa.Array) -> Hashes:
    """Return a 64-bit hash of each value: of what it says, not of how it is stored."""
    if pa.types.is_dictionary(column.type):
        if not len(column.dictionary):
            return np.full(len(column), _NULL)
        codes = pc.fill_null(column.indices, 0).to_numpy(zero_copy_only=False)
        hashes = hash_texts(column.dictionary)[0][codes]
    elif pa.types.is_string(column.type):
        (hashes,) = hash_texts(column)
    else:
        hashes = _mix(_bits(column) + _GOLDEN)
    return np.where(to_mask(column.is_null()), _NULL, hashes) if column.null_count else hashes


def _bits(column: pa.Array) -> Hashes:
    if pa.types.is_floating(column.type):
        return np.asarray(pc.fill_null(column, 0.0).to_numpy(zero_copy_only=False)).view(np.uint64)
    numbers = column.cast(pa.int64() if pa.types.is_timestamp(column.type) else pa.int16()).cast(pa.int64())
    return np.asarray(pc.fill_null(numbers, 0).to_numpy(zero_copy_only=False)).view(np.uint64)


def hash_contents(events: pa.RecordBatch) -> Hashes:
    """Return a 64-bit hash of each event over all of its fields but the id."""
    hashes = np.zeros(events.num_rows, np.uint64)
    for name, column in zip(events.schema.names, events.columns, strict=True):
        if name != "event_id":
            all_null = column.null_count == len(column)
            hashes = _mix(hashes * _GOLDEN ^ (_NULL if all_null else hash_column(column)))
    return hashes
