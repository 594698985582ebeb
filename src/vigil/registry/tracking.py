"""MLflow: where people look up runs and versions. Imported only where a tracking URI is given.

Every version of the ledger is a model version with the tags `vigil.*`, which name bundle, stage, approver and reason;
the alias `production` points to the one in production. MLflow's own stages are deprecated and not used.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vigil.clock import to_micros
from vigil.contracts.keys import ModelName, ModelVersion
from vigil.errors import ContractError, MissingExtra, Unavailable
from vigil.registry.bundle import bundle_uri
from vigil.registry.stages import ModelState, VersionState
from vigil.registry.store import Store, translate_errors

try:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.entities.model_registry import ModelVersion as ShownVersion
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError
except ImportError as error:
    raise MissingExtra("mlflow", "train") from error

logging.getLogger("mlflow").setLevel(logging.WARNING)  # the progress of database migrations is not ours to report

ALIAS = "production"
_NUMBER = "vigil.version"
_PAGE = 1000
_BATCH = 100
"""MLflow takes at most so many parameters in one request."""


@dataclass(frozen=True)
class RunRecord:
    """A training run as it is shown: its settings, its results, and files such as plots and reports."""

    model: ModelName
    name: str
    started: datetime
    finished: datetime
    parameters: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


class Tracking:
    """MLflow at one tracking URI: SQLite, another database, or a server."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._files = _prepare_folder(uri)
        with _translated(uri):
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)

    def log_run(self, record: RunRecord) -> str:
        """Write a finished run and return its id."""
        with _translated(self.uri):
            experiment = self._experiment(record.model)
            created = self._client.create_run(experiment, _millis(record.started), run_name=record.name)
            run = str(created.info.run_id)
            self._log_values(run, record)
            for path in record.files:
                self._client.log_artifact(run, str(path))
            self._client.set_terminated(run, end_time=_millis(record.finished))
        return run

    def show(self, state: ModelState, store: Store) -> None:
        """Make the registered model look like `state`; what is right already is left alone."""
        with _translated(self.uri):
            self._ensure_model(state.model)
            shown = self._shown(state.model)
            for version in state.versions.values():
                tags = _tags(version)
                if version.version not in shown:
                    shown[version.version] = self._add(version, store, tags)
                self._set_tags(shown[version.version], tags)
            self._point_alias(state, shown)

    def _log_values(self, run: str, record: RunRecord) -> None:
        moment = _millis(record.finished)
        metrics = [Metric(name, value, moment, 0) for name, value in record.metrics.items()]
        parameters = [Param(name, str(value)) for name, value in record.parameters.items()]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(run, metrics=metrics[start : start + _BATCH])
        for start in range(0, len(parameters), _BATCH):
            self._client.log_batch(run, params=parameters[start : start + _BATCH])
        self._client.log_batch(run, tags=[RunTag(name, value) for name, value in record.tags.items()])

    def _experiment(self, model: ModelName) -> str:
        found = self._client.get_experiment_by_name(model)
        if found is not None:
            return str(found.experiment_id)
        location = (self._files / model).as_uri() if self._files else None
        with _existing_is_fine():
            return self._client.create_experiment(model, artifact_location=location)
        return self._experiment(model)

    def _ensure_model(self, model: ModelName) -> None:
        if not self._client.search_registered_models(filter_string=f"name = '{model}'"):
            with _existing_is_fine():
                self._client.create_registered_model(model)

    def _shown(self, model: ModelName) -> dict[ModelVersion, ShownVersion]:
        """Return what MLflow shows of each version, after removing what two writers at once have entered twice."""
        copies: dict[ModelVersion, list[ShownVersion]] = defaultdict(list)
        token = None
        while True:
            page = self._client.search_model_versions(f"name = '{model}'", max_results=_PAGE, page_token=token)
            for found in page:
                if _NUMBER in found.tags:
                    copies[ModelVersion(found.tags[_NUMBER])].append(found)
            token = page.token
            if not token:
                break
        for same in copies.values():
            same.sort(key=lambda copy: int(copy.version))
            for surplus in same[1:]:
                self._client.delete_model_version(model, str(surplus.version))
        return {number: same[0] for number, same in copies.items()}

    def _add(self, version: VersionState, store: Store, tags: dict[str, str]) -> ShownVersion:
        bundle = version.registration.bundle
        address = bundle_uri(store, bundle)
        # A server refuses folders of its own machine as a source, so that of a bundle in a folder names the hash only.
        source = address if "://" in address else f"vigil://{bundle.replace(':', '/')}"
        return self._client.create_model_version(version.model, source, version.registration.run, tags)

    def _set_tags(self, shown: ShownVersion, tags: dict[str, str]) -> None:
        for name, value in tags.items():
            if shown.tags.get(name) != value:
                self._client.set_model_version_tag(shown.name, str(shown.version), name, value)

    def _point_alias(self, state: ModelState, shown: dict[ModelVersion, ShownVersion]) -> None:
        wanted = shown[state.production].version if state.production else None
        present = self._client.get_registered_model(state.model).aliases.get(ALIAS)
        if wanted is None and present is not None:
            self._client.delete_registered_model_alias(state.model, ALIAS)
        elif wanted is not None and str(wanted) != str(present):
            self._client.set_registered_model_alias(state.model, ALIAS, str(wanted))


def _tags(version: VersionState) -> dict[str, str]:
    return {
        _NUMBER: version.version,
        "vigil.bundle": version.registration.bundle,
        "vigil.stage": version.stage,
        "vigil.actor": version.since.actor,
        "vigil.reason": version.since.reason,
        "vigil.since": version.since.at.isoformat(),
    }


def _millis(moment: datetime) -> int:
    return to_micros(moment) // 1000


def _prepare_folder(uri: str) -> Path | None:
    """Return where MLflow is to keep the files of runs beside an SQLite database; a server decides for itself."""
    if not uri.startswith("sqlite:///"):
        return None
    folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
    with translate_errors(f"make {folder} for MLflow"):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / "runs"


@contextmanager
def _existing_is_fine() -> Iterator[None]:
    """Let another process be the first to create the same."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def _translated(uri: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        message = f"MLflow at {uri}: {str(error).strip().splitlines()[0]}"
        if error.error_code == "INVALID_PARAMETER_VALUE":
            raise ContractError(message) from error
        raise Unavailable(message) from error
    except ImportError as error:
        raise ContractError(f"MLflow at {uri}: {error}: install the driver, or give the address of a server") from error
    except SQLAlchemyError as error:
        raise Unavailable(f"MLflow at {uri}: the database does not answer: {type(error).__name__}") from error
