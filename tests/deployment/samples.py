"""Requests for the tests."""

from typing import Any

from vigil.contracts.keys import hash_bytes
from vigil.deployment.request import DeployRequest, Target

IMAGE = "registry.example/vigil-python@sha256:" + "a" * 64


def request(version: str = "1", **changes: Any) -> DeployRequest:
    """A request for a version; each version has a bundle of its own."""
    digest = hash_bytes(f"bundle {version}".encode())
    return DeployRequest.model_validate(
        {
            "model": "card_fraud",
            "version": version,
            "bundle_uri": f"gs://models/bundles/{digest.removeprefix('sha256:')}",
            "bundle_hash": digest,
            "target": Target.KSERVE,
            "namespace": "fraud",
            "image": IMAGE,
            **changes,
        }
    )
