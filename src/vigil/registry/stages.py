"""The stages of a version as a state machine: pure functions from the ledger's entries to a state and the next entry.

    candidate -> staging -> production -> (displaced) staging -> retired

A version registers as candidate. The one that a promotion displaces from production goes back to staging, so that a
rollback can return to it; the one that a rollback removes becomes a candidate, which has to earn its place again. A
retired version serves no longer, and can only come back as candidate.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from vigil.contracts.keys import ContentHash, ModelName, ModelVersion
from vigil.errors import ContractError
from vigil.registry.cost import Cost
from vigil.registry.metadata import BundleMetadata, Digest

LAYOUT = 1
"""Version of the ledger's entries. A reader refuses a later one."""


class Stage(StrEnum):
    """What a version may be used for."""

    CANDIDATE = "candidate"
    STAGING = "staging"
    PRODUCTION = "production"
    RETIRED = "retired"


PROMOTIONS = {
    Stage.CANDIDATE: (Stage.STAGING,),
    Stage.STAGING: (Stage.PRODUCTION, Stage.CANDIDATE),
    Stage.PRODUCTION: (),
    Stage.RETIRED: (Stage.CANDIDATE,),
}
"""Where a promotion may lead from each stage; production is left by another's promotion or by a rollback."""

Actor = Annotated[str, StringConstraints(pattern=r"^(person|policy):[A-Za-z0-9][A-Za-z0-9@._+-]{0,127}$")]
Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
_Version = Annotated[ModelVersion, StringConstraints(pattern=r"^[1-9][0-9]*$")]


class Conflict(ContractError):
    """The registry is not as the caller expected: someone else was first. Look at what is there and decide again."""


class Registration(BaseModel):
    """What is recorded of a version for ever, even when its bundle is deleted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bundle: Digest = Field(description="hash of the bundle")
    bytes: int = Field(ge=0, description="size of the bundle's parts")
    metadata: BundleMetadata
    run: str | None = Field(default=None, description="id of the run in MLflow")
    cost: Cost | None = None


class Entry(BaseModel):
    """One line of the ledger: what was done, by whom and why, and the stage of every version that it moved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int = LAYOUT
    position: int = Field(ge=1, description="from 1, without gaps")
    previous: Digest | None = Field(description="hash of the entry before this one")
    token: str = Field(description="tells two attempts to write the same entry apart")
    at: AwareDatetime
    actor: Actor = Field(description="person:NAME, or policy:NAME for a rule that approved on its own")
    reason: Reason
    action: Literal["register", "promote", "rollback", "retire"]
    version: _Version = Field(description="what the action was about")
    moves: dict[_Version, Stage] = Field(min_length=1, description="new stage of each version that moved")
    registration: Registration | None = None


@dataclass(frozen=True)
class Step:
    """What an entry is to do, before it has a place in the ledger."""

    action: Literal["register", "promote", "rollback", "retire"]
    version: ModelVersion
    moves: dict[ModelVersion, Stage]
    registration: Registration | None = None


@dataclass(frozen=True)
class VersionState:
    """A version of a model: what it is, and the entry that brought it to its stage."""

    model: ModelName
    version: ModelVersion
    stage: Stage
    registration: Registration
    since: Entry


@dataclass(frozen=True)
class ModelState:
    """All versions of a model, and those that have been in production: the last one is, the others are its heritage."""

    model: ModelName
    versions: dict[ModelVersion, VersionState]
    reign: tuple[ModelVersion, ...] = ()

    @property
    def production(self) -> ModelVersion | None:
        """The version in production."""
        return self.reign[-1] if self.reign else None

    def version(self, version: ModelVersion) -> VersionState:
        """Return a version by its number, or by `production`; raise ContractError listing what there is."""
        number = self.production if version == Stage.PRODUCTION.value else version
        if number is None:
            raise ContractError(f"{self.model} has no version in production: promote one from staging")
        if number not in self.versions:
            known = ", ".join(self.versions) or "none"
            raise ContractError(f"{self.model} has no version {number}: it has {known}")
        return self.versions[number]


