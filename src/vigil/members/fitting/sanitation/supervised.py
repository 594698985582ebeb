"""Rows that the supervised member is better off without: doubtful labels, and what somebody may have put there."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from vigil.members.base import FeatureMatrix, TooFewLabels, TrainingRows
from vigil.members.fitting.sanitation.incidents import Entities
from vigil.members.fitting.sanitation.labels import screen_labels
from vigil.members.fitting.sanitation.sanitize import sanitize
from vigil.members.fitting.sanitation.settings import LabelSettings, SanitationSettings

DOUBTFUL = LabelSettings(exclude="both", likeness=0.01)
"""Out of fold ten times likelier a fraud than the average row is enough to doubt `legitimate`; few honest rows are."""


@dataclass(frozen=True, eq=False)
class Supervised:
    """The rows that the supervised member may learn from, and those that it may not."""

    kept: NDArray[np.bool_]
    excluded: pa.Table
    """One line for each row that was left out: row, event_time, rule, detail."""
    notes: tuple[str, ...]
    """Screens that left nothing out since they failed or had too few labels to judge by: why."""


def screen_supervised(
    rows: TrainingRows,
    settings: SanitationSettings,
    entities: Entities | None = None,
    reference: FeatureMatrix | None = None,
    labels: LabelSettings = DOUBTFUL,
) -> Supervised:
    """Return which rows to learn from, of rows in the order of time with the features that the member sees.

    Known frauds stay unless nothing supports their label. Outliers stay. A screen that fails leaves nothing out.
    """
    screens = settings.model_copy(update={"incident_windows": None, "outliers": None, "likeness": None})
    lists: list[pa.Table] = []
    found = sanitize(rows, [], screens, entities, reference)
    if found.passed:
        lists.append(found.excluded.filter(pc.not_equal(found.excluded["rule"], "known_fraud")))
    notes = [*found.failures]
    doubted = screen_labels(rows, labels)
    if isinstance(doubted, TooFewLabels):
        notes.append(doubted.reason)
    elif doubted.failure is not None:
        notes.append(f"labels: {doubted.failure}")
    else:
        left_out = ~doubted.kept[doubted.suspects["row"].to_numpy()]
        lists.append(doubted.suspects.filter(pa.array(left_out)))
    excluded = _first_of_each_row(lists) if lists else found.excluded.slice(0, 0)
    kept = np.ones(len(rows), dtype=bool)
    kept[excluded["row"].to_numpy()] = False
    return Supervised(kept, excluded, tuple(notes))


def _first_of_each_row(lists: list[pa.Table]) -> pa.Table:
    joined = pa.concat_tables(lists)
    return joined.take(pa.array(np.unique(joined["row"].to_numpy(), return_index=True)[1]))
