"""Verdicts as the detector service sends them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from vigil.contracts.cloud_events import CloudEvent, new_event, to_binary, to_structured
from vigil.monitoring.verdicts import ANSWERS, DRIFT_EVENT, Cause, DriftVerdict, Evidence

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def verdict(cause: Cause = Cause.POPULATION_MOVED, *, hours: float = 0, model: str = "card_fraud") -> DriftVerdict:
    """Return a verdict; one of another hour is another event."""
    return DriftVerdict(
        model=model,
        revision=f"{model}-v1",
        version="1",
        bundle="sha256:" + "0" * 64,
        cause=cause,
        answer=ANSWERS[cause],
        summary="amounts are 1.4 times what they were since Monday",
        evidence=(
            Evidence(kind="input", subject="amount", statement="the median amount rose from 40 to 56", strength=7.2),
            Evidence(kind="disagreement", subject="v0", statement="both versions agree on 99.1 %", strength=0.4),
        ),
        first_seen=NOON + timedelta(hours=hours),
        at=NOON + timedelta(hours=hours + 1),
        rows=2_000,
    )


def event(found: DriftVerdict) -> CloudEvent:
    content = json.loads(found.model_dump_json())
    return new_event(DRIFT_EVENT, "/vigil/monitor", content, found.at, found.id, found.model)


def binary(found: DriftVerdict) -> dict[str, Any]:
    headers, content = to_binary(event(found))
    return {"headers": headers, "content": content}


def structured(found: DriftVerdict) -> dict[str, Any]:
    headers, content = to_structured(event(found))
    return {"headers": headers, "content": content}