def replay(model: ModelName, entries: tuple[Entry, ...]) -> ModelState:
    """Return the state that the entries, from the first one on, lead to."""
    versions: dict[ModelVersion, VersionState] = {}
    reign: tuple[ModelVersion, ...] = ()
    for entry in entries:
        for number, stage in entry.moves.items():
            registration = entry.registration or versions[number].registration
            versions[number] = VersionState(model, number, stage, registration, entry)
        reign = _reign_after(reign, entry)
    return ModelState(model, versions, reign)


def _reign_after(reign: tuple[ModelVersion, ...], entry: Entry) -> tuple[ModelVersion, ...]:
    if entry.moves.get(entry.version) != Stage.PRODUCTION:
        return reign
    if entry.action == "rollback":
        last = len(reign) - 1 - reign[::-1].index(entry.version)
        return reign[: last + 1]
    return (*reign, entry.version)


def register_step(state: ModelState, registration: Registration) -> Step:
    """Return the step that adds a version."""
    version = ModelVersion(str(len(state.versions) + 1))
    return Step("register", version, {version: Stage.CANDIDATE}, registration)


def promote_step(state: ModelState, version: ModelVersion, to: Stage, expected: ModelVersion | None) -> Step:
    """Return the step that moves `version` to `to`; Conflict if `expected` is not the version in production."""
    _check_expected(state, expected)
    current = state.version(version)
    if to not in PROMOTIONS[current.stage]:
        raise ContractError(f"{_named(current)} is in stage {current.stage}: {_way_out(current.stage)}")
    moves = {current.version: to}
    if to == Stage.PRODUCTION and state.production is not None:
        moves[state.production] = Stage.STAGING
    return Step("promote", current.version, moves)


def rollback_step(state: ModelState, expected: ModelVersion | None) -> Step:
    """Return the step that puts the previous production version back; Conflict if `expected` is not in production."""
    _check_expected(state, expected)
    if state.production is None:
        raise ContractError(f"{state.model} has no version in production: there is nothing to roll back")
    earlier = [number for number in state.reign[:-1] if state.versions[number].stage == Stage.STAGING]
    if not earlier:
        raise ContractError(f"{state.model} has no earlier production version left in staging: promote another version")
    return Step("rollback", earlier[-1], {earlier[-1]: Stage.PRODUCTION, state.production: Stage.CANDIDATE})


def retire_step(state: ModelState, version: ModelVersion) -> Step:
    """Return the step that ends the life of a version that is not in production."""
    current = state.version(version)
    if current.stage == Stage.PRODUCTION:
        raise ContractError(f"{_named(current)} is in production: promote another version or roll back first")
    if current.stage == Stage.RETIRED:
        raise ContractError(f"{_named(current)} is retired already, {_since(current)}")
    return Step("retire", current.version, {current.version: Stage.RETIRED})


def find_bundle(state: ModelState, bundle: ContentHash) -> VersionState | None:
    """Return the version that was registered with this bundle."""
    return next((found for found in state.versions.values() if found.registration.bundle == bundle), None)


def _check_expected(state: ModelState, expected: ModelVersion | None) -> None:
    if state.production == expected:
        return
    wanted = f"version {expected}" if expected else "none"
    if state.production is None:
        raise Conflict(f"{state.model} has no version in production, {wanted} was expected: look again and decide anew")
    current = state.versions[state.production]
    raise Conflict(
        f"{_named(current)} is in production, {_since(current)}, where {wanted} was expected: "
        "compare with it and decide anew"
    )


def _named(state: VersionState) -> str:
    return f"{state.model} version {state.version}"


def _since(state: VersionState) -> str:
    return f"by {state.since.actor} at {state.since.at:%Y-%m-%d %H:%M:%S %Z} ({state.since.reason})"


def _way_out(stage: Stage) -> str:
    if not PROMOTIONS[stage]:
        return "it leaves by the promotion of another version or by a rollback"
    return f"the next step is {' or '.join(PROMOTIONS[stage])}"
