"""What the screens find of 2 % poisoned training rows, and what is left of it in the members' quality.

`python -m tests.benchmarks.sanitation` prints the table: on three weeks of `fraud_handbook`, or, where that is absent,
on a simulated business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from tests.benchmarks.poison import FLIPS, INJECTIONS, Entities, Poisoned
from tests.features.handbook import PATH, canonical, read_raw
from vigil.clock import DAY
from vigil.features.compiler import compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.engine import compute_tables
from vigil.members.base import FRAUD, FeatureMatrix, Member, TooFewLabels, TrainingRows
from vigil.members.catalog import fit_member, parse_settings
from vigil.members.fitting.sanitation.labels import LabelScreen, screen_labels
from vigil.members.fitting.sanitation.sanitize import Sanitized, sanitize
from vigil.members.fitting.sanitation.settings import LabelSettings, SanitationSettings
from vigil.simulate import preset, simulate

UNSUPERVISED = ("isolation_forest", "autoencoder")
MEMBERS: Mapping[str, Mapping[str, Any]] = {
    "isolation_forest": {},
    "autoencoder": {"layers": (32, 8, 32), "rows_per_epoch": 32_768},
    "boosted": {"rounds": 100, "learning_rate": 0.2, "max_bin": 256},
}
POISON_SEED = 1
REFERENCE_START, TRAIN_START, TRAIN_END, TEST_START, END = 40 * DAY, 61 * DAY, 82 * DAY, 89 * DAY, 96 * DAY
"""After the first event: three weeks of reference, three weeks of training, a week of delay, a week of test."""
MOST_TRAIN, MOST_TEST = 40_000, 30_000


@dataclass(frozen=True, eq=False)
class Slice:
    """Training rows with their customers and terminals, and later rows to test on."""

    train: TrainingRows
    entities: Entities
    test: TrainingRows
    reference: FeatureMatrix
    """Rows of three earlier weeks without their frauds."""


@dataclass(frozen=True)
class Outcome:
    """What the screens found of one kind of poison, and the quality of members that were fitted on it."""

    kind: str
    found_alone: float
    """Share of the poisoned rows that were left out without a reference."""
    found: float
    """Share of the poisoned rows that were left out, or of the flipped labels that were contradicted.

    Against the reference, unless the rows differ from it altogether: then without it.
    """
    mistaken: float
    """Share of the other rows that were left out, known frauds not counted; or of the other labels."""
    quality: Mapping[str, tuple[float, float, float]]
    """Average precision on clean rows by member: fitted on clean, on poisoned and on screened rows."""

    def loss(self, member: str) -> float:
        """Return what the screened rows lack to the clean ones in average precision."""
        clean, _, screened = self.quality[member]
        return clean - screened


@cache
def load() -> Slice:
    """Return the slice: the same on every machine that has the data."""
    tables = _handbook() if PATH.exists() else simulate(preset("small")).tables
    return _slice(tables)


def _handbook() -> dict[str, pa.Table]:
    raw = read_raw()
    time = raw["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.int64())
    start = np.datetime64("2018-05-11", "us").astype(np.int64)
    used = pc.and_(pc.greater_equal(time, start), pc.less(time, start + END))
    return canonical(raw.filter(used))


def _slice(tables: Mapping[str, pa.Table]) -> Slice:
    features = compute_tables(compile_features(define(FeatureConfig(groups=("protocol", "risk")))), tables)
    events, verdicts = tables["transaction"], tables["verdict"]
    frauds = verdicts.filter(verdicts["is_fraud"])["transaction_id"]
    is_fraud = pc.is_in(features.event_ids, value_set=frauds.combine_chunks()).to_numpy(zero_copy_only=False)
    order = pc.index_in(features.event_ids, value_set=events["event_id"].combine_chunks())
    rows = TrainingRows(FeatureMatrix(features.values, features.names), features.times, is_fraud.astype(np.int8))
    age = rows.times - rows.times.min()
    trusted = _drawn((age >= REFERENCE_START) & (age < TRAIN_START) & ~is_fraud, MOST_TRAIN)
    trained = _drawn((age >= TRAIN_START) & (age < TRAIN_END), MOST_TRAIN)
    tested = _drawn(age >= TEST_START, MOST_TEST)
    ids = {name: _ids(events[f"{name}_id"].take(order))[trained] for name in ("customer", "terminal")}
    return Slice(rows.take(trained), ids, rows.take(tested), rows.take(trusted).matrix)


def _drawn(mask: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    rows = np.flatnonzero(mask)
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])


def _ids(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return column.cast(pa.string()).fill_null("").to_numpy()


def screened(poisoned: Poisoned, reference: FeatureMatrix | None = None) -> Sanitized:
    """Return the rows screened as the defaults have it, against the reference where there is one."""
    return sanitize(poisoned.rows, [], SanitationSettings(), poisoned.entities, reference)


def label_screened(poisoned: Poisoned) -> LabelScreen:
    """Return the labels screened; all that are contradicted stay out."""
    found = screen_labels(poisoned.rows, LabelSettings(exclude="both"))
    assert isinstance(found, LabelScreen)
    return found


def shares(poisoned: Poisoned, left_out: NDArray[np.bool_]) -> tuple[float, float]:
    """Return the share of the poison that was left out, and that of the other rows, known frauds not counted."""
    honest = ~poisoned.is_poison & (poisoned.rows.labels != FRAUD)
    return float(left_out[poisoned.is_poison].mean()), float(left_out[honest].mean())


def label_shares(poisoned: Poisoned, screen: LabelScreen) -> tuple[float, float]:
    """Return the share of the flipped labels that were contradicted, and that of the others."""
    suspects = np.zeros(len(poisoned.rows), dtype=bool)
    suspects[screen.suspects["row"].to_numpy()] = True
    return float(suspects[poisoned.is_poison].mean()), float(suspects[~poisoned.is_poison].mean())


def quality(rows: TrainingRows, test: TrainingRows, kind: str, seeds: Sequence[int]) -> float:
    """Return the average precision on the test rows: the mean over members of several seeds."""
    found = []
    for seed in seeds:
        member = fit_member(parse_settings({"kind": kind, "seed": seed, **MEMBERS[kind]}), rows)
        if isinstance(member, TooFewLabels):
            return float("nan")
        assert isinstance(member, Member)
        found.append(float(average_precision_score(test.labels == FRAUD, member.score(test.matrix))))
    return float(np.mean(found))


def study(seeds: Sequence[int] = (0, 1)) -> list[Outcome]:
    """Return the outcome of every kind of poison."""
    data = load()
    clean = {kind: quality(data.train, data.test, kind, seeds) for kind in MEMBERS}
    outcomes = []
    for name, attack in {**INJECTIONS, **FLIPS}.items():
        poisoned = attack(data.train, data.entities, np.random.default_rng(POISON_SEED))
        outcomes.append(_outcome(name, poisoned, clean, seeds))
    return outcomes


def _outcome(name: str, poisoned: Poisoned, clean: Mapping[str, float], seeds: Sequence[int]) -> Outcome:
    rows, test = poisoned.rows, load().test
    alone, against, labels = screened(poisoned), screened(poisoned, load().reference), label_screened(poisoned)
    normal = against if against.passed else alone
    found = label_shares(poisoned, labels) if name in FLIPS else shares(poisoned, ~normal.kept)
    used = {kind: normal.training_rows(rows) for kind in UNSUPERVISED}
    used["boosted"] = labels.training_rows(rows)
    measured = {
        kind: (clean[kind], quality(rows, test, kind, seeds), quality(used[kind], test, kind, seeds))
        for kind in MEMBERS
    }
    return Outcome(name, shares(poisoned, ~alone.kept)[0], *found, measured)


def main() -> None:
    """Print the table."""
    data = load()
    print(f"{len(data.train):,} training rows, {len(data.test):,} test rows")
    print("average precision on clean test rows, fitted on: clean > poisoned > screened rows")
    print(
        f"{'kind of poison':<26}{'alone':>8}{'found':>8}{'mistaken':>10}" + "".join(f"{kind:>26}" for kind in MEMBERS)
    )
    for outcome in study():
        cells = "".join(f"{' > '.join(f'{value:.3f}' for value in outcome.quality[kind]):>26}" for kind in MEMBERS)
        print(f"{outcome.kind:<26}{outcome.found_alone:>8.1%}{outcome.found:>8.1%}{outcome.mistaken:>10.2%}{cells}")


if __name__ == "__main__":
    main()
