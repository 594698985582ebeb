"""A raw file to decisions by a registered version."""

from kfp import dsl

from components.score_batch import score_batch
from pipelines.limits import large, with_effect
from pipelines.steps import Asked, ingest, on_exit


@dsl.pipeline(
    name="batch-scoring",
    display_name="Vigil: batch scoring",
    description="Decisions with reasons for a whole file, by a registered version.",
)
def batch_scoring(
    use_case: str,
    raw_uri: str,
    data_version: str,
    code_version: str,
    version: str = "production",
    source: str = "",
    where: str = "",
    notify_on_success: bool = False,
) -> None:
    """Decide every transaction of a file.

    Args:
        use_case: the use case as JSON
        raw_uri: raw file, or folder of canonical events; here or at gs://
        data_version: hash of the raw data
        code_version: hash of vigil's sources
        version: number of the version in the registry, or production
        source: mapping of a raw file; the use case's first if empty
        where: address at which people can look at the run, for the mail
        notify_on_success: mail not only when the run fails
    """
    with dsl.ExitHandler(on_exit("batch scoring", where, notify_on_success), name="score"):
        asked = Asked(use_case, raw_uri, source, data_version, code_version, "", "", "")
        events = ingest(asked).outputs["events"]
        scored = score_batch(use_case=use_case, version=version, events=events)
        with_effect(large(scored, "Score the batch"))
