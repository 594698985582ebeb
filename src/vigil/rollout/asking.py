"""A person's request to a running rollout, put where the next tick finds it."""

import uuid

from vigil.clock import Clock, system_clock
from vigil.errors import ContractError, Unavailable
from vigil.rollout.asks import refuse
from vigil.rollout.ports import Kept, Records
from vigil.rollout.status import Record, Request
from vigil.rollout.stores import Changed

_ATTEMPTS = 20


def ask(model: str, wanted: Request, records: Records) -> Record:
    """Return the record with the request in it; ContractError where it is plain already that it cannot be done."""
    for _ in range(_ATTEMPTS):
        kept = load(model, records)
        record = kept.record
        if refusal := refuse(record.status, wanted):
            raise ContractError(f"cannot {wanted.action} {model} version {record.spec.candidate.version}: {refusal}")
        try:
            return records.save(record.model_copy(update={"requests": (*record.requests, wanted)}), kept).record
        except Changed:
            continue
    raise Unavailable(f"the rollout of {model} is changed by others all the time: try again")


def request(action: str, actor: str, reason: str, *, fully: bool = False, clock: Clock = system_clock) -> Request:
    """Return a request made now."""
    content = {"id": uuid.uuid4().hex, "at": clock(), "actor": actor, "reason": reason, "action": action}
    return Request.model_validate({**content, "fully": fully})


def load(model: str, records: Records) -> Kept:
    """Return the record of a model, or raise ContractError naming those that there are."""
    kept = records.load(model)
    if kept is None:
        known = ", ".join(records.models()) or "none"
        raise ContractError(f"there is no rollout of {model}; there are: {known}")
    return kept
