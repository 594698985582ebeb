"""Raw data become validated events, with quarantine and report."""

from kfp import dsl

from components.base import component


@component
def validate_ingest(
    use_case: str,
    raw_uri: str,
    source: str,
    data_version: str,
    code_version: str,
    events: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Turn raw data into validated events; too many bad rows fail the run."""
    from vigil.training import steps

    found = steps.validate_ingest(use_case, raw_uri, source, data_version, events.path, report.path)
    events.metadata.update(found)
