"""What the runtime is asked for and what it says of itself: the models of its admin API."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from vigil.contracts.keys import ContentHash, ModelVersion
from vigil.runtime.splitter.buckets import Ranges

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class State(StrEnum):
    """Where a revision is in its life."""

    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"
    """Was ready, and does not answer now."""
    RESTARTING = "restarting"
    """A process crashed and waits for its next start."""
    FAILED = "failed"
    """Given up; `why` holds the last lines of the log."""
    DRAINING = "draining"
    STOPPED = "stopped"
    """Kept on the list so that a rollback finds it."""


class DeployRequest(_Document):
    """What to serve. The same bundle under the same name is deployed once."""

    model: _Name
    version: ModelVersion
    bundle: ContentHash
    uri: str
    traffic: float | None = Field(
        default=100.0, ge=0, le=100, description="percent once it is ready; None leaves the weights as they are"
    )
    shadow: bool = Field(default=False, description="gets copies of the live requests instead of traffic")
    name: _Name | None = Field(default=None, description="of the revision; MODEL-vVERSION without it")
    feature_state: str | None = Field(default=None, description="folder or gs:// of sealed states for a new store")

    @property
    def revision(self) -> str:
        """The name of the revision."""
        return self.name or f"{self.model}-v{self.version}"


class RevisionSpec(_Document):
    """A revision that is wanted, as it is kept in the state file."""

    name: str
    model: str
    version: ModelVersion
    bundle: ContentHash
    uri: str
    feature_state: str | None = None
    shadow: bool = False
    stopped: bool = False
    awaits: float | None = Field(default=None, description="percent that it gets once it is ready")
    created: datetime


class ProcessMark(_Document):
    """A process, told from a later one with the same pid by its start time."""

    pid: int
    started: float


class Desired(_Document):
    """The state file: everything that a new supervisor needs to go on."""

    layout: int = 1
    revisions: list[RevisionSpec] = []
    tables: dict[str, Ranges] = {}


class ProcessStatus(_Document):
    """One of the two processes of a revision."""

    role: str
    pid: int | None
    http_port: int
    grpc_port: int
    restarts: int


class Served(_Document):
    """What a revision has answered since the supervisor started."""

    requests: int = 0
    errors: int = Field(default=0, description="answers that are the server's fault")
    by_code: dict[str, int] = Field(default={}, description="answers by `http 200`, `grpc OK` and so on")
    mirrored: dict[str, int] = Field(default={}, description="shadow requests by status, or why they were dropped")
    p50_seconds: float | None = None
    p99_seconds: float | None = Field(default=None, description="upper bound of its bucket; None without requests")
    latency: list[int] = Field(default=[], description="answers by bucket of monitoring.samples.LATENCY_BOUNDS")


class RevisionStatus(_Document):
    """A revision as it is."""

    name: str
    model: str
    version: ModelVersion
    bundle: ContentHash
    uri: str
    state: State
    traffic: float = Field(description="percent by the weights, whatever its state")
    shadow: bool
    awaits: float | None = Field(default=None, description="percent that it gets once it is ready")
    processes: list[ProcessStatus] = []
    restarts: int = 0
    created: datetime
    ready_since: datetime | None = None
    served: Served = Served()
    why: str | None = Field(default=None, description="of a failure: the cause and the last lines of the log")


class MonitorStatus(_Document):
    """The detector service as it is."""

    url: str
    pid: int | None
    restarts: int = 0
    payloads: dict[str, int] = Field(
        default={}, description="exchanges for it by outcome: sent, or why they were dropped"
    )
    why: str | None = Field(default=None, description="of a failure: the last lines of its log")


class RuntimeStatus(_Document):
    """The runtime as it is."""

    pid: int
    since: datetime
    host: str
    port: int
    grpc_port: int | None
    endpoint: str
    grpc_endpoint: str | None
    draining: bool = False
    revisions: list[RevisionStatus] = []
    monitor: MonitorStatus | None = Field(default=None, description="None where `vigil up --no-monitor` left it out")

    def revision(self, name: str) -> RevisionStatus | None:
        """Return the revision of this name, if there is one."""
        return next((found for found in self.revisions if found.name == name), None)
