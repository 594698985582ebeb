import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.members.subjects import subject_of
from vigil.members.catalog import KINDS

FORBIDDEN = ("sklearn", "keras", "jax", "jaxlib", "pandas", "scipy", "xgboost", "mlflow", "kfp", "tensorflow")

SERVE = """
import hashlib, sys
from pathlib import Path
import numpy as np

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise ImportError(f"serving imported {name}")

FORBIDDEN = sys.argv[2].split(",")
sys.meta_path.insert(0, Refuse())

from vigil.members.base import FeatureMatrix
from vigil.members.catalog import load_member

for folder in sorted(Path(sys.argv[1]).iterdir()):
    member = load_member({path.name: path.read_bytes() for path in folder.iterdir() if path.name != "usual.npy"})
    matrix = FeatureMatrix(np.load(folder / "usual.npy"), member.feature_names)
    digest = hashlib.sha256(member.score(matrix).tobytes() + member.explain(matrix).tobytes())
    print(folder.name, digest.hexdigest())
assert not set(FORBIDDEN) & {name.partition(".")[0] for name in sys.modules}
"""


def save(kind: str, folder: Path) -> str:
    """Write a member and rows for it into the folder and return the digest that serving it must print."""
    subject = subject_of(kind)
    folder.mkdir()
    for name, content in subject.member.to_files().items():
        (folder / name).write_bytes(content)
    np.save(folder / "usual.npy", subject.usual.select(subject.member.feature_names))
    parts = subject.member.score(subject.usual).tobytes() + subject.member.explain(subject.usual).tobytes()
    return hashlib.sha256(parts).hexdigest()


def serve(folder: Path, forbidden: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", SERVE, str(folder), ",".join(forbidden)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_member_is_served_bit_for_bit_without_the_libraries_that_fit(tmp_path: Path) -> None:
    expected = {kind: save(kind, tmp_path / kind) for kind in KINDS}
    outcome = serve(tmp_path, FORBIDDEN)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stderr == ""
    assert dict(line.split() for line in outcome.stdout.splitlines()) == expected


def test_the_serving_check_notices_an_import(tmp_path: Path) -> None:
    save("z_score", tmp_path / "z_score")
    outcome = serve(tmp_path, ("numba",))
    assert "serving imported numba" in outcome.stderr


def test_everything_that_fits_imports_without_a_word() -> None:
    modules = sorted({kind.fit.partition(":")[0] for kind in KINDS.values()})
    code = "import " + ", ".join(f"vigil.members.fitting.{module}" for module in modules)
    outcome = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, check=False)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (0, b"", b"")
