"""The model in production, scored on the rows that the candidate is measured on, whatever features it needs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vigil.decisions.bundled import load_decider
from vigil.decisions.decider import Decider
from vigil.errors import ContractError
from vigil.evaluation.rows import FloatArray, ScoredRows
from vigil.features.engine import compute_tables
from vigil.features.fields import KINDS
from vigil.members.base import FeatureMatrix
from vigil.settings import Settings
from vigil.training.folders import read_events
from vigil.training.incumbent import find_incumbent
from vigil.training.model import CANARIES
from vigil.training.rows import FeatureRows, Ints
from vigil.training.screened import unpack_canaries


@dataclass(frozen=True, eq=False)
class Production:
    """The version in production and its scores of the test rows; `obstacle` says why there are none."""

    name: str
    scores: FloatArray | None
    thresholds: FloatArray | None
    canaries: FeatureMatrix | None
    """Its known frauds, where they have the candidate's features."""
    obstacle: str = ""
    note: str = ""


def find_production(
    rows: FeatureRows, test: ScoredRows, chosen: Ints, events: Path, settings: Settings
) -> Production | None:
    """Return the model in production with its scores of the chosen rows; None if there is none.

    One of another feature schema gets its own features, computed anew from the same events.
    """
    found = find_incumbent(rows.use_case.name, settings)
    if found is None:
        return None
    name, bundle = found.name, found.bundle
    decider = load_decider(bundle)
    if decider.schema.content_hash == rows.schema.content_hash:
        canaries = unpack_canaries(bundle.read(CANARIES)) if CANARIES in bundle.names else None
        return _scored(name, decider, rows.take(chosen), test, canaries)
    try:
        matrix = _own_features(decider, rows, chosen, events)
    except ContractError as error:
        return Production(
            name, None, None, None, obstacle=f"{name} has other features, and they cannot be had: {error}"
        )
    own = _scored(name, decider, matrix, test, None)
    note = f"{name} has another feature schema ({decider.schema.content_hash}): its features were computed anew"
    return Production(own.name, own.scores, own.thresholds, None, note=note)


def _scored(
    name: str, decider: Decider, matrix: FeatureMatrix, test: ScoredRows, canaries: FeatureMatrix | None
) -> Production:
    scores = decider.ensemble.score(matrix).score
    thresholds = decider.thresholds
    try:
        own = thresholds.for_rows(test)
    except ContractError:  # the test rows are those that its thresholds were set on
        own = np.full(len(test), thresholds.overall)
    return Production(name, scores, own, canaries)


def _own_features(decider: Decider, rows: FeatureRows, chosen: Ints, events: Path) -> FeatureMatrix:
    tables = {kind: table for kind, table in read_events(events).items() if kind in KINDS}
    computed = compute_tables(decider.schema.compile(), tables)
    ids = rows.table["event_id"].combine_chunks().take(pa.array(chosen))
    place = pc.index_in(ids, value_set=computed.event_ids)
    if place.null_count:
        raise ContractError(
            f"{place.null_count} test rows are not among the events: build the features from them alone"
        )
    return FeatureMatrix(np.ascontiguousarray(computed.values[place.to_numpy()]), computed.names)
