"""Which training rows the members that learn what is normal may see, and which not, and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vigil.contracts.artifacts import Manifest, seal
from vigil.contracts.keys import ContentHash, canonical_json, hash_table
from vigil.errors import ContractError
from vigil.members.base import FRAUD, Facts, TrainingRows
from vigil.members.fitting.sanitation.canaries import CanaryVerdict
from vigil.members.fitting.sanitation.excluded import excluded_table
from vigil.members.fitting.sanitation.finding import Finding, one_text
from vigil.members.fitting.sanitation.incidents import Entities, IncidentWindow, find_incident_rows
from vigil.members.fitting.sanitation.likeness import find_like_frauds, fraud_lift
from vigil.members.fitting.sanitation.outliers import find_outliers
from vigil.members.fitting.sanitation.outlyingness import survey
from vigil.members.fitting.sanitation.poison import find_poison
from vigil.members.fitting.sanitation.reference import Reference, find_crowded
from vigil.members.fitting.sanitation.settings import (
    LikenessScreen,
    OutlierScreen,
    PoisonScreen,
    SanitationSettings,
)

KIND = "sanitation"
INCIDENT_WINDOWS, OUTLIERS, POISON, REFERENCE = "incident_windows", "outliers", "poison", "reference"
LIKENESS = "likeness"
"""The screens, by the names that the gate asks for."""


@dataclass(frozen=True, eq=False)
class Sanitized:
    """What was left out of the training, by which rule; and whether the rest may be trained on."""

    kept: NDArray[np.bool_]
    excluded: pa.Table
    """One line for each row that was left out: row, event_time, rule, detail."""
    screens: tuple[str, ...]
    """Those that ran and stayed within the share that they may leave out."""
    failures: tuple[str, ...]
    settings: ContentHash
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Screens that could not be run on these rows and are no failure: why not, by name."""

    @property
    def passed(self) -> bool:
        """Whether every screen that was asked for ran, and stayed within its share."""
        return not self.failures

    @property
    def counts(self) -> dict[str, int]:
        """Rows that were left out, by rule."""
        return dict(sorted(Counter(self.excluded["rule"].to_pylist()).items()))

    @property
    def excluded_hash(self) -> ContentHash:
        """Hash of the list."""
        return hash_table(self.excluded)

    def training_rows(self, rows: TrainingRows) -> TrainingRows:
        """Return the rows that were kept, or raise ContractError if a screen failed."""
        if len(rows) != len(self.kept):
            raise ContractError(f"{len(self.kept)} rows were screened, these are {len(rows)}: pass the same rows")
        if self.failures:
            raise ContractError(f"the training rows did not pass the screens: {'; '.join(self.failures)}")
        return rows.take(self.kept)

    def evidence(self, canaries: CanaryVerdict | None) -> Facts:
        """Return what the gate `sanitation` is judged by; None says that no canaries were tried."""
        kept = int(self.kept.sum())
        return {
            "screens": list(self.screens),
            "rows_in": len(self.kept),
            "rows_kept": kept,
            "rows_excluded": len(self.kept) - kept,
            "excluded_hash": self.excluded_hash,
            "canary_detected": None if canaries is None else canaries.detected,
        }

    def report(self, canaries: CanaryVerdict | None) -> Facts:
        """Return the evidence, the counts by rule, the failures and the version of the settings, as JSON."""
        return {
            **self.evidence(canaries),
            "excluded_by_rule": self.counts,
            "failures": list(self.failures),
            "skipped": dict(self.skipped),
            "settings": self.settings,
        }

    def write(self, folder: Path, canaries: CanaryVerdict | None) -> Manifest:
        """Write `excluded.parquet` and `report.json` into a sealed folder; the same rows give the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.excluded, folder / "excluded.parquet", compression="zstd")
        (folder / "report.json").write_bytes(canonical_json(self.report(canaries)) + b"\n")
        return seal(folder, KIND, rows={"excluded": self.excluded.num_rows, "kept": int(self.kept.sum())})


def sanitize(
    rows: TrainingRows,
    incidents: Sequence[IncidentWindow],
    settings: SanitationSettings,
    entities: Entities | None = None,
    reference: Reference | None = None,
) -> Sanitized:
    """Return which rows a member that learns what is normal may be fitted on; the same input gives the same answer.

    Not for the supervised member: it needs the frauds that are left out here. `entities` holds each row's ids; windows
    that name an entity need it, and bursts of single entities are found in it.
    """
    _check_entities(entities or {}, len(rows))
    findings = [one_text("known_fraud", rows.labels == FRAUD, "labelled as fraud")]
    screens, failures = [], []
    if settings.incident_windows is not None:
        findings.append(find_incident_rows(rows.times, entities or {}, incidents, settings.incident_windows))
        screens.append(INCIDENT_WINDOWS)
    remaining = _remaining(len(rows), findings)
    lift, skipped = _likeness(rows, remaining, settings)
    for verdict in _screen(rows, _Beside(entities or {}, lift), remaining, settings):
        findings += verdict.findings
        if verdict.failure is None:
            screens.append(verdict.name)
        else:
            failures.append(verdict.failure)
    crowded = find_crowded(rows, remaining, reference, settings)
    if isinstance(crowded, str):
        skipped[REFERENCE] = crowded
    else:
        findings.append(crowded)
        screens.append(REFERENCE)
    kept, excluded = _left_out(rows, findings)
    if not kept.any():
        failures.append("nothing is left to train on")
    return Sanitized(kept, excluded, tuple(screens), tuple(failures), settings.content_hash, skipped)


def sanitize_supervised(
    rows: TrainingRows, settings: SanitationSettings, reference: Reference | None = None
) -> Sanitized:
    """Return which rows the supervised member may be fitted on: all frauds, and no crowd of others called legitimate.

    Poison teaches it that there are few frauds among many rows, wherever somebody put rows of his own between them.
    Without a reference, or where the world has moved, every row is kept and `skipped` says why.
    """
    crowded = find_crowded(rows, np.flatnonzero(rows.labels != FRAUD), reference, settings)
    if isinstance(crowded, str):
        return Sanitized(*_left_out(rows, []), (), (), settings.content_hash, {REFERENCE: crowded})
    return Sanitized(*_left_out(rows, [crowded]), (REFERENCE,), (), settings.content_hash)


def _left_out(rows: TrainingRows, findings: Sequence[Finding]) -> tuple[NDArray[np.bool_], pa.Table]:
    """Return which rows no finding names, and the list of the others."""
    excluded = excluded_table(rows.times, findings)
    kept = np.ones(len(rows), dtype=bool)
    kept[excluded["row"].to_numpy()] = False
    return kept, excluded


def _likeness(
    rows: TrainingRows, remaining: NDArray[np.int64], settings: SanitationSettings
) -> tuple[NDArray[np.float64] | None, dict[str, str]]:
    """Return how like the known frauds each row is; or none, with the reason if the screen was asked for."""
    screen, frauds = settings.likeness, np.flatnonzero(rows.labels == FRAUD)
    if screen is None or len(remaining) == 0:
        return None, {}
    if len(frauds) < screen.least_frauds:
        needed = f"it needs {screen.least_frauds} (least_frauds)"
        return None, {LIKENESS: f"{len(frauds)} known frauds do not say what frauds look like, {needed}"}
    compared = np.sort(np.concatenate([frauds, remaining]))
    lift = np.zeros(len(rows))
    lift[compared] = fraud_lift(rows.take(compared), settings.seed)
    return lift, {}


@dataclass(frozen=True, eq=False)
class _Beside:
    """What is known beside the rows."""

    entities: Entities
    fraud_lift: NDArray[np.float64] | None
    """Of each row; None where there are too few known frauds to tell."""

    def of(self, rows: NDArray[np.int64]) -> "_Beside":
        """Return what is known beside some of the rows."""
        lift = None if self.fraud_lift is None else self.fraud_lift[rows]
        return _Beside({name: ids[rows] for name, ids in self.entities.items()}, lift)


@dataclass(frozen=True)
class _Verdict:
    """What one screen found, and why it failed if it did."""

    name: str
    findings: tuple[Finding, ...]
    failure: str | None


def _screen(
    rows: TrainingRows, beside: _Beside, remaining: NDArray[np.int64], settings: SanitationSettings
) -> list[_Verdict]:
    """Return the verdict of each screen that looks at the rows' values, over the rows that are left."""
    screens: dict[str, PoisonScreen | OutlierScreen | LikenessScreen | None] = {
        POISON: settings.poison,
        OUTLIERS: settings.outliers,
    }
    if beside.fraud_lift is not None:
        screens[LIKENESS] = settings.likeness
    most = {name: screen.most for name, screen in screens.items() if screen is not None}
    if len(remaining) < settings.least_rows:
        reason = f"{len(remaining)} rows are too few to tell, it needs {settings.least_rows} (least_rows)"
        return [_Verdict(name, (), f"{name}: {reason}") for name in most]
    found = _find(rows.take(remaining), beside.of(remaining), settings)
    return [
        _Verdict(
            name,
            tuple(finding.among(remaining) for finding in findings),
            _failure(name, findings, len(remaining), most[name]),
        )
        for name, findings in found.items()
    ]


