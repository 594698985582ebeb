"""Categories of which many are rare, and categories that nobody has seen."""

import numpy as np

from vigil.monitoring.detectors.categories import CategoryColumn


def zipf(generator: np.random.Generator, rows: int) -> list[str | None]:
    return [f"merchant {k}" for k in generator.zipf(1.5, rows)]


def test_a_long_tail_of_categories_alarms_as_often_as_it_should() -> None:
    generator = np.random.default_rng(0)
    found = []
    for _ in range(40):
        column = CategoryColumn.of(zipf(generator, 1_000))
        found += [column.compare(zipf(generator, 200), None)[1] for _ in range(10)]
    # counting every rare category alarms on .15 of the windows; 400 windows with 40 references
    assert np.mean(np.array(found) < 0.05) < 0.09


def test_new_names_are_no_change_where_names_are_always_new() -> None:
    known = [f"customer {k}" for k in range(2_000)]
    given = [f"customer {k}" for k in range(5_000, 5_400)]
    assert CategoryColumn.of(known).compare(given, None)[1] > 0.01


def test_a_new_category_is_found_by_a_few_rows() -> None:
    generator = np.random.default_rng(1)
    column = CategoryColumn.of(generator.choice(["a", "b"], 5_000).tolist())
    given = [*generator.choice(["a", "b"], 490).tolist(), *["c"] * 10]
    assert column.compare(given, None)[1] < 1e-6


def test_a_shift_among_usual_categories_is_found_beside_many_rare_ones() -> None:
    generator = np.random.default_rng(2)
    column = CategoryColumn.of(zipf(generator, 2_000))
    given = [
        "merchant 2" if entry == "merchant 1" and k % 3 == 0 else entry for k, entry in enumerate(zipf(generator, 400))
    ]
    assert column.compare(given, None)[1] < 1e-4


def test_weights_take_a_season_of_the_reference() -> None:
    generator = np.random.default_rng(3)
    day = generator.choice(["a", "b"], 500, p=[0.9, 0.1]).tolist()
    night = generator.choice(["a", "b"], 500, p=[0.1, 0.9]).tolist()
    column = CategoryColumn.of([*day, *night])
    given = generator.choice(["a", "b"], 300, p=[0.9, 0.1]).tolist()
    assert column.compare(given, None)[1] < 1e-10
    assert column.compare(given, np.repeat([1.0, 0.0], 500))[1] > 0.01
