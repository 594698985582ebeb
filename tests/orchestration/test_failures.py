"""What is taken from the log of a step that failed."""

import pytest

from vigil.orchestration.failures import last_error, without_noise


def traceback(*ending: str) -> list[str]:
    return ["said before", "Traceback (most recent call last):", '  File "x.py", line 1, in f', "    g()", *ending]


@pytest.mark.parametrize(
    ("ending", "kind", "text"),
    [
        (["ValueError: 17 is no date"], "ValueError", "17 is no date"),
        (["pkg.errors.Odd: a: b: c"], "pkg.errors.Odd", "a: b: c"),
        (
            ["vigil.errors.ContractError: first line", "second line"],
            "vigil.errors.ContractError",
            "first line second line",
        ),
        (["ValueError: first line", "second line"], "ValueError", "first line"),
        (["KeyboardInterrupt"], None, ""),
        ([], None, ""),
    ],
)
def test_type_and_text_of_the_last_exception(ending: list[str], kind: str | None, text: str) -> None:
    assert last_error(traceback(*ending)) == (kind, text)


def test_of_exceptions_that_cause_each_other_the_last_counts() -> None:
    lines = [
        *traceback("KeyError: 'a'"),
        "",
        "The above exception was the direct cause",
        "",
        *traceback("ValueError: b"),
    ]
    assert last_error(lines) == ("ValueError", "b")


def test_without_a_traceback_there_is_no_exception() -> None:
    assert last_error(["ValueError: only talked about"]) == (None, "")


def test_what_looks_like_noise_but_is_the_steps_own_stays() -> None:
    lines = ["{", '  "a": 1', "}", "--- 5 ---", "[KFP] is fine", "  File by me", "    indented"]
    assert without_noise(lines) == lines


def test_the_input_that_kfp_prints_is_left_out_whole() -> None:
    lines = [
        "[KFP Executor 2026-11-25 22:40:27,198 INFO]: Got executor_input:",
        "{",
        '    "inputs": {',
        "    }",
        "}",
        "\x1b[91mmine\x1b[0m",
    ]
    assert without_noise(lines) == ["mine"]
