"""Each gate has a source that passes, and one that fails for one reason alone."""

from pathlib import Path

from tests.gates.imports import violations
from tests.gates.sizes import MAX_FUNCTION, excesses


def function(lines: int, parameters: int = 1, decorator: str = "") -> str:
    arguments = ", ".join(f"a{k}" for k in range(parameters))
    body = "\n".join(["    x = 0"] * (lines - 1))
    return (
        f'{decorator}\ndef f({arguments}):\n    """Text\n\n    that does not count."""\n    # nor does this\n{body}\n'
    )


def sizes_of(source: str) -> list[str]:
    return excesses(Path("src/vigil/some.py"), source)


def test_a_function_of_the_limit_passes_and_one_line_more_does_not() -> None:
    assert sizes_of(function(MAX_FUNCTION)) == []
    assert "f has 41 lines of code" in sizes_of(function(MAX_FUNCTION + 1))[0]


def test_six_parameters_pass_and_seven_do_not() -> None:
    assert sizes_of(function(3, parameters=6)) == []
    assert "f has 7 parameters" in sizes_of(function(3, parameters=7))[0]


def test_compiled_functions_may_take_more_parameters() -> None:
    assert sizes_of(function(3, parameters=9, decorator="@njit(cache=True)")) == []


def test_a_module_of_the_limit_passes_and_one_line_more_does_not() -> None:
    assert sizes_of("x = 0\n" * 400) == []
    assert "401 lines of code" in sizes_of("x = 0\n" * 401)[0]


def test_imports_to_the_left_pass_and_to_the_right_do_not() -> None:
    assert violations("features", "from vigil.contracts.events import Event") == []
    assert "features must not import serving" in violations("features", "from vigil.serving import app")[0]


def test_an_import_inside_a_function_counts() -> None:
    assert violations("ingest", "def f():\n    from vigil.features import log")[0].startswith("line 2")


def test_heavy_packages_stay_in_their_folder() -> None:
    assert violations("serving", "import kserve") == []
    assert "features must not import kserve" in violations("features", "import kserve.model")[0]


def test_a_new_folder_needs_a_place() -> None:
    assert violations("contracts", "import json") == []
    assert "extras has no place" in violations("extras", "import json")[0]
