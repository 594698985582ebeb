"""The arguments of a run, checked against what the pipeline takes before anything starts."""

import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from vigil.errors import ContractError
from vigil.orchestration.ir import CompiledPipeline, Kind, Parameter

_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.TEXT: (str,),
    Kind.INTEGER: (int,),
    Kind.NUMBER: (int, float),
    Kind.BOOLEAN: (bool,),
    Kind.LIST: (list,),
    Kind.STRUCT: (dict,),
}
_WORDS = {
    Kind.TEXT: "text",
    Kind.INTEGER: "a whole number",
    Kind.NUMBER: "a number",
    Kind.BOOLEAN: "true or false",
    Kind.LIST: "a JSON list",
    Kind.STRUCT: "a JSON object",
}


def checked_arguments(pipeline: CompiledPipeline, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that the pipeline takes, or raise ContractError that names the parameter."""
    for name in given:
        if name not in pipeline.parameters:
            raise ContractError(_unknown(pipeline, name))
    for parameter in pipeline.parameters.values():
        if parameter.required and parameter.name not in given:
            raise ContractError(f"pipeline {pipeline.name} needs {_described(parameter)}")
    for name, value in given.items():
        _check(pipeline.parameters[name], value)
    return dict(given)


def parsed_arguments(pipeline: CompiledPipeline, pairs: Iterable[str]) -> dict[str, Any]:
    """Return the values of NAME=VALUE pairs, each read as the type that the pipeline wants."""
    values: dict[str, Any] = {}
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign:
            raise ContractError(f"{pair!r} is not NAME=VALUE")
        if name in values:
            raise ContractError(f"parameter {name} is given twice")
        if name not in pipeline.parameters:
            raise ContractError(_unknown(pipeline, name))
        values[name] = _parsed(pipeline.parameters[name], text)
    return values


def _parsed(parameter: Parameter, text: str) -> Any:  # noqa: ANN401 - any JSON value
    if parameter.kind is Kind.TEXT:
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise ContractError(_wrong(parameter, text)) from None


def _check(parameter: Parameter, value: object) -> None:
    is_wrong_bool = isinstance(value, bool) and parameter.kind is not Kind.BOOLEAN
    is_infinite = isinstance(value, float) and not math.isfinite(value)
    if is_wrong_bool or is_infinite or not isinstance(value, _TYPES[parameter.kind]):
        raise ContractError(_wrong(parameter, value))


def _wrong(parameter: Parameter, value: object) -> str:
    shown = value if isinstance(value, str) else json.dumps(value)
    return f"parameter {parameter.name} must be {_WORDS[parameter.kind]}, got {shown[:80]}"


def _described(parameter: Parameter) -> str:
    text = f"parameter {parameter.name} ({_WORDS[parameter.kind]})"
    return f"{text}: {parameter.description}" if parameter.description else text


def _unknown(pipeline: CompiledPipeline, name: str) -> str:
    near = difflib.get_close_matches(name, pipeline.parameters, n=1)
    hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(pipeline.parameters)) or 'none'}"
    return f"pipeline {pipeline.name} has no parameter {name}: {hint}"
