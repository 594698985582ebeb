"""Compiles every pipeline: `python -m pipelines.compile [FOLDER]`; VIGIL_IMAGE is the image of the steps."""

import sys
from pathlib import Path

from kfp import compiler

from pipelines.batch_scoring import batch_scoring
from pipelines.retraining import retraining
from pipelines.training import training

PIPELINES = {"training": training, "retraining": retraining, "batch_scoring": batch_scoring}
COMPILED = Path(__file__).parent / "compiled"


def compile_all(folder: Path) -> list[Path]:
    """Write one YAML file for each pipeline and return the paths; the same code and image give the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pipeline in PIPELINES.items():
        paths.append(folder / f"{name}.yaml")
        compiler.Compiler().compile(pipeline, str(paths[-1]))
    return paths


if __name__ == "__main__":
    for path in compile_all(Path(sys.argv[1]) if len(sys.argv) > 1 else COMPILED):
        sys.stdout.write(f"{path}\n")
