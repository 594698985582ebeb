"""What a rerun is told of each model: which pipeline and data, how often at most, and what follows a success."""

from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.errors import ContractError


class LauncherKind(StrEnum):
    """Where runs take place."""

    LOCAL = "local"
    KUBEFLOW = "kubeflow"


class Then(StrEnum):
    """What is done with a version that a rerun has registered."""

    NOTHING = "nothing"
    """It stays a candidate in the registry."""
    DEPLOY = "deploy"
    """The pipeline itself deploys it beside production, as a training run does."""
    ROLLOUT = "rollout"
    """A rollout of it starts: by steps, under watch."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRules(_Part):
    """The rules of one model. What is not said has the defaults below."""

    pipeline: str = Field(default="retraining", description="name of a pipeline of Vigil, or a compiled YAML file")
    use_case: str | None = Field(
        default=None, description="name or YAML file; as in the last run on this machine, or else the model's name"
    )
    data: str | None = Field(
        default=None, description="raw file or folder, here or at gs://; as in the last run on this machine"
    )
    source: str | None = Field(default=None, description="mapping of the raw file; as in the last run on this machine")
    parameters: Mapping[str, str] = Field(default={}, description="further parameters of the pipeline")
    cool_down_hours: float = Field(default=6.0, ge=0, description="from the end of a run to the next")
    budget_per_day: int = Field(default=4, ge=1, description="runs within 24 hours at most")
    then: Then | None = Field(
        default=None, description="what follows a registered version; a rollout of it here, on a server `deploy`"
    )
    plan: Path | None = Field(default=None, description="YAML file of the rollout, as for `vigil rollout start`")

    @property
    def cool_down(self) -> timedelta:
        """From the end of a run to the next."""
        return timedelta(hours=self.cool_down_hours)


class RerunSettings(_Part):
    """Everything that the rerun sink is told. Unknown keys are errors."""

    version: int = Field(default=1, ge=1, le=1)
    launcher: LauncherKind | None = Field(
        default=None, description="where runs take place; on the server of VIGIL_KFP_HOST if that is set, or else here"
    )
    defaults: ModelRules = Field(default=ModelRules(), description="for every model that is not named below")
    models: Mapping[str, ModelRules] = Field(default={}, description="rules by model, instead of the defaults")
    poll_seconds: float = Field(default=15.0, gt=0, description="between two looks at a run on a server")
    settle_seconds: float = Field(
        default=90.0,
        ge=0,
        description="after a start that was not answered, until it is looked for; longer than a request may take",
    )
    most_attempts: int = Field(
        default=20, ge=1, description="starts that were not answered before the event is given up"
    )

    def rules(self, model: str) -> ModelRules:
        """Return the rules of a model."""
        return self.models.get(model, self.defaults)


def load_rerun_settings(path: Path | None) -> RerunSettings:
    """Return the settings of a YAML file, the defaults without one, or raise ContractError naming the field."""
    if path is None:
        return RerunSettings()
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        return RerunSettings.model_validate(content or {})
    except OSError as error:
        raise ContractError(f"--config: cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ContractError(f"{path} is not YAML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ContractError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
