"""What a run of a pipeline has to be told."""

from vigil.registry.metadata import code_version
from vigil.training.raw import raw_hash
from vigil.usecase import UseCase


def run_parameters(use_case: UseCase, raw_uri: str) -> dict[str, str]:
    """Return the parameters that every pipeline needs: use case, raw data, and the versions of data and code.

    The versions are content hashes: a task is answered from the cache only if neither data nor code have changed.
    """
    return {
        "use_case": use_case.text,
        "raw_uri": raw_uri,
        "data_version": raw_hash(raw_uri),
        "code_version": code_version().sources,
    }
