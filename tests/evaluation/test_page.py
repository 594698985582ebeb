import pytest
from matplotlib.figure import Figure

from vigil.evaluation.page import number, percent
from vigil.figures import figure_svg


def _draw(figure: Figure) -> None:
    figure.add_subplot().plot([0, 1], [1, 0], label="a & b")


def test_a_figure_is_one_svg_element_with_a_label_for_screen_readers() -> None:
    svg = figure_svg(_draw, 'what "it" shows')
    assert svg.startswith('<svg role="img" aria-label="what &#34;it&#34; shows"')
    assert svg.rstrip().endswith("</svg>")


def test_a_figure_has_the_same_bytes_every_time() -> None:
    assert figure_svg(_draw, "x") == figure_svg(_draw, "x")


def test_a_figure_scales_with_the_page() -> None:
    opening = figure_svg(_draw, "x").split(">")[0]
    assert "viewBox" in opening
    assert " width=" not in opening


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (float("nan"), "n/a"),
        (0.0, "0"),
        (3, "3"),
        (1234567, "1,234,567"),
        (1234.5, "1,234"),
        (0.62834, "0.628"),
        (0.54, "0.540"),
        (7.4321, "7.43"),
        (73.4321, "73.4"),
        (173.4, "173"),
        (0.00472, "0.0047"),
        (-0.0051, "-0.0051"),
        (1.1e-7, "1.1e-07"),
    ],
)
def test_a_number_of_a_table_is_short_and_aligned(value: float | None, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "n/a"), (0.5, "50.0 %"), (1.0, "100 %"), (0.00042, "0.042 %")])
def test_a_share_of_a_table_is_a_percentage(value: float | None, text: str) -> None:
    assert percent(value) == text
