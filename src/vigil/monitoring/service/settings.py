"""How the detector service is set: one file, whose unknown keys are errors."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.errors import ContractError


class ServiceSettings(BaseModel):
    """Limits of the service, and the settings of the watches; the defaults suit a laptop and a small cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    queue_events: int = Field(default=8_192, ge=1, description="events that may wait; more are answered with 503")
    queue_bytes: int = Field(default=64 << 20, ge=1, description="bytes that may wait")
    event_bytes: int = Field(default=8 << 20, ge=1, description="largest event; more is answered with 413")
    remembered_events: int = Field(default=100_000, ge=1, description="ids by which duplicates are told")
    pair_seconds: float = Field(default=60.0, gt=0, description="how long a request waits for its answer, or it for it")
    pairs_waiting: int = Field(default=8_192, ge=1, description="requests and answers that may wait for each other")
    slot_seconds: float = Field(default=5.0, gt=0, description="length of a slot, in which decisions are counted")
    slot_hours: float = Field(default=24.0, gt=0, description="how long slots are kept")
    recent_decisions: int = Field(
        default=20_000, ge=1, description="decisions of a model that are compared with those of its other revisions"
    )
    compared_seconds: float = Field(
        default=3_600.0, gt=0, description="for how long pairs of revisions count when the cause of a change is sought"
    )
    silence_hours: float = Field(default=24.0, gt=0, description="for how long a silent feed counts as a cause")
    awaited_verdicts: int = Field(
        default=50_000, ge=1, description="flagged decisions of a model that wait for their verdicts"
    )
    watched_revisions: int = Field(default=16, ge=1, description="revisions that are watched: those served last")
    forgotten_hours: float = Field(
        default=24.0, gt=0, description="after which a revision without decisions is watched no more"
    )
    snapshot_seconds: float = Field(default=5.0, gt=0, description="how often the state is written")
    bundle_retry_seconds: float = Field(default=30.0, gt=0, description="how often an unknown bundle is looked for")
    outbox_events: int = Field(default=1_000, ge=1, description="events of ours that may wait for their sinks")
    watch: dict[str, Any] = Field(default={}, description="settings of every watch: see vigil.monitoring.watch")
    models: dict[str, dict[str, Any]] = Field(default={}, description="the same by model: what differs from `watch`")

    def watch_of(self, model: str) -> dict[str, Any]:
        """Return the settings of the watches over a model."""
        return {**self.watch, **self.models.get(model, {})}


def load_service_settings(path: Path | None) -> ServiceSettings:
    """Return the settings in a YAML file, or the defaults; ContractError names the key that is wrong."""
    if path is None:
        return ServiceSettings()
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise ContractError(f"there is no configuration {path}: check --config") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ContractError(f"{path} cannot be read as YAML: {error}") from error
    try:
        return ServiceSettings.model_validate(content or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ContractError(f"{path}, {where}: {first['msg']}") from error
