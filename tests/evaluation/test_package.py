import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["vigil.evaluation.thresholds", "vigil.cli_evaluation"])
def test_what_serving_and_the_command_line_import_is_free_of_the_training_extra(module: str) -> None:
    heavy = ("scipy", "sklearn", "matplotlib", "jinja2", "pandas")
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
