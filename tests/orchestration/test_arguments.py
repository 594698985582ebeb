"""Arguments are checked before anything starts, and the parameter is named."""

import pytest

from vigil.errors import ContractError
from vigil.orchestration.arguments import checked_arguments, parsed_arguments


def test_each_value_is_read_as_the_type_of_its_parameter(compiled: dict) -> None:
    pairs = ["count=3", "ratio=2", "flag=true", 'names=["x", "y=z"]', 'options={"a": null}']
    values = parsed_arguments(compiled["typed"], pairs)
    assert values == {"count": 3, "ratio": 2, "flag": True, "names": ["x", "y=z"], "options": {"a": None}}
    assert checked_arguments(compiled["typed"], values) == values


def test_text_is_taken_as_it_is(compiled: dict) -> None:
    pairs = ["greeting=12=13", "note="]
    assert parsed_arguments(compiled["small"], pairs) == {"greeting": "12=13", "note": ""}


@pytest.mark.parametrize(
    ("pairs", "complaint"),
    [
        (["count"], "'count' is not NAME=VALUE"),
        (["count=three"], "parameter count must be a whole number, got three"),
        (["count=1.5"], "parameter count must be a whole number, got 1.5"),
        (["count=true"], "parameter count must be a whole number, got true"),
        (["count=1", "ratio=NaN"], "parameter ratio must be a number, got NaN"),
        (["count=1", "flag=1"], "parameter flag must be true or false, got 1"),
        (["count=1", "names={}"], "parameter names must be a JSON list, got {}"),
        (["count=1", "options=[]"], "parameter options must be a JSON object"),
        (["count=1", "count=2"], "parameter count is given twice"),
        (["cuont=1"], "no parameter cuont: did you mean count?"),
        (["zzz=1"], "no parameter zzz: it takes count, flag, names, options, ratio"),
        ([], r"pipeline typed needs parameter count \(a whole number\)"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(compiled: dict, pairs: list[str], complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        checked_arguments(compiled["typed"], parsed_arguments(compiled["typed"], pairs))
