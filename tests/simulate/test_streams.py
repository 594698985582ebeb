import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vigil.simulate.streams import id_strings, key_of, mix, stream, uniform

NUMBERS = st.lists(st.integers(0, 2**64 - 1), unique=True, max_size=50)
KEYS = st.integers(0, 2**64 - 1)


@given(NUMBERS, KEYS)
def test_different_numbers_stay_different(numbers: list[int], key: int) -> None:
    mixed = mix(np.array(numbers, dtype=np.uint64), key)
    assert len(set(mixed.tolist())) == len(numbers)


@given(NUMBERS, KEYS)
def test_a_row_draws_the_same_whatever_other_rows_there_are(numbers: list[int], key: int) -> None:
    rows = np.array(numbers, dtype=np.uint64)
    alone = [uniform(rows[at : at + 1], key)[0] for at in range(len(rows))]
    assert uniform(rows, key).tolist() == alone


@given(NUMBERS)
def test_ids_are_the_hexadecimal_number_after_the_prefix(numbers: list[int]) -> None:
    ids = id_strings("tx", np.array(numbers, dtype=np.uint64))
    assert ids.to_pylist() == [f"tx{number:016x}" for number in numbers]


def test_draws_of_rows_are_uniform() -> None:
    draws = uniform(np.arange(100_000, dtype=np.uint64), key_of(1, "a"))
    counts = np.histogram(draws, bins=50, range=(0, 1))[0]
    assert ((counts - 2_000) ** 2 / 2_000).sum() < 85  # chi-square with 49 degrees of freedom, p = 0.001


def test_draws_for_different_purposes_are_unrelated() -> None:
    rows = np.arange(100_000, dtype=np.uint64)
    first, second = (uniform(rows, key_of(1, "incident", "x", purpose)) for purpose in ("hit", "mix"))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.01


def test_streams_differ_by_every_part_of_their_name() -> None:
    names = [(1, "a", 1), (1, "a", 2), (1, "b", 1), (2, "a", 1), (1, "a", "1", ""), (1, "a1")]
    assert len({float(stream(*name).random()) for name in names}) == len(names)