def _find(rows: TrainingRows, beside: _Beside, settings: SanitationSettings) -> dict[str, list[Finding]]:
    found = {}
    if settings.poison is not None or settings.outliers is not None:
        land = survey(rows.matrix, (settings.poison or PoisonScreen()).clusters, settings.seed)
        if settings.poison is not None:
            found[POISON] = find_poison(rows.times, beside.entities, land, settings.poison)
        if settings.outliers is not None:
            found[OUTLIERS] = find_outliers(land, settings.outliers)
    if settings.likeness is not None and beside.fraud_lift is not None:
        found[LIKENESS] = [find_like_frauds(beside.fraud_lift, settings.likeness)]
    return found


def _failure(name: str, findings: Sequence[Finding], rows: int, most: float) -> str | None:
    share = len(np.unique(np.concatenate([finding.rows for finding in findings]))) / rows
    if share <= most:
        return None
    return (
        f"{name}: {share:.1%} of {rows:,} rows would be left out, at most {most:.1%} may be: look into the list before "
        "anything is trained on the rest"
    )


def _remaining(rows: int, findings: Sequence[Finding]) -> NDArray[np.int64]:
    left = np.ones(rows, dtype=bool)
    for finding in findings:
        left[finding.rows] = False
    return np.flatnonzero(left)


def _check_entities(entities: Mapping[str, NDArray[Any]], rows: int) -> None:
    for name, ids in entities.items():
        if ids.shape != (rows,):
            raise ContractError(f"entities[{name!r}] has shape {ids.shape}, expected ({rows},): one id for each row")
