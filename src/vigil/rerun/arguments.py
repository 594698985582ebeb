"""The arguments of a rerun: the cause and the event, the rules of the model, and what the last run of it was given."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vigil.errors import ContractError
from vigil.orchestration.filling import Purpose, Wanted, filled_arguments
from vigil.orchestration.ir import CompiledPipeline, load_pipeline
from vigil.rerun.records import Rerun
from vigil.rerun.settings import ModelRules, Then


@dataclass(frozen=True)
class Prepared:
    """A pipeline and what it is given."""

    pipeline: CompiledPipeline
    arguments: dict[str, Any]


def prepare(rerun: Rerun, rules: ModelRules, runs: Path, where: str, purpose: Purpose) -> Prepared:
    """Return the run of a record, or raise ContractError that says which setting is missing."""
    pipeline = load_pipeline(_file(rules.pipeline))
    last = _last_arguments(runs, rerun.asked.model) if purpose is Purpose.HERE else {}
    given = {
        "cause": rerun.asked.why,
        "event_id": rerun.asked.event_id,
        "started_by": rerun.asked.started_by,
        "use_case": _use_case(rerun.asked.model, rules, last) if "use_case" in pipeline.parameters else None,
        "raw_uri": rules.data or last.get("raw_uri"),
        "source": rules.source or (last.get("source") if not rules.data else None),
        "deploy_target": None if _is_deployed(rules, purpose) else "none",
        **rules.parameters,
    }
    if given["raw_uri"] is None and _needs(pipeline, "raw_uri"):
        raise ContractError(
            f"there is no data to train {rerun.asked.model} on: give `data` for it in the file of --config, or run"
            " `vigil pipeline run training` here once"
        )
    pairs = tuple(f"{name}={value}" for name, value in given.items() if value and name in pipeline.parameters)
    wanted = Wanted(pairs=pairs, where=where)
    return Prepared(pipeline, filled_arguments(pipeline, wanted, purpose))


def _is_deployed(rules: ModelRules, purpose: Purpose) -> bool:
    """Return whether the pipeline itself deploys what it registers."""
    return (rules.then or (Then.ROLLOUT if purpose is Purpose.HERE else Then.DEPLOY)) is Then.DEPLOY


def _needs(pipeline: CompiledPipeline, name: str) -> bool:
    return name in pipeline.parameters and pipeline.parameters[name].required


def _use_case(model: str, rules: ModelRules, last: Mapping[str, Any]) -> str:
    from vigil.usecase import load_use_case, use_case_names  # takes seconds

    if rules.use_case is not None:
        return load_use_case(rules.use_case).text
    if "use_case" in last:
        return str(last["use_case"])
    if model in use_case_names():
        return load_use_case(model).text
    raise ContractError(f"no use case is known for model {model}: give `use_case` for it in the file of --config")


def _file(pipeline: str) -> Path:
    path = Path(pipeline)
    if path.suffix in (".yaml", ".yml"):
        return path
    from vigil.usecase import shipped

    return shipped("compiled") / f"{pipeline}.yaml"


def _last_arguments(runs: Path, model: str) -> dict[str, Any]:
    """Return what the last run of the model on this machine was given; nothing if there was none."""
    for record in sorted(runs.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            found: dict[str, Any] = json.loads((record.parent / "arguments.json").read_text(encoding="utf-8"))
            if json.loads(found["use_case"])["name"] == model:
                return found
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return {}
