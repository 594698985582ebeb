"""What a bundle says about itself: from which data, code and libraries it was made, and how good it was."""

import subprocess
import sys
from datetime import UTC
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints, model_validator

import vigil
from vigil.contracts.keys import ContentHash, hash_file, hash_json

LIBRARIES = ("jax", "keras", "numba", "numpy", "pyarrow", "scikit-learn", "vigil", "xgboost-cpu")
"""The distributions that the numbers in a bundle depend on."""

Digest = Annotated[ContentHash, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Time = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


class TrainingWindow(BaseModel):
    """The event times that training saw: from `start` (inclusive) to `end` (exclusive)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: _Time
    end: _Time

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.end <= self.start:
            raise ValueError(f"the training window ends ({self.end}) before it begins ({self.start})")
        return self


class CodeVersion(BaseModel):
    """The code that made a bundle. The hash of the sources decides: a commit says nothing of uncommitted changes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: Digest = Field(description="hash over the sources of the installed vigil package")
    commit: str | None = Field(default=None, pattern="^[0-9a-f]{40,64}$", description="git commit, where there is one")


class BundleMetadata(BaseModel):
    """What is known of a bundle besides its parts.

    Nothing here is measured by a clock: the same training gives the same bundle. What a run cost is recorded with the
    registration, and the time and the approver with each entry of the ledger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Slug = Field(description="name of the model in the registry, such as card_fraud")
    feature_schema: Digest = Field(description="hash of the feature schema: another schema's vectors are refused")
    training_window: TrainingWindow
    parents: dict[str, Digest] = Field(min_length=1, description="hash of each input by its role, such as features")
    code: CodeVersion
    libraries: dict[str, str] = Field(description="versions of the libraries, by distribution")
    parameters: dict[str, str | int | _Finite | bool | None] = Field(
        default_factory=dict, description="of the training"
    )
    metrics: dict[str, _Finite] = Field(default_factory=dict, description="on the holdout, by name")


def code_version() -> CodeVersion:
    """Return the version of the installed vigil package, with the git commit of the checkout that it lies in."""
    package = Path(vigil.__file__).parent
    return CodeVersion(sources=_hash_sources(package), commit=_git_commit(package))


def _hash_sources(package: Path) -> ContentHash:
    return hash_json({path.relative_to(package).as_posix(): hash_file(path) for path in package.rglob("*.py")})


def _git_commit(folder: Path) -> str | None:
    """Return the commit if git tracks the files of `folder`, not just a repository that it happens to lie in."""
    try:
        tracked = _git(folder, "ls-files", "--error-unmatch", "__init__.py")
        return _git(folder, "rev-parse", "HEAD") if tracked else None
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()


def library_versions(distributions: tuple[str, ...] = LIBRARIES) -> dict[str, str]:
    """Return the version of Python and of each distribution that is installed."""
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in distributions:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
