"""What every detector has to do, ours and those of Alibi Detect."""

from dataclasses import replace

import numpy as np
import pytest

from vigil.errors import ContractError
from vigil.monitoring.port import ALL_COLUMNS, Columns, Detector, FittedDetector

from .subjects import (
    NAMES,
    ONLY_CATEGORIES,
    ONLY_NUMBERS,
    chance,
    made,
    marked,
    of,
    shifted,
    usual_rows,
    with_categories,
    with_gaps,
    with_numbers,
)

every_detector = pytest.mark.parametrize("name", marked())


def fitted(name: str, seed: int = 0) -> FittedDetector:
    return made(name).fit(usual_rows(name, 1_000, seed))


@every_detector
def test_it_fulfils_the_port_and_tests_each_column_once(name: str) -> None:
    detector = made(name)
    reference = usual_rows(name, 1_000, 0)
    ready = detector.fit(reference)
    tests = ready.test(usual_rows(name, 200, 1))
    assert isinstance(detector, Detector)
    assert isinstance(ready, FittedDetector)
    assert detector.name == ready.name == name
    expected = [ALL_COLUMNS] if detector.joint else [*reference.numbers, *reference.categories]
    assert [test.column for test in tests] == expected


@every_detector
def test_without_a_change_it_alarms_about_as_often_as_it_says(name: str) -> None:
    chances = []
    for seed in range(10 if name == "alibi_classifier" else 20):
        ready = fitted(name, seed)
        for k in range(10):
            chances += [test.p_value for test in ready.test(usual_rows(name, 200, 1_000 + 10 * seed + k))]
    small, half = np.mean(np.array(chances) < 0.05), np.mean(np.array(chances) < 0.5)
    # of 100 windows or more: two and a half standard errors of a share of .05 are .055
    assert small < 0.11
    assert 0.3 < half < 0.68


@every_detector
def test_it_finds_a_change_and_finds_it_in_the_right_column(name: str) -> None:
    window, column = shifted(usual_rows(name, 400, 1))
    tests = fitted(name).test(window)
    assert chance(tests, column) < 1e-4
    assert all(test.p_value > 1e-4 for test in tests if test.column not in (column, ALL_COLUMNS))


@every_detector
def test_a_missing_value_does_not_hide_a_change(name: str) -> None:
    window, column = shifted(usual_rows(name, 400, 1))
    assert chance(fitted(name).test(with_gaps(window, column, 100)), column) < 1e-4


@every_detector
def test_missing_values_in_the_reference_do_not_hide_a_change(name: str) -> None:
    window, column = shifted(usual_rows(name, 400, 1))
    ready = made(name).fit(with_gaps(usual_rows(name, 1_000, 0), column, 50))
    assert chance(ready.test(window), column) < 1e-4


@every_detector
def test_values_that_go_missing_are_found_as_missing(name: str) -> None:
    usual = usual_rows(name, 400, 1)
    column = "channel" if name in ONLY_CATEGORIES else "amount"
    test = of(fitted(name).test(with_gaps(usual, column, 10)), column)
    assert test.missing_p_value < 1e-6
    assert of(fitted(name).test(usual), column).missing_p_value == 1.0


@every_detector
def test_a_column_that_is_missing_altogether_is_found_as_missing(name: str) -> None:
    column = "channel" if name in ONLY_CATEGORIES else "amount"
    test = of(fitted(name).test(with_gaps(usual_rows(name, 400, 1), column, 1)), column)
    assert test.missing_p_value < 1e-50
    assert 0.0 <= test.p_value <= 1.0


@every_detector
def test_a_column_that_was_missing_in_the_reference_may_come_up(name: str) -> None:
    column = "channel" if name in ONLY_CATEGORIES else "amount"
    ready = made(name).fit(with_gaps(usual_rows(name, 1_000, 0), column, 1))
    assert of(ready.test(usual_rows(name, 400, 1)), column).missing_p_value < 1e-50


@every_detector
def test_the_order_of_the_columns_does_not_matter(name: str) -> None:
    window, _ = shifted(usual_rows(name, 200, 1))
    turned = Columns(dict(reversed(window.numbers.items())), dict(reversed(window.categories.items())), window.time)
    ready = fitted(name)
    assert ready.test(turned) == ready.test(window)


@every_detector
def test_the_order_of_the_rows_does_not_matter_to_a_test_of_columns(name: str) -> None:
    if made(name).joint:
        pytest.skip("the classifier splits rows into two parts")
    window = usual_rows(name, 200, 1)
    rows = np.arange(199, -1, -1)
    turned = replace(window.take(rows), time=window.time)
    ready = fitted(name)
    assert [test.p_value for test in ready.test(turned)] == pytest.approx([t.p_value for t in ready.test(window)])


@every_detector
def test_it_leaves_the_reference_and_the_window_as_they_were(name: str) -> None:
    reference, window = usual_rows(name, 1_000, 0), usual_rows(name, 200, 1)
    made(name).fit(reference).test(window)
    for given, again in ((reference, usual_rows(name, 1_000, 0)), (window, usual_rows(name, 200, 1))):
        assert given.categories == again.categories
        assert all(np.array_equal(given.numbers[key], again.numbers[key]) for key in again.numbers)


@every_detector
def test_it_keeps_no_hold_of_the_reference(name: str) -> None:
    reference, window = usual_rows(name, 1_000, 0), usual_rows(name, 200, 1)
    ready = made(name).fit(reference)
    for values in reference.numbers.values():
        values[:] = 7.0
    assert ready.test(window) == fitted(name).test(window)


