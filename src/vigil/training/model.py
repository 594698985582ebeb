"""The ensemble and each member alone, with the thresholds that each would serve with: the candidates of a run."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vigil.contracts.artifacts import Manifest, read_manifest, seal
from vigil.contracts.keys import ContentHash
from vigil.decisions.bundled import model_parts
from vigil.ensemble.fitting import fit_ensemble as combine
from vigil.ensemble.model import Ensemble, restore_ensemble
from vigil.errors import ContractError
from vigil.evaluation.rows import FloatArray
from vigil.evaluation.splits import Window
from vigil.evaluation.thresholds import Thresholds, fit_thresholds, read_thresholds, write_thresholds
from vigil.features.schema import FeatureSchema
from vigil.members.base import UNKNOWN, FeatureMatrix
from vigil.training.folders import fresh, verified
from vigil.training.members import read_members
from vigil.training.rows import FeatureRows, Parts, divide, read_rows
from vigil.training.screened import Screened, pack_canaries, read_screened
from vigil.usecase import UseCase

KIND = "model"
ENSEMBLE = "ensemble"
CANARIES, REFERENCE = "canaries.npz", "reference/rows.parquet"
"""Parts of a bundle beside those that decide: known frauds, and what was usual."""

_ENSEMBLE_FILES, _THRESHOLDS, _EXTRAS, _REFERENCE = "ensemble", "thresholds", "extras", "reference.parquet"
_REFERENCE_ROWS = 5_000


@dataclass(frozen=True, eq=False)
class Candidate:
    """Something that could ship: all members together, or one of them."""

    name: str
    ensemble: Ensemble
    thresholds: Thresholds
    schema: FeatureSchema

    @property
    def members(self) -> tuple[str, ...]:
        """The names of its members."""
        return tuple(member.name for member in self.ensemble.members)

    def score(self, matrix: FeatureMatrix) -> FloatArray:
        """Return the score of each row."""
        return self.ensemble.score(matrix).score


@dataclass(frozen=True, eq=False)
class Model:
    """What a run has fitted."""

    candidates: Mapping[str, Candidate]
    """By name: `ensemble` first, if there is more than one member."""
    abstained: Mapping[str, str]
    """Reason by member."""
    extras: Mapping[str, bytes]
    reference: pa.Table
    hash: ContentHash

    @property
    def main(self) -> Candidate:
        """The candidate that the gates judge first."""
        return next(iter(self.candidates.values()))

    def parts(self, use_case: UseCase, name: str) -> dict[str, bytes]:
        """Return the parts of the bundle of one candidate."""
        chosen = self.candidates[name]
        deciding = model_parts(chosen.ensemble, chosen.schema, chosen.thresholds, use_case.decisions)
        others = [f"score_{other}" for other in self.candidates if other != name]
        table = self.reference.drop_columns(others)
        renamed = [column.replace(f"score_{name}", "score") for column in table.column_names]
        return {**deciding, **self.extras, REFERENCE: _parquet(table.rename_columns(renamed))}


def fit_model(use_case: UseCase, features: Path, screened: Path, members: list[Path], output: Path) -> Manifest:
    """Write the ensemble, calibrated, combined and with thresholds on rows that no member was fitted on."""
    rows = read_rows(use_case, features)
    parts, found = divide(rows), read_screened(screened)
    fitted, abstained = read_members(members)
    lesson = rows.training(found.calibration, parts.labels)
    ensemble = combine(fitted, lesson, use_case.ensemble)
    candidates = _candidates(ensemble, rows, parts, found)
    fresh(output)
    _write_files(output / _ENSEMBLE_FILES, ensemble.to_files())
    _write_files(output / _EXTRAS, {} if found.canaries is None else {CANARIES: pack_canaries(found.canaries)})
    (output / _THRESHOLDS).mkdir()
    for name, candidate in candidates.items():
        write_thresholds(candidate.thresholds, output / _THRESHOLDS / f"{name}.json")
    pq.write_table(_reference(candidates, rows, found), output / _REFERENCE, compression="zstd")
    formula = ensemble.combination.full
    facts = {
        "candidates": list(candidates),
        "abstained": abstained,
        "way": formula.way,
        "weights": dict(zip(formula.members, formula.weights, strict=True)),
    }
    parents = {"features": read_manifest(features).content_hash, "rows": read_manifest(screened).content_hash}
    parents |= {str(read_manifest(one).facts["member"]): read_manifest(one).content_hash for one in members}
    return seal(output, KIND, rows={"calibration": len(lesson)}, parents=parents, facts=facts)


def _candidates(ensemble: Ensemble, rows: FeatureRows, parts: Parts, found: Screened) -> dict[str, Candidate]:
    names = [member.name for member in ensemble.members]
    alone = {name: ensemble.alone(name) for name in names}
    wanted = alone if len(names) == 1 else {ENSEMBLE: ensemble, **alone}
    return {
        name: Candidate(name, chosen, _thresholds(chosen, rows, parts, found), rows.schema)
        for name, chosen in wanted.items()
    }


def _thresholds(ensemble: Ensemble, rows: FeatureRows, parts: Parts, found: Screened) -> Thresholds:
    policy = rows.use_case.thresholds
    chosen = found.calibration
    if policy.rule == "cost":
        chosen = chosen[parts.labels[chosen] != UNKNOWN]
    scores = ensemble.score(rows.take(chosen)).score
    return fit_thresholds(rows.scored(chosen, scores, parts.labels), policy, calibration_window(parts))


def calibration_window(parts: Parts) -> Window:
    """Return the calibration window of the fold, or raise ContractError if the split has none."""
    if parts.fold.calibration is None:
        raise ContractError("the split has no calibration window: set split.plan.calibration_days to 1 or more")
    return parts.fold.calibration


def _reference(candidates: Mapping[str, Candidate], rows: FeatureRows, found: Screened) -> pa.Table:
    """Return features and scores of calibration rows: what drift is measured against."""
    count = len(found.calibration)
    chosen = found.calibration[np.linspace(0, count - 1, min(count, _REFERENCE_ROWS)).astype(np.int64)]
    matrix = rows.take(chosen)
    scores = {f"score_{name}": pa.array(one.score(matrix)) for name, one in candidates.items()}
    values = {name: pa.array(matrix.values[:, k]) for k, name in enumerate(matrix.names)}
    return pa.table({"event_time": rows.table["event_time"].take(pa.array(chosen)), **values, **scores})


def _write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _read_files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def read_model(folder: Path, schema: FeatureSchema) -> Model:
    """Return what `fit_model` wrote, after checking it."""
    manifest = verified(folder, KIND)
    ensemble = restore_ensemble(_read_files(folder / _ENSEMBLE_FILES))
    candidates = {
        name: Candidate(
            name,
            ensemble if name == ENSEMBLE else ensemble.alone(name),
            read_thresholds(folder / _THRESHOLDS / f"{name}.json"),
            schema,
        )
        for name in manifest.facts["candidates"]
    }
    return Model(
        candidates=candidates,
        abstained=manifest.facts["abstained"],
        extras=_read_files(folder / _EXTRAS),
        reference=pq.read_table(folder / _REFERENCE),
        hash=manifest.content_hash,
    )
