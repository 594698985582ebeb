"""CloudEvents as other parts send them."""

import uuid
from typing import Any

from tests.alerts.office import NOON
from vigil.alerts.findings import FINDING_EVENT, FINDINGS_EVENT, Finding, FindingBatch
from vigil.contracts.cloud_events import CloudEvent, new_event, to_binary, to_structured


def event(kind: str, content: object, identity: str | None = None) -> CloudEvent:
    return new_event(kind, "tests", content, NOON, identity or uuid.uuid4().hex)


def one_finding(finding: Finding) -> CloudEvent:
    return event(FINDING_EVENT, finding.model_dump(mode="json"))


def findings(*found: Finding) -> CloudEvent:
    return event(FINDINGS_EVENT, FindingBatch(findings=found).model_dump(mode="json"))


def binary(one: CloudEvent) -> dict[str, Any]:
    headers, body = to_binary(one)
    return {"headers": headers, "content": body}


def structured(one: CloudEvent) -> dict[str, Any]:
    headers, body = to_structured(one)
    return {"headers": headers, "content": body}
