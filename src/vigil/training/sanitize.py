"""Which rows the members that learn what is normal may see, and the known frauds that every model must find."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vigil.clock import DAY
from vigil.contracts.artifacts import Manifest, seal
from vigil.contracts.keys import canonical_json
from vigil.errors import ContractError
from vigil.members.base import FRAUD, FeatureMatrix, Member, TrainingRows
from vigil.members.catalog import fit_member, parse_settings
from vigil.members.files import write_arrays
from vigil.members.fitting.sanitation.canaries import choose_canaries
from vigil.members.fitting.sanitation.incidents import (
    Entities,
    IncidentWindow,
    find_incident_rows,
    read_incident_windows,
)
from vigil.members.fitting.sanitation.reference import Reference
from vigil.members.fitting.sanitation.sanitize import Sanitized, sanitize, sanitize_supervised
from vigil.members.fitting.sanitation.settings import SanitationSettings
from vigil.settings import Settings
from vigil.training.features import KIND as FEATURES_KIND
from vigil.training.folders import INCIDENTS, events_hash, fresh, verified
from vigil.training.incumbent import Incumbent, find_incumbent
from vigil.training.rows import FeatureRows, Ints, Parts, divide, read_rows
from vigil.training.screened import CANARIES, KIND, NORMAL_MEMBERS, REPORT, ROWS, pack_canaries
from vigil.usecase import UseCase

_EXCLUDED, _SUPERVISED, _CALIBRATION = "excluded", "supervised.parquet", "calibration.parquet"
_REFERENCE_ROWS = 80_000
"""Of the trusted past, evenly drawn: more would say no more of where rows usually are."""

_TRUSTED_QUANTILE = 0.999
"""Of the ordinary rows, by the plain z-score: frauds beyond it are what no model may miss."""


def sanitize_training_data(
    use_case: UseCase, events: Path, features: Path, output: Path, settings: Settings
) -> Manifest:
    """Write which rows may be trained on into a sealed folder, with the list of those left out and the canaries.

    What came since the training of the model in production is held against what that learned from. A screen that
    leaves out too much fails, but not this step: the gate `sanitation` closes, and the run says why.
    """
    rows = read_rows(use_case, features)
    parts, incumbent = divide(rows), find_incumbent(use_case.name, settings)
    windows, train = _windows(use_case, events, parts.fold.fitted_at), rows.training(parts.train, parts.labels)
    found = _screen(rows, parts, train, windows, _reference(rows, parts, windows, incumbent))
    fresh(output)
    _write(use_case, train, parts, found, output)
    counts = {"normal": int(found.normal.kept.sum()), "excluded": found.normal.excluded.num_rows, **parts.facts()}
    parents = {"features": verified(features, FEATURES_KIND).content_hash, "events": events_hash(events)}
    parents |= {} if incumbent is None else {"incumbent": incumbent.bundle.hash}
    return seal(output, KIND, rows=counts, parents={**parents, "use_case": use_case.content_hash})


@dataclass(frozen=True, eq=False)
class _Found:
    """What the screens say of each part of the rows."""

    normal: Sanitized
    supervised: Sanitized
    calibration: Ints
    calibration_screen: Sanitized | None


def _screen(
    rows: FeatureRows, parts: Parts, train: TrainingRows, windows: list[IncidentWindow], reference: Reference | None
) -> _Found:
    use_case = rows.use_case
    entities = {name: ids[parts.train] for name, ids in rows.entities().items()}
    taught = use_case.members.settings("boosted").features
    calibration, screened = _calibration(rows, parts, windows, reference)
    return _Found(
        normal=sanitize(train.prepared(_seen(use_case)), windows, use_case.sanitation, entities, reference),
        supervised=sanitize_supervised(train.prepared(taught), use_case.sanitation, reference),
        calibration=calibration,
        calibration_screen=screened,
    )


def _reference(
    rows: FeatureRows, parts: Parts, windows: list[IncidentWindow], incumbent: Incumbent | None
) -> Reference | None:
    """Return the rows that the model in production could learn from, without known frauds and incidents."""
    if incumbent is None:
        return None
    warm = rows.times >= rows.times[0] + rows.use_case.split.warm_up_days * DAY
    past = np.flatnonzero(warm & (rows.times < incumbent.until) & (parts.labels != FRAUD))
    past = _outside_incidents(rows, past, windows)
    drawn = np.linspace(0, len(past) - 1, min(len(past), _REFERENCE_ROWS)).astype(np.int64)
    return Reference(rows.take(past[drawn]), rows.times[past[drawn]], incumbent.until)


def _write(use_case: UseCase, train: TrainingRows, parts: Parts, found: _Found, output: Path) -> None:
    found.normal.write(output / _EXCLUDED, None)
    (output / _EXCLUDED / "manifest.json").unlink()  # the outer folder is sealed as a whole
    others = {_SUPERVISED: found.supervised, _CALIBRATION: found.calibration_screen}
    for name, screen in others.items():
        if screen is not None:
            pq.write_table(screen.excluded, output / _EXCLUDED / name, compression="zstd")
    chosen = {"normal": parts.train[found.normal.kept], "supervised": parts.train[found.supervised.kept]}
    (output / ROWS).write_bytes(write_arrays({**chosen, "calibration": found.calibration}))
    _write_canaries(use_case, train, found.normal, output)
    report = {
        **found.normal.report(None),
        "parts": dict(parts.facts()),
        "supervised": {"excluded_by_rule": found.supervised.counts, "skipped": dict(found.supervised.skipped)},
        "calibration": _facts(found.calibration_screen),
    }
    (output / REPORT).write_bytes(canonical_json(report) + b"\n")


def _seen(use_case: UseCase) -> tuple[str, ...]:
    """Return the features that the normal-learning members see: what is strange elsewhere teaches them nothing."""
    chosen = [use_case.members.settings(kind).features for kind in NORMAL_MEMBERS]
    return () if () in chosen else tuple(dict.fromkeys(name for names in chosen for name in names))


def _windows(use_case: UseCase, events: Path, fitted_at: int) -> list[IncidentWindow]:
    """Return the incidents that were known when the model is fitted."""
    path = events / INCIDENTS
    found = read_incident_windows(path, use_case.incidents.kinds) if path.is_file() else ()
    return [window for window in found if window.start < fitted_at]


def _calibration(
    rows: FeatureRows, parts: Parts, windows: list[IncidentWindow], reference: Reference | None
) -> tuple[Ints, Sanitized | None]:
    """Return the calibration rows outside of known incidents and without poison: what they hold is not usual."""
    chosen = _outside_incidents(rows, parts.calibration, windows)
    if rows.use_case.sanitation.poison is None or not len(chosen):
        return chosen, None
    lesson = rows.training(chosen, parts.labels).prepared(_seen(rows.use_case))
    entities = {name: ids[chosen] for name, ids in rows.entities().items()}
    kept, found = screen_calibration(lesson, rows.use_case.sanitation, entities, reference)
    return chosen[kept], found


def screen_calibration(
    lesson: TrainingRows, settings: SanitationSettings, entities: Entities, reference: Reference | None = None
) -> tuple[NDArray[np.bool_], Sanitized]:
    """Return which rows may calibrate, and what was found: copies, clusters and bursts do not say what is usual.

    Known frauds stay, as do outliers and rows that look like frauds: the tail of the scores is what is calibrated. A
    screen that fails leaves nothing out.
    """
    screens = settings.model_copy(update={"incident_windows": None, "outliers": None, "likeness": None})
    found = sanitize(lesson, [], screens, entities, reference)
    return found.kept | (lesson.labels == FRAUD) | (not found.passed), found


def _outside_incidents(rows: FeatureRows, chosen: Ints, windows: list[IncidentWindow]) -> Ints:
    screen = rows.use_case.sanitation.incident_windows
    if screen is None or not windows:
        return chosen
    entities = {name: ids[chosen] for name, ids in rows.entities().items()}
    return np.delete(chosen, find_incident_rows(rows.times[chosen], entities, windows, screen).rows)


def _facts(calibration: Sanitized | None) -> dict[str, Any]:
    """Return what the report says of the calibration rows: left out by rule if no screen failed, or why none was."""
    if calibration is None:
        return {}
    counts = {rule: count for rule, count in calibration.counts.items() if rule != "known_fraud"}
    return {"excluded_by_rule": counts if calibration.passed else {}, "failures": list(calibration.failures)}


def _write_canaries(use_case: UseCase, train: TrainingRows, found: Sanitized, output: Path) -> None:
    """Write the most blatant of the known frauds, if any; if there is none, the gate says that nothing is proved."""
    canaries = blatant_frauds(use_case, train, found)
    if canaries is not None:
        (output / CANARIES).write_bytes(pack_canaries(canaries))


def blatant_frauds(use_case: UseCase, train: TrainingRows, found: Sanitized) -> FeatureMatrix | None:
    """Return the most blatant of the known frauds, as a plain z-score fitted on the kept rows sees them, if any."""
    names = use_case.members.settings("isolation_forest").features
    trusted = fit_member(parse_settings({"kind": "z_score", "features": names}), train.take(found.kept))
    if not isinstance(trusted, Member) or not (train.labels == FRAUD).any():
        return None
    threshold = _most_blatant(trusted, train, found, use_case.checks.canaries)
    try:
        return choose_canaries(train, trusted.score, threshold, use_case.checks.canaries, use_case.sanitation.seed)
    except ContractError:
        return None


def _most_blatant(trusted: Member, train: TrainingRows, found: Sanitized, count: int) -> float:
    """Return the score beyond which frauds are blatant: beyond the ordinary, and among the highest of all frauds."""
    ordinary = np.quantile(trusted.score(train.take(found.kept).matrix), _TRUSTED_QUANTILE)
    frauds = np.sort(trusted.score(train.take(train.labels == FRAUD).matrix))
    return float(max(ordinary, frauds[-min(2 * count, len(frauds))]))
