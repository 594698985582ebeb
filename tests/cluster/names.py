"""Names that the tests on a cluster share."""

import os
from pathlib import Path

RELEASE = Path(__file__).parents[1] / "registry" / "fixtures" / "release_0_1"
NAMESPACE, CLAIM = "vigil-test", "bundles"
SERVING_IMAGE = os.environ.get("TEST_SERVING_IMAGE", "dev.local/vigil-python:1")
PIPELINE_IMAGE = os.environ.get("TEST_PIPELINE_IMAGE", "dev.local/vigil-pipeline-python:1")
