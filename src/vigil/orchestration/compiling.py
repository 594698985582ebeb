"""The pipelines of a checkout in their compiled forms: what kfp runs, and manifests for a cluster kept by Git.

It runs as a process of its own, `python -m vigil.orchestration.compiling CHECKOUT OUTPUT`, since importing the modules
of `components/` and `pipelines/` is for good, and their names are anyone's.
"""

import difflib
import importlib
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vigil.errors import ContractError
from vigil.orchestration.ir import load_pipeline, version_name
from vigil.settings import child_environment

COMPILED = Path("pipelines/compiled")
MANIFESTS = Path("manifests/pipelines")
_NAMESPACE = "kubeflow"
_SHOWN = 12


def compiled_files(checkout: Path) -> dict[Path, str]:
    """Return the text of each file to be written, by its path within the checkout: the same for the same source."""
    if not (checkout / "pipelines").is_dir():
        raise ContractError(
            f"{checkout.absolute()} has no folder pipelines: run this in a checkout, or give --checkout"
        )
    with tempfile.TemporaryDirectory(prefix="vigil-compile-") as folder:
        done = subprocess.run(
            [sys.executable, "-m", "vigil.orchestration.compiling", str(checkout.absolute()), folder],
            env=child_environment({"PYTHONHASHSEED": "0"}),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ContractError(f"the pipelines do not compile: {_last_lines(done.stderr)}")
        root = Path(folder)
        return {path.relative_to(root): path.read_text("utf-8") for path in sorted(root.rglob("*.yaml"))}


def differences(checkout: Path, files: Mapping[Path, str]) -> list[str]:
    """Return a text for each file of the checkout that is not as it would be compiled now."""
    found = []
    for path, text in files.items():
        present = checkout / path
        if not present.exists():
            found.append(f"{path} is absent")
        elif (old := present.read_text("utf-8")) != text:
            lines = list(difflib.unified_diff(old.splitlines(), text.splitlines(), n=0, lineterm=""))
            found.append("\n".join([f"{path} differs", *lines[2 : 2 + _SHOWN]]))
    for folder in {path.parent for path in files}:
        known = {path for path in files if path.parent == folder}
        surplus = {path.relative_to(checkout) for path in (checkout / folder).glob("*.yaml")} - known
        found += [f"{path} comes from no pipeline" for path in sorted(surplus)]
    return found


def _last_lines(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-_SHOWN:])


def _compile_all(checkout: Path, output: Path) -> None:
    """Compile each module of `pipelines/` that holds a pipeline into `output`."""
    warnings.simplefilter("ignore")
    sys.path.insert(0, str(checkout))
    os.chdir(checkout)
    for path in sorted((checkout / "pipelines").glob("*.py")):
        pipeline = _pipeline_of(importlib.import_module(f"pipelines.{path.stem}"), path.stem)
        if pipeline is not None:
            _compile(pipeline, path.stem, output)


def _pipeline_of(module: Any, stem: str) -> Any:  # noqa: ANN401 - kfp has no types
    """Return the pipeline that has the name of its module; others in there are parts of it."""
    from kfp.dsl import graph_component

    found = [one for one in vars(module).values() if isinstance(one, graph_component.GraphComponent)]
    return next((one for one in found if one.name.replace("-", "_") == stem), None)


def _compile(pipeline: Any, stem: str, output: Path) -> None:  # noqa: ANN401 - kfp has no types
    from kfp import compiler
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    compiled, manifest = (output / folder / f"{stem}.yaml" for folder in (COMPILED, MANIFESTS))
    for path in (compiled, manifest):
        path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(pipeline, str(compiled))
    loaded = load_pipeline(compiled)
    options = KubernetesManifestOptions(
        pipeline_name=loaded.name,
        # The name, not the title: `vigil pipeline submit` then finds what Git has put there.
        pipeline_display_name=loaded.name,
        pipeline_version_name=version_name(loaded),
        pipeline_version_display_name=version_name(loaded),
        namespace=_NAMESPACE,
        include_pipeline_manifest=True,
    )
    compiler.Compiler().compile(
        pipeline, str(manifest), kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )


if __name__ == "__main__":
    _compile_all(Path(sys.argv[1]), Path(sys.argv[2]))
