"""What is to be deployed, and what came of it."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from vigil.registry.metadata import Digest, Slug

_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
_Version = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$")]


class Target(StrEnum):
    """Where models are served."""

    LOCAL = "local"
    KSERVE = "kserve"


class ClientProtocol(StrEnum):
    """What clients speak: V1 and V2 as JSON over HTTP, or V2 over gRPC."""

    HTTP = "http"
    GRPC = "grpc"


class DeployRequest(BaseModel):
    """One version of a model, and the share of the traffic that it is to get."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Slug = Field(description="name of the model in the registry, such as card_fraud")
    version: _Version = Field(description="its version in the registry")
    bundle_uri: str = Field(min_length=1, description="folder, gs://bucket/path or pvc://claim/path of the bundle")
    bundle_hash: Digest
    feature_state_uri: str | None = Field(
        default=None, description="sealed states of all entities at the end of training, for the online store"
    )
    feature_state_hash: Digest | None = None
    traffic_percent: int = Field(
        default=100, ge=0, le=100, description="share of the candidate; the first version of a model gets everything"
    )
    target: Target = Target.LOCAL
    namespace: _Name = "default"
    image: str | None = Field(default=None, description="image of both servers; KServe needs it")
    protocol: ClientProtocol = Field(
        default=ClientProtocol.HTTP,
        description="of an InferenceService, which has one; gRPC is served by MODEL-grpc, beside the other",
    )
    profile: str = Field(default="production", description="sizes and rules of the place, from kserve/templates")
    timeout_seconds: float = Field(default=900, gt=0, description="how long to wait for the candidate to be ready")


class Deployment(BaseModel):
    """What serves a model after a deployment, as read from where it runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Slug
    version: str
    bundle_hash: Digest
    target: Target
    revision: str = Field(description="the revision that serves this version")
    url: str = Field(description="of the model, for all its revisions")
    traffic: dict[str, int] = Field(description="percent by revision")
    changed: bool = Field(description="whether anything had to be done")

    @property
    def traffic_percent(self) -> int:
        """The share of the traffic that this version gets."""
        return self.traffic.get(self.revision, 0)
