"""What every member's settings share."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vigil.errors import ContractError

S = TypeVar("S", bound="MemberSettings")


class MemberSettings(BaseModel):
    """How a member is fitted. A profile is a set of values with a name: what is given beside it wins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    KIND: ClassVar[str]
    PROFILES: ClassVar[Mapping[str, Mapping[str, Any]]] = {}

    kind: str = Field(default="", description="which member; fixed by the class")
    name: str = Field(default="", description="unique within an ensemble; the kind if nothing is given")
    features: tuple[str, ...] = Field(default=(), description="names of features or of groups; empty for all")
    profile: str | None = Field(default=None, description="name of a set of values")
    seed: int = Field(default=0, ge=0, lt=2**31, description="of everything that is drawn")

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, given: Any) -> Any:  # noqa: ANN401 - whatever the caller passed, before validation
        if not isinstance(given, Mapping):
            return given
        profile = given.get("profile")
        if profile is not None and profile not in cls.PROFILES:
            raise ValueError(f"{cls.KIND} has no profile {profile!r}: one of {', '.join(cls.PROFILES) or 'none'}")
        if given.get("kind", cls.KIND) != cls.KIND:
            raise ValueError(f"kind is {given['kind']!r}, these are the settings of {cls.KIND!r}")
        return {"name": cls.KIND, **cls.PROFILES.get(profile or "", {}), **given, "kind": cls.KIND}


def parse_as(cls: type[S], given: Mapping[str, Any]) -> S:
    """Return the settings, or raise ContractError naming the field."""
    try:
        return cls.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "settings"
        raise ContractError(f"member {cls.KIND}, {field}: {first['msg']}") from error
