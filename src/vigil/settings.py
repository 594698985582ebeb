"""The one place that reads the environment."""

import getpass
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vigil.errors import ContractError

PREFIX = "VIGIL_"


class Settings(BaseModel):
    """Where Vigil keeps and finds things. Each field can be set as `VIGIL_<FIELD>`; an unknown one is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path(".vigil"), description="folder of everything that Vigil writes by itself")
    data: Path = Field(default=Path("../shared/data"), description="folder of the reference data sets")
    log_level: str = Field(
        default="INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="least level that is logged"
    )
    log_json: bool = Field(default=False, description="one JSON object a line instead of text")
    store: str | None = Field(
        default=None, description="folder or gs://bucket/prefix of bundles and ledger; VIGIL_HOME/models without it"
    )
    tracking_uri: str | None = Field(
        default=None, description="MLflow that shows runs and versions; VIGIL_HOME/mlflow.db without it"
    )
    decisions: str | None = Field(
        default=None,
        description="folder or gs://bucket/prefix that predictors move finished files of their decision log to; "
        "they stay in VIGIL_HOME/decisions without it",
    )
    redis_url: str | None = Field(default=None, description="Redis of the online state, such as redis://host:6379/0")
    signing_key: Path | None = Field(default=None, description="PEM file whose key signs the bundles of training runs")
    public_key: Path | None = Field(
        default=None, description="PEM file; a bundle that its key did not sign is neither registered nor served"
    )
    mail_server: str | None = Field(default=None, description="SMTP server of notifications, such as mail.example:25")
    mail_from: str = Field(default="vigil@localhost", description="sender of notifications")
    mail_to: str | None = Field(default=None, description="who is told of failed runs; several divided by commas")
    mail_security: Literal["plain", "starttls", "tls"] = Field(
        default="plain", description="how the connection to the mail server is protected"
    )
    mail_user: str | None = Field(default=None, description="who logs in at the mail server")
    mail_password_file: Path | None = Field(default=None, description="file that holds that user's password")
    image: str = Field(
        default="vigil-python:0.1.0",
        description="image of the pipelines' steps when they are compiled; by digest in releases",
    )
    kfp_host: str | None = Field(default=None, description="Kubeflow Pipelines API, such as http://ml-pipeline:8888")
    kfp_namespace: str | None = Field(
        default=None, description="namespace of the runs; only a Kubeflow of many users wants one"
    )
    kfp_token: Path = Field(
        default=Path("/var/run/secrets/kubeflow/pipelines/token"),
        description="projected token that is sent to Kubeflow Pipelines where the file exists",
    )
    monitor_url: str | None = Field(
        default=None, description="API of the detector service; the local runtime's own without it"
    )
    alerts: Path | None = Field(
        default=None, description="YAML file of owners, channels and routes of alerts; the one of Vigil without it"
    )
    event_sinks: str | None = Field(
        default=None, description="URLs that get our CloudEvents (drift, rollouts, reruns); several divided by commas"
    )

    @property
    def store_uri(self) -> str:
        """Where bundles and ledger are."""
        return self.store or str(self.home.absolute() / "models")

    @property
    def mlflow_uri(self) -> str:
        """The MLflow that shows runs and versions."""
        return self.tracking_uri or f"sqlite:///{self.home.absolute() / 'mlflow.db'}"

    @property
    def sinks(self) -> tuple[str, ...]:
        """The URLs that get our CloudEvents."""
        return tuple(url.strip() for url in (self.event_sinks or "").split(",") if url.strip())

    def checked_sinks(self) -> tuple[str, ...]:
        """Return the sinks, or raise ContractError where one is no URL: for who would find out much later."""
        if wrong := [url for url in self.sinks if not url.startswith(("http://", "https://"))]:
            raise ContractError(
                f"VIGIL_EVENT_SINKS: {wrong[0]} is no URL: give http://host:port/ for each, with commas"
            )
        return self.sinks


def child_environment(changes: Mapping[str, str], *, path_first: Sequence[Path] = ()) -> dict[str, str]:
    """Return the environment of this process with `changes`, for a process that it starts."""
    path = os.pathsep.join((*map(str, path_first), os.environ.get("PATH", os.defpath)))
    return {**os.environ, **changes, "PATH": path}


def load_settings(environment: dict[str, str] | None = None) -> Settings:
    """Return the settings from the environment, or raise ContractError naming the variable that is wrong."""
    source = dict(os.environ) if environment is None else environment
    given = {name[len(PREFIX) :].lower(): value for name, value in source.items() if name.startswith(PREFIX)}
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0]).upper()
        known = ", ".join(PREFIX + field.upper() for field in Settings.model_fields)
        raise ContractError(f"environment variable {name}: {first['msg']} (known: {known})") from error


def login() -> str:
    """Return the name of who runs this process; in a container, whose user may have none, its number."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def settle_in(home: Path) -> Settings:
    """Make `home` the folder of this process and of those that it starts, and return the settings."""
    os.environ[PREFIX + "HOME"] = str(home.absolute())
    return load_settings()
