from pathlib import Path

from tests.benchmarks.readme import README, render


def test_the_numbers_in_the_readme_are_those_of_the_benchmarks() -> None:
    assert render() in README.read_text(), "run `python -m tests.benchmarks.readme --write`"


def test_the_readme_names_no_path_of_a_machine() -> None:
    for page in (README, *Path(README).parent.glob("docs/*.md")):
        assert "/work/" not in page.read_text()
