"""What a caller is told when a request is not answered: one shape for every protocol, no internals in it."""

import asyncio
from dataclasses import dataclass
from typing import Any

from kserve.errors import InvalidInput

from vigil.errors import ContractError, Unavailable


@dataclass(frozen=True)
class Kind:
    """One way to refuse."""

    code: str
    http: int
    grpc: str
    retry_after: int | None = None


MALFORMED = Kind("malformed", 400, "INVALID_ARGUMENT")
INVALID = Kind("invalid", 422, "INVALID_ARGUMENT")
NOT_FOUND = Kind("not_found", 404, "NOT_FOUND")
WRONG_METHOD = Kind("method_not_allowed", 405, "UNIMPLEMENTED")
WRONG_TYPE = Kind("unsupported_media_type", 415, "INVALID_ARGUMENT")
TOO_SLOW_BODY = Kind("body_timeout", 408, "DEADLINE_EXCEEDED")
TOO_LARGE = Kind("too_large", 413, "RESOURCE_EXHAUSTED")
OVERLOADED = Kind("overloaded", 429, "RESOURCE_EXHAUSTED", retry_after=1)
NOT_READY = Kind("not_ready", 503, "UNAVAILABLE", retry_after=1)
UNAVAILABLE = Kind("unavailable", 503, "UNAVAILABLE", retry_after=1)
TIMEOUT = Kind("timeout", 504, "DEADLINE_EXCEEDED")
INTERNAL = Kind("internal", 500, "INTERNAL")


class Refusal(InvalidInput):  # type: ignore[misc]  # kserve is untyped
    """A request that is not answered, why, and (a mistake of the caller) which field of which row is wrong.

    It is an InvalidInput of kserve, so the stock routes answer it with a client error as well.
    """

    def __init__(self, kind: Kind, message: str, field: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.field = field
        self.row = row

    def body(self) -> dict[str, Any]:
        """Return the JSON of the answer."""
        error: dict[str, Any] = {"code": self.kind.code, "field": self.field, "message": self.message}
        if self.row is not None:
            error["row"] = self.row
        return {"error": error}

    def text(self) -> str:
        """Return field, row and message in one line."""
        parts = [f"row {self.row}"] if self.row is not None else []
        where = ", ".join(parts + ([self.field] if self.field else []))
        return f"{where}: {self.message}" if where else self.message


def refusal_of(error: BaseException) -> Refusal | None:
    """Return how the error is answered, or None if it is a mistake of ours."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, BaseExceptionGroup):
        return refusal_of(error.exceptions[0])
    if isinstance(error, InvalidInput):
        return Refusal(MALFORMED, str(error))
    if isinstance(error, ContractError):
        return Refusal(INVALID, str(error))
    if isinstance(error, Unavailable):
        return Refusal(UNAVAILABLE, "a part that is needed does not answer: try again")
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return Refusal(TIMEOUT, "the request took too long")
    return None


def internal() -> Refusal:
    """Return the answer to a mistake of ours: what happened is in the log, under the request's id."""
    return Refusal(INTERNAL, "internal error: the server's log has it under the request id of this answer")
