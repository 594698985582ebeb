"""Names that the tests on a cluster share."""

import os
from pathlib import Path

RELEASE = Path(__file__).parents[1] / "registry" / "fixtures" / "release_0_1"
NAMESPACE, CLAIM = "vigil-test", "bundles"
SERVING_IMAGE = os.environ.get("VIGIL_TEST_SERVING", "dev.local/vigil-python:1")
PIPELINE_IMAGE = os.environ.get("VIGIL_TEST_PIPELINE", "dev.local/vigil-pipeline-python:1")
