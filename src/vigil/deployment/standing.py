"""How an InferenceService stands, read from its status and from the revision that was created last."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vigil.contracts.keys import ContentHash
from vigil.deployment.template import MODE, template_hash
from vigil.errors import ContractError

_MODES = ("Knative", "Serverless")


@dataclass(frozen=True)
class Standing:
    """The revisions of an InferenceService and their traffic."""

    created: str | None
    """The revision of the newest template that the controller has seen."""
    ready: str | None
    """The newest revision that can serve."""
    rolled_out: str | None
    """The revision that had all traffic last."""
    traffic: dict[str, int]
    url: str | None
    is_ready: bool
    complaint: str | None
    """What the conditions say is wrong, where they say so."""


def read_standing(service: Mapping[str, Any]) -> Standing:
    """Return the standing of an InferenceService in Knative mode; another mode is refused."""
    check_mode(service)
    status = service.get("status") or {}
    component = (status.get("components") or {}).get("predictor") or {}
    traffic: dict[str, int] = {}
    for target in component.get("traffic") or ():
        name = target.get("revisionName") or component.get("latestReadyRevision")
        if name:
            traffic[name] = traffic.get(name, 0) + int(target.get("percent") or 0)
    conditions = {item["type"]: item for item in status.get("conditions") or ()}
    return Standing(
        created=component.get("latestCreatedRevision"),
        ready=component.get("latestReadyRevision"),
        rolled_out=component.get("latestRolledoutRevision"),
        traffic=traffic,
        url=status.get("url") or component.get("url"),
        is_ready=conditions.get("Ready", {}).get("status") == "True",
        complaint=complaint_of(conditions),
    )


def check_mode(service: Mapping[str, Any]) -> None:
    """Refuse an InferenceService in whose mode KServe ignores `canaryTrafficPercent`, silently."""
    metadata, status = service["metadata"], service.get("status") or {}
    asked = (metadata.get("annotations") or {}).get(MODE)
    for mode in filter(None, (asked, status.get("deploymentMode"))):
        if mode not in _MODES:
            raise ContractError(
                f"InferenceService {metadata['name']} runs in mode {mode}, where a canary gets no traffic; the mode of "
                "a live one cannot be changed: delete it and deploy again"
            )


def complaint_of(conditions: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return what the failed conditions say, each once."""
    failed = [item for item in conditions.values() if item.get("status") == "False"]
    texts = [": ".join(filter(None, (item.get("reason"), item.get("message")))) or str(item["type"]) for item in failed]
    return "; ".join(dict.fromkeys(texts)) or None


def is_made_from(revision: Mapping[str, Any] | None, template: ContentHash) -> bool:
    """Return whether a revision was made from this template."""
    return revision is not None and template_hash(revision) == template
