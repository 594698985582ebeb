"""A decider as the parts of a bundle, and back."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from vigil.contracts.keys import canonical_json
from vigil.decisions.decider import Decider
from vigil.decisions.policy import DecisionPolicy
from vigil.ensemble.model import Ensemble, restore_ensemble
from vigil.errors import ContractError
from vigil.evaluation.thresholds import Thresholds
from vigil.features.schema import FeatureSchema
from vigil.registry.bundle import Bundle

THRESHOLDS = "thresholds.json"
"""The part of a bundle that holds its thresholds."""

_SCHEMA, _POLICY = "feature_schema.json", "policy.json"

_Model = TypeVar("_Model", bound=BaseModel)


def model_parts(
    ensemble: Ensemble, schema: FeatureSchema, thresholds: Thresholds, policy: DecisionPolicy
) -> dict[str, bytes]:
    """Return everything that decides as parts of a bundle, by name; the same model has the same bytes."""
    missing = sorted(set(ensemble.feature_names) - set(schema.names))
    if missing:
        raise ContractError(f"a member needs the feature {missing[0]}, which the schema does not have")
    documents = {_SCHEMA: schema, THRESHOLDS: thresholds, _POLICY: policy}
    parts = {name: canonical_json(model.model_dump(mode="json")) for name, model in documents.items()}
    return {**ensemble.to_files(), **parts}


def load_decider(bundle: Bundle) -> Decider:
    """Return the model that a verified bundle holds, or raise ContractError naming the part that is wrong."""
    schema = _parse(bundle, _SCHEMA, FeatureSchema)
    schema.check(bundle.metadata.feature_schema)
    return Decider(
        bundle=bundle.hash,
        schema=schema,
        ensemble=restore_ensemble({name: bundle.read(name) for name in bundle.names}),
        thresholds=_parse(bundle, THRESHOLDS, Thresholds),
        policy=_parse(bundle, _POLICY, DecisionPolicy),
    )


def _parse(bundle: Bundle, name: str, model: type[_Model]) -> _Model:
    try:
        return model.model_validate_json(bundle.read(name))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ContractError(f"{name} of bundle {bundle.hash}, {where}: {first['msg']}") from error
