"""The feature table as later steps read it: vectors, ids, times, amounts, entities, segments, and labels by time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NewType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from vigil.clock import DAY
from vigil.errors import ContractError
from vigil.evaluation.rows import ScoredRows
from vigil.evaluation.splits import Fold, latest_fold, split
from vigil.features.incremental import FeatureStore
from vigil.features.schema import FeatureSchema
from vigil.members.base import FRAUD, LEGITIMATE, UNKNOWN, FeatureMatrix, TrainingRows
from vigil.training.features import KIND, ROWS, SCHEMA, STORE, VERDICTS
from vigil.training.folders import verified
from vigil.usecase import Segmentation, UseCase

Ints = NDArray[np.int64]
Labels = NDArray[np.int8]
Moment = NewType("Moment", int)
"""Microseconds since 1970."""

NO_KEY = "None"
"""The key of a row without one, as serving writes it."""

_HOUR_MINUTES = 60
_DAY_MINUTES = 1440
_MINUTE = DAY // _DAY_MINUTES
_ENTITIES = {"site": "site_id", "terminal": "terminal_id", "customer": "customer_id", "card": "card_id"}
_MORE_ENTITIES = {"product": "product_id", "site_group": "site_group"}


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Every transaction of a feature table in log order."""

    use_case: UseCase
    schema: FeatureSchema
    matrix: FeatureMatrix
    table: pa.Table
    """The transactions themselves."""
    verdicts: pa.Table

    def __len__(self) -> int:
        return len(self.matrix)

    @cached_property
    def times(self) -> Ints:
        """Event times, microseconds."""
        return np.ascontiguousarray(self.table["event_time"].cast(pa.int64()).to_numpy())

    @cached_property
    def amounts(self) -> NDArray[np.float64]:
        """In currency units."""
        return np.ascontiguousarray(self.table["amount"].to_numpy())

    @cached_property
    def as_of(self) -> Moment:
        """The last time at which anything became known."""
        known = self.verdicts["event_time"].cast(pa.int64()).to_numpy()
        return Moment(max(int(self.times[-1]), int(known.max(initial=self.times[0]))))

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of keys as text, with a stated key where there is none."""
        filled = self.table[name].cast(pa.string()).fill_null(NO_KEY)
        return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=str)

    def entities(self) -> dict[str, NDArray[Any]]:
        """Return each row's ids by the name of the entity."""
        return {name: self.column(column) for name, column in {**_ENTITIES, **_MORE_ENTITIES}.items()}

    def segments(self) -> dict[str, NDArray[Any]]:
        """Return each row's key in every segmentation of the use case."""
        return {name: self._keys(one) for name, one in self.use_case.segments.items()}

    def _keys(self, segmentation: Segmentation) -> NDArray[Any]:
        if segmentation.column is not None:
            return self.column(segmentation.column)
        if segmentation.amounts:
            return _bands(self.amounts, segmentation.amounts, "amount")
        minutes = self.times // _MINUTE + self.table["utc_offset_minutes"].to_numpy()
        return _bands(minutes % _DAY_MINUTES / _HOUR_MINUTES, segmentation.hours, "hour")

    def labels_at(self, moment: int) -> Labels:
        """Return what is known at a moment: the last verdict on each row, else what the use case takes it for."""
        labels = np.full(len(self), UNKNOWN, np.int8)
        if self.use_case.labels.without_verdict == "legitimate":
            labels[self.times + self.use_case.split.plan.delay_days * DAY <= moment] = LEGITIMATE
        known = self.verdicts["event_time"].cast(pa.int64()).to_numpy() <= moment
        labels[self._verdict_rows[known]] = self._is_fraud[known]
        return labels

    @cached_property
    def _verdict_rows(self) -> Ints:
        ids = self.table["event_id"].combine_chunks()
        found = pc.index_in(self.verdicts["transaction_id"], value_set=ids)
        return np.asarray(found.to_numpy(), dtype=np.int64)

    @cached_property
    def _is_fraud(self) -> Labels:
        verdict = self.verdicts["is_fraud"].to_numpy(zero_copy_only=False)
        return np.where(verdict, FRAUD, LEGITIMATE).astype(np.int8)

    def take(self, chosen: Ints) -> FeatureMatrix:
        """Return the vectors of some rows."""
        return FeatureMatrix(np.ascontiguousarray(self.matrix.values[chosen]), self.matrix.names)

    def training(self, chosen: Ints, labels: Labels) -> TrainingRows:
        """Return some rows to fit members on; `labels` are those of all rows."""
        return TrainingRows(self.take(chosen), self.times[chosen], labels[chosen], groups=self.schema.groups)

    def scored(self, chosen: Ints, scores: NDArray[np.float64], labels: Labels) -> ScoredRows:
        """Return some rows, all of which have a label, as a metric sees them; `labels` are those of all rows."""
        segments = {name: keys[chosen] for name, keys in self.segments().items()}
        return ScoredRows(
            scores=scores,
            event_time=self.times[chosen],
            labels=labels[chosen] == FRAUD,
            amounts=np.abs(self.amounts[chosen]),
            entities=self.column(self.use_case.entity)[chosen],
            segments=segments,
        )


