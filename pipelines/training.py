"""Raw data to a candidate that serves."""

from kfp import dsl

from pipelines.steps import Asked, Place, on_exit, train


@dsl.pipeline(
    name="training",
    display_name="Vigil: training",
    description="Raw transactions to a gated, registered ensemble that serves.",
)
def training(
    use_case: str,
    raw_uri: str,
    data_version: str,
    code_version: str,
    source: str = "",
    deploy_target: str = "local",
    traffic_percent: int = 100,
    namespace: str = "default",
    serving_image: str = "",
    profile: str = "production",
    started_by: str = "",
    where: str = "",
    notify_on_success: bool = False,
) -> None:
    """Train, judge, register and deploy.

    Args:
        use_case: the use case as JSON; `vigil.training.parameters.run_parameters` gives this and the two versions
        raw_uri: raw file, or folder of canonical events; here or at gs://
        data_version: hash of the raw data; a run for other data is refused, and an equal one answers from the cache
        code_version: hash of vigil's sources; changed code is never answered from the cache
        source: mapping of a raw file; the use case's first if empty
        deploy_target: local, kserve, or none to stop at the registration
        traffic_percent: share of the traffic for the candidate; a first model gets everything
        namespace: of the InferenceService
        serving_image: of the InferenceService
        profile: sizes of the InferenceService
        started_by: person or policy, for the records
        where: address at which people can look at the run, for the mail
        notify_on_success: mail not only when the run fails
    """
    cause = "training"
    with dsl.ExitHandler(on_exit(cause, where, notify_on_success), name="train"):
        asked = Asked(use_case, raw_uri, source, data_version, code_version, cause, "", started_by)
        train(asked, Place(deploy_target, traffic_percent, namespace, serving_image, profile))
