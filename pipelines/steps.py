"""The body that training and retraining share."""

from dataclasses import dataclass

from kfp import dsl
from kfp.dsl.pipeline_channel import PipelineChannel

from components.apply_gates import apply_gates
from components.build_features import build_features
from components.deploy_candidate import deploy_candidate
from components.evaluate import evaluate
from components.fit_ensemble import fit_ensemble
from components.notify import notify
from components.register_model import register_model
from components.sanitize_training_data import sanitize_training_data
from components.train_autoencoder import train_autoencoder
from components.train_boosted import train_boosted
from components.train_isolation_forest import train_isolation_forest
from components.validate_ingest import validate_ingest
from pipelines.limits import large, small, with_effect


@dataclass(frozen=True)
class Asked:
    """The parameters of a run, as channels while a pipeline is compiled."""

    use_case: str
    raw_uri: str
    source: str
    data_version: str
    code_version: str
    cause: str
    event_id: str
    started_by: str


@dataclass(frozen=True)
class Place:
    """Where and how the candidate is deployed."""

    target: str
    traffic_percent: int
    namespace: str
    image: str
    profile: str


@dataclass(frozen=True)
class Data:
    """The outputs that most tasks read."""

    events: PipelineChannel
    features: PipelineChannel
    feature_state: PipelineChannel
    training_rows: PipelineChannel


def on_exit(cause: str, where: str, on_success: bool) -> dsl.PipelineTask:
    """Return the task that tells how the run ended."""
    return with_effect(small(notify(cause=cause, where=where, on_success=on_success), "Notify"))


def ingest(asked: Asked) -> dsl.PipelineTask:
    """Return the task that makes events of the raw data."""
    task = validate_ingest(
        use_case=asked.use_case,
        raw_uri=asked.raw_uri,
        source=asked.source,
        data_version=asked.data_version,
        code_version=asked.code_version,
    )
    return large(task, "Validate and ingest")


def prepare(asked: Asked) -> Data:
    """Wire what comes before the fits."""
    events = ingest(asked).outputs["events"]
    common = {"use_case": asked.use_case, "code_version": asked.code_version, "events": events}
    built = large(build_features(**common), "Build features")
    sanitized = sanitize_training_data(**common, features=built.outputs["features"])
    screened = with_effect(large(sanitized, "Sanitize the training data"))  # it looks up what is in production
    return Data(events, built.outputs["features"], built.outputs["feature_state"], screened.outputs["training_rows"])


def fit(asked: Asked, data: Data) -> PipelineChannel:
    """Wire the members and the ensemble of them, and return the model."""
    common = {"use_case": asked.use_case, "code_version": asked.code_version}
    common |= {"features": data.features, "training_rows": data.training_rows}
    forest = large(train_isolation_forest(**common), "Train the Isolation Forest")
    network = large(train_autoencoder(**common), "Train the autoencoder")
    trees = large(train_boosted(**common), "Train the boosted trees")
    members = {"isolation_forest": forest, "autoencoder": network, "boosted": trees}
    fitted = {name: task.outputs["member"] for name, task in members.items()}
    return large(fit_ensemble(**common, **fitted), "Fit the ensemble").outputs["model"]


def train(asked: Asked, place: Place) -> None:
    """Wire everything from raw data to a candidate that serves; what the gates reject is not stored, nor deployed."""
    data = prepare(asked)
    model = fit(asked, data)
    seen = {"events": data.events, "features": data.features, "training_rows": data.training_rows, "model": model}
    measured = with_effect(large(evaluate(use_case=asked.use_case, **seen), "Evaluate"))
    judged = small(apply_gates(use_case=asked.use_case, evaluation=measured.outputs["evaluation"]), "Apply the gates")
    judged.set_caching_options(enable_caching=False)
    with dsl.If(judged.outputs["Output"] != "reject", name="passed-the-gates"):
        judgement = {"evaluation": measured.outputs["evaluation"], "verdicts": judged.outputs["verdicts"]}
        why = {"cause": asked.cause, "event_id": asked.event_id, "started_by": asked.started_by}
        registered = register_model(
            use_case=asked.use_case, **why, **seen, **judgement, feature_state=data.feature_state
        )
        with_effect(small(registered, "Register the model"))
        with dsl.If(place.target != "none", name="wanted-in-service"):
            with_effect(small(_deploy(place, registered), "Deploy the candidate"))


def _deploy(place: Place, registered: dsl.PipelineTask) -> dsl.PipelineTask:
    return deploy_candidate(
        target=place.target,
        traffic_percent=place.traffic_percent,
        namespace=place.namespace,
        image=place.image,
        profile=place.profile,
        registered=registered.outputs["registered"],
    )