def _bands(values: NDArray[Any], bounds: tuple[float, ...], name: str) -> NDArray[Any]:
    texts = [f"{bound:g}" for bound in bounds]
    names = [f"{name} below {texts[0]}", *(f"{name} from {text}" for text in texts)]
    return np.array(names)[np.searchsorted(bounds, values, side="right")]


def read_rows(use_case: UseCase, folder: Path) -> FeatureRows:
    """Return the rows of a sealed feature table after checking it."""
    verified(folder, KIND)
    schema = FeatureSchema.model_validate_json((folder / SCHEMA).read_bytes())
    table = FeatureStore(folder / STORE, schema.compile()).features()
    values = np.column_stack([table[name].to_numpy() for name in schema.names])
    matrix = FeatureMatrix(np.ascontiguousarray(values, np.float32), schema.names)
    return FeatureRows(use_case, schema, matrix, pq.read_table(folder / ROWS), pq.read_table(folder / VERDICTS))


@dataclass(frozen=True, eq=False)
class Parts:
    """The rows of each part of the latest fold, with the labels that are known when each is used."""

    fold: Fold
    train: Ints
    calibration: Ints
    test: Ints
    """Rows with a label only."""
    unlabelled: Ints
    """Rows of the test window without a label."""
    labels: Labels
    """Of all rows, as known at the fit."""
    test_labels: Labels
    """Of all rows, as known in the end."""

    def facts(self) -> Mapping[str, int]:
        """Return the sizes."""
        return {
            "train": len(self.train),
            "train_frauds": int((self.labels[self.train] == FRAUD).sum()),
            "calibration": len(self.calibration),
            "calibration_frauds": int((self.labels[self.calibration] == FRAUD).sum()),
            "test": len(self.test),
            "test_frauds": int((self.test_labels[self.test] == FRAUD).sum()),
            "test_unlabelled": len(self.unlabelled),
        }


def divide(rows: FeatureRows) -> Parts:
    """Return the latest fold that the labels allow: its test ends when the label of its last row is due."""
    plan = rows.use_case.split.plan
    end = min(int(rows.times[-1]) + 1, int(rows.as_of) - plan.delay_days * DAY + 1)
    fold = _within(latest_fold(plan, end), rows)
    parts = split(fold, rows.times)
    labels, in_the_end = rows.labels_at(fold.fitted_at), rows.labels_at(rows.as_of)
    labelled = in_the_end[parts.test] != UNKNOWN
    for name, found in (("train", parts.train), ("calibration", parts.calibration), ("test", parts.test[labelled])):
        if not len(found):
            raise ContractError(f"the {name} window of the split has no rows with labels: {_windows(fold)}")
    return Parts(fold, parts.train, parts.calibration, parts.test[labelled], parts.test[~labelled], labels, in_the_end)


def _within(fold: Fold, rows: FeatureRows) -> Fold:
    """Return the fold with its training window cut to where the data begin and are warmed up."""
    chosen = rows.use_case.split
    start = max(fold.train.start, int(rows.times[0]) + chosen.warm_up_days * DAY)
    if start > fold.train.end - chosen.least_train_days * DAY:
        have, plan = (rows.times[-1] - rows.times[0]) / DAY, chosen.plan
        need = chosen.warm_up_days + chosen.least_train_days + plan.calibration_days + plan.delay_days
        raise ContractError(
            f"{have:.1f} days of transactions are too few for the split of {rows.use_case.name}: it needs about "
            f"{need + plan.gap_days + plan.test_days} (warm-up {chosen.warm_up_days}, training at least "
            f"{chosen.least_train_days}, calibration {plan.calibration_days}, label delay {plan.delay_days}, "
            f"test {plan.test_days})"
        )
    return Fold(fold.name, fold.train.model_copy(update={"start": start}), fold.fitted_at, fold.test, fold.calibration)


def _windows(fold: Fold) -> str:
    return f"training {fold.train}, calibration {fold.calibration}, test {fold.test}"
