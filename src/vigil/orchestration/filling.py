"""The arguments of a run that nobody wants to type: a use case by its name, hashes of data and code, who starts it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from vigil.errors import ContractError
from vigil.orchestration.arguments import parsed_arguments
from vigil.orchestration.ir import CompiledPipeline
from vigil.settings import login

_EACH_TIME = "[[schedule]]"
"""The server puts the time of the scheduled run in its place."""

_OPTIONS = {"use_case": "--use-case", "sites": "--use-case", "raw_uri": "--data", "source": "--source"}


class Purpose(StrEnum):
    """Where and how often the run will be."""

    HERE = "here"
    ONCE = "once"
    REPEATED = "repeated"


@dataclass(frozen=True)
class Wanted:
    """What somebody says about a run."""

    use_case: str | None = None
    data: str | None = None
    source: str | None = None
    pairs: tuple[str, ...] = ()
    """NAME=VALUE for any parameter; they win over all else."""
    cause: str = "started by hand"
    where: str = ""
    """Address at which people can look at the run, for the mail about its end."""


def filled_arguments(pipeline: CompiledPipeline, wanted: Wanted, purpose: Purpose) -> dict[str, Any]:
    """Return what was said and, of what the pipeline takes besides, what can be found out."""
    said = {**_of_options(pipeline, wanted), **parsed_arguments(pipeline, wanted.pairs)}
    for name, option in _OPTIONS.items():
        if name not in said and name in pipeline.parameters and pipeline.parameters[name].required:
            raise ContractError(f"pipeline {pipeline.name} needs {option}{_choices(name)}")
    found = {
        "started_by": f"person:{login()}",
        "cause": wanted.cause,
        "where": wanted.where,
        **_versions(said, purpose),
    }
    if purpose is not Purpose.HERE:
        found["deploy_target"] = "kserve"
    return said | {name: value for name, value in found.items() if name in pipeline.parameters and name not in said}


def _of_options(pipeline: CompiledPipeline, wanted: Wanted) -> dict[str, str]:
    about = "sites" if "sites" in pipeline.parameters else "use_case"
    values = {about: wanted.use_case or _default(about), "raw_uri": wanted.data, "source": wanted.source}
    given = {name: value for name, value in values.items() if value is not None}
    for name in given:
        if name not in pipeline.parameters:
            raise ContractError(f"pipeline {pipeline.name} takes no {_OPTIONS[name]}: see `vigil pipeline list`")
    return {name: _read(name, value) for name, value in given.items()}


def _default(about: str) -> str | None:
    """Return the name of the settings of sites: one fleet comes with Vigil, several use cases do."""
    if about != "sites":
        return None
    from vigil.training.sites.config import SHIPPED

    return SHIPPED


def _read(name: str, value: str) -> str:
    if name == "sites":
        from vigil.training.sites.config import load_sites

        return load_sites(value).text
    if name == "use_case":
        from vigil.usecase import load_use_case

        return load_use_case(value).text
    if name == "raw_uri" and "://" not in value:
        path = Path(value).absolute()
        if not path.exists():
            raise ContractError(f"--data: there is nothing at {path}")
        return str(path)
    return str(Path(value).absolute()) if name == "source" and Path(value).is_file() else value


def _choices(name: str) -> str:
    if name != "use_case":
        return " PATH"
    from vigil.usecase import use_case_names

    return f" NAME: {', '.join(use_case_names())}, or a YAML file of your own"


def _versions(said: Mapping[str, Any], purpose: Purpose) -> dict[str, str]:
    """Return what the server's cache has to know: its key holds parameters, but no content of files and packages.

    A schedule finds other data under the same name each time, so no run of it may take a result of another. Here
    nothing is cached.
    """
    if purpose is Purpose.HERE:
        return {"data_version": "", "code_version": ""}
    from vigil.registry.metadata import code_version

    code = code_version().sources
    if purpose is Purpose.REPEATED:
        return {"data_version": "", "code_version": f"{code} {_EACH_TIME}"}
    from vigil.training.raw import raw_hash

    raw = said.get("raw_uri")
    return {"data_version": raw_hash(str(raw)) if raw else "", "code_version": code}
