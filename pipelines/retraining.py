"""The same as training, started by an event such as drift, and linked to it."""

from kfp import dsl

from pipelines.steps import Asked, Place, on_exit, train


@dsl.pipeline(
    name="retraining",
    display_name="Vigil: retraining",
    description="Training because of an event, such as drift of the population.",
)
def retraining(
    use_case: str,
    raw_uri: str,
    data_version: str,
    code_version: str,
    cause: str,
    event_id: str,
    started_by: str,
    source: str = "",
    deploy_target: str = "local",
    traffic_percent: int = 10,
    namespace: str = "default",
    serving_image: str = "",
    profile: str = "production",
    where: str = "",
    notify_on_success: bool = True,
) -> None:
    """Train, judge, register and deploy, with the cause on record.

    Args:
        use_case: the use case as JSON
        raw_uri: raw file, or folder of canonical events; here or at gs://
        data_version: hash of the raw data
        code_version: hash of vigil's sources
        cause: why, in words
        event_id: of the event that asked for it; the same event asks once
        started_by: person or policy
        source: mapping of a raw file; the use case's first if empty
        deploy_target: local, kserve, or none to stop at the registration
        traffic_percent: share of the traffic for the candidate
        namespace: of the InferenceService
        serving_image: of the InferenceService
        profile: sizes of the InferenceService
        where: address at which people can look at the run, for the mail
        notify_on_success: mail not only when the run fails
    """
    with dsl.ExitHandler(on_exit(cause, where, notify_on_success), name="retrain"):
        asked = Asked(use_case, raw_uri, source, data_version, code_version, cause, event_id, started_by)
        train(asked, Place(deploy_target, traffic_percent, namespace, serving_image, profile))