@every_detector
def test_the_same_rows_give_the_same_answer(name: str) -> None:
    window = usual_rows(name, 200, 1)
    ready = fitted(name)
    assert ready.test(window) == ready.test(window) == fitted(name).test(window)


@every_detector
def test_a_constant_column_is_no_change_until_it_changes(name: str) -> None:
    if name in ONLY_CATEGORIES:
        ready = made(name).fit(with_categories(usual_rows(name, 1_000, 0), town=["one"] * 1_000))
        same = with_categories(usual_rows(name, 200, 1), town=["one"] * 200)
        other, column = with_categories(same, town=["two"] * 200), "town"
    else:
        ready = made(name).fit(with_numbers(usual_rows(name, 1_000, 0), age=np.full(1_000, 3.0)))
        same = with_numbers(usual_rows(name, 200, 1), age=np.full(200, 3.0))
        other, column = with_numbers(same, age=np.full(200, 4.0)), "age"
    assert chance(ready.test(same), column) > 0.01
    assert chance(ready.test(other), column) < 1e-6


@every_detector
def test_a_missing_column_is_refused_by_name(name: str) -> None:
    window = usual_rows(name, 200, 1)
    column = [*window.numbers, *window.categories][-1]
    names = {*window.numbers, *window.categories} - {column}
    with pytest.raises(ContractError, match=f"lacks the column {column}"):
        fitted(name).test(window.only(names))


@every_detector
def test_an_unknown_column_is_refused_by_name(name: str) -> None:
    window = usual_rows(name, 200, 1)
    wider = (
        with_categories(window, colour=["red"] * 200)
        if name in ONLY_CATEGORIES
        else with_numbers(window, colour=np.zeros(200))
    )
    with pytest.raises(ContractError, match="colour that the reference lacks"):
        fitted(name).test(wider)


@every_detector
def test_a_column_of_another_type_is_refused_by_name(name: str) -> None:
    window = usual_rows(name, 200, 1)
    if name in ONLY_CATEGORIES:
        moved = Columns({"town": np.zeros(200)}, {"channel": window.categories["channel"]}, window.time)
        expected = "town of the window is a number"
    else:
        rest = {key: values for key, values in window.numbers.items() if key != "age"}
        moved = Columns(rest, {**window.categories, "age": ["forty"] * 200}, window.time)
        expected = "age of the window is a category"
    with pytest.raises(ContractError, match=expected):
        fitted(name).test(moved)


@every_detector
def test_entries_that_are_no_numbers_or_texts_are_refused_by_name(name: str) -> None:
    window = usual_rows(name, 200, 1)
    if name in ONLY_CATEGORIES:
        wrong, column = with_categories(window, town=[1.5] * 200), "town"  # type: ignore[list-item]
    else:
        wrong, column = with_numbers(window, age=np.array(["forty"] * 200)), "age"
    with pytest.raises(ContractError, match=f"column {column} of the window"):
        fitted(name).test(wrong)


@every_detector
@pytest.mark.parametrize("rows", [0, 1, 19])
def test_too_few_rows_are_refused_and_counted(name: str, rows: int) -> None:
    with pytest.raises(ContractError, match=f"the window has {rows} rows: at least 20"):
        fitted(name).test(usual_rows(name, rows, 1))


@every_detector
def test_columns_of_unequal_length_are_refused_by_name(name: str) -> None:
    window = usual_rows(name, 200, 1)
    if name in ONLY_CATEGORIES:
        ragged, column = with_categories(window, town=["one"] * 199), "town"
    else:
        ragged, column = with_numbers(window, age=np.zeros(199)), "age"
    with pytest.raises(ContractError, match=f"column {column} of the window has 199 entries for 200"):
        fitted(name).test(ragged)


@every_detector
def test_a_reference_of_too_few_rows_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="the reference has 5 rows"):
        made(name).fit(usual_rows(name, 5, 0))


@every_detector
def test_a_reference_without_columns_is_refused(name: str) -> None:
    with pytest.raises(ContractError, match="no columns"):
        made(name).fit(Columns({}, {}, np.arange(100)))


@pytest.mark.parametrize("name", marked([n for n in NAMES if n in ONLY_NUMBERS | ONLY_CATEGORIES]))
def test_a_kind_that_it_does_not_compare_is_refused_by_name(name: str) -> None:
    with pytest.raises(ContractError, match=r"compares (numbers|categories) only.*choose tabular"):
        made(name).fit(usual_rows("tabular", 1_000, 0))


@pytest.mark.parametrize("name", marked([n for n in NAMES if n not in ONLY_NUMBERS]))
def test_a_category_that_the_reference_lacks_is_counted(name: str) -> None:
    usual = usual_rows(name, 400, 1)
    new = ["kiosk" if k % 4 == 0 else entry for k, entry in enumerate(usual.categories["channel"])]
    tests = fitted(name).test(with_categories(usual, channel=new))
    if tests[0].column != ALL_COLUMNS:  # the classifier sees only that the known ones have become fewer
        assert chance(tests, "channel") < 1e-6


@pytest.mark.parametrize("name", marked([n for n in NAMES if n not in ONLY_NUMBERS | {"alibi_classifier"}]))
def test_rare_categories_do_not_alarm(name: str) -> None:
    alarms = 0
    for seed in range(20):
        ready = fitted(name, seed)
        tests = [ready.test(usual_rows(name, 200, 500 + 5 * seed + k)) for k in range(5)]
        alarms += sum(chance(test, "town") < 0.05 for test in tests)
    assert alarms <= 13  # of 100; 5 expected, counting each rare category alarms on 15
