"""The published protocol on `fraud_handbook`: rows with the engine's features, folds, and how scores are measured."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from tests.features.handbook import VERDICT_DELAY, canonical, read_raw
from vigil.clock import DAY, to_micros
from vigil.evaluation.bootstrap import Blocks
from vigil.evaluation.operating import card_precision
from vigil.evaluation.ranking import ranking_statistics
from vigil.evaluation.rows import ScoredRows
from vigil.evaluation.splits import HANDBOOK_FOLDS, HANDBOOK_PLAN, Fold, Split, handbook_split, rolling_folds
from vigil.features.compiler import compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.engine import compute
from vigil.features.log import EventLog
from vigil.members.base import UNKNOWN, FeatureMatrix, Scores, TrainingRows

GROUPS = ("risk", "protocol", "behavior")
VALIDATION_FOLDS = rolling_folds(HANDBOOK_PLAN, to_micros(datetime(2018, 5, 16, tzinfo=UTC)), 8)
"""Where settings were chosen: the last of their test weeks ends before the first test week of the protocol."""
HISTORY_START = to_micros(datetime(2018, 4, 29, tzinfo=UTC))
"""Four weeks after the data begin, so that the windows of the features are full."""
FIRST_FOLD = (67_240, 598, 58_264, 385)
"""Published counts: training rows and frauds, test rows and frauds."""
TOP_CARDS = 100
COMPROMISE = 28 * DAY
"""How long a terminal stays compromised."""

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Handbook:
    """Every transaction in the order of time: features and labels, customer, and the generator's fraud scenario."""

    rows: TrainingRows
    customers: Ints
    terminals: Ints
    scenarios: Ints

    def split(self, fold: Fold) -> Split:
        """Return the fold's rows by the published protocol."""
        return handbook_split(fold, self.rows.times, self.customers, self.rows.labels)

    def train(self, chosen: Ints, *, labelled: bool = True) -> TrainingRows:
        """Return training rows, with their labels or without any."""
        taken = self.rows.take(chosen)
        if labelled:
            return taken
        return TrainingRows(taken.matrix, taken.times, np.full(len(taken), UNKNOWN, np.int8))

    def measure(self, chosen: Ints, scores: Scores) -> "Quality":
        """Return the protocol's three metrics of the scores of some rows."""
        labels = self.rows.labels[chosen] == 1
        rows = ScoredRows(scores, self.rows.times[chosen], labels, entities=self.customers[chosen])
        whole = Blocks(np.zeros(len(rows), np.int64), 1)
        ranked = ranking_statistics(rows.scores, labels, whole, 0.01)(np.ones((1, 1)))
        precision = card_precision(rows, TOP_CARDS)
        assert precision is not None
        return Quality(float(ranked["average_precision"][0]), float(ranked["roc_auc"][0]), precision)


@dataclass(frozen=True)
class Quality:
    """Average precision, area under the ROC curve, card precision at 100."""

    ap: float
    auc: float
    cp100: float

    def __str__(self) -> str:
        return f"AP {self.ap:.4f}  AUC {self.auc:.4f}  CP@100 {self.cp100:.4f}"


def load_handbook() -> Handbook:
    """Return the data set with features from the real engine, verdicts known seven days after the transaction."""
    raw = read_raw()
    tables = canonical(raw)
    features = compute(compile_features(define(FeatureConfig(groups=GROUPS))), EventLog.of(tables))
    if not features.event_ids.equals(tables["transaction"]["event_id"].combine_chunks().cast(features.event_ids.type)):
        raise SystemExit("the engine's rows are not in the order of the file's: match them by event id")
    matrix = FeatureMatrix(np.ascontiguousarray(features.values), features.names)
    labels = raw["TX_FRAUD"].to_numpy().astype(np.int8)
    rows = TrainingRows(matrix, features.times, labels)
    customers, terminals, scenarios = (
        raw[name].to_numpy() for name in ("CUSTOMER_ID", "TERMINAL_ID", "TX_FRAUD_SCENARIO")
    )
    return Handbook(rows, customers, terminals, scenarios)


def check_counts(handbook: Handbook) -> str:
    """Return the first fold's counts, or end the run if they are not the published ones."""
    parts = handbook.split(HANDBOOK_FOLDS[0])
    labels = handbook.rows.labels
    found = (len(parts.train), int(labels[parts.train].sum()), len(parts.test), int(labels[parts.test].sum()))
    if found != FIRST_FOLD:
        raise SystemExit(
            f"the first fold has {found} rows and frauds, published are {FIRST_FOLD}: nothing is comparable"
        )
    return "first fold: {:,} training rows with {:,} frauds, {:,} test rows with {:,}: as published".format(*found)


def mean(folds: Iterable[Quality]) -> Quality:
    """Return the mean of each metric."""
    return Quality(*np.mean([(one.ap, one.auc, one.cp100) for one in folds], axis=0).tolist())


def in_words(name: str, folds: list[Quality]) -> str:
    """Return a line: mean and standard deviation, and the average precision of every fold."""
    spread = np.std([one.ap for one in folds])
    each = " ".join(f"{one.ap:.4f}" for one in folds)
    return f"  {name:<44} {mean(folds)}  sd of AP {spread:.4f}  folds {each}"


def ceilings(handbook: Handbook, folds: Iterable[Fold]) -> dict[str, list[Quality]]:
    """Return what an oracle could reach on each fold, with and without verdicts among the features.

    Large amounts (scenario 1) and defrauded customers (3) are all known to it; a compromised terminal (2) only once a
    verdict has found it out. Other rows are in random order.
    """
    random = np.random.default_rng(0)
    known = _found_out(handbook)
    found: dict[str, list[Quality]] = {"oracle": [], "oracle without verdicts": []}
    for fold in folds:
        test = handbook.split(fold).test
        scenario, noise = handbook.scenarios[test], 0.01 * random.random(len(test))
        seen = np.isin(scenario, (1, 3))
        late = seen | ((scenario == 2) & known[test])
        found["oracle"].append(handbook.measure(test, late + noise))
        found["oracle without verdicts"].append(handbook.measure(test, seen + noise))
    return found


def _found_out(handbook: Handbook) -> NDArray[np.bool_]:
    """Return for each row whether a verdict is known on a fraud of the compromise that its terminal may be in."""
    since_start = handbook.rows.times - handbook.rows.times[0]
    moment = handbook.terminals * (since_start[-1] + COMPROMISE + 1) + since_start
    frauds = np.sort(moment[handbook.scenarios == 2])
    until, since = moment - VERDICT_DELAY, moment - COMPROMISE
    known: NDArray[np.bool_] = np.searchsorted(frauds, until, "right") > np.searchsorted(frauds, since)
    return known


FoldResult = Callable[[Fold], dict[str, Quality]]


def over_folds(folds: Iterable[Fold], work: FoldResult) -> dict[str, list[Quality]]:
    """Return for each name its quality on every fold."""
    by_name: dict[str, list[Quality]] = {}
    for fold in folds:
        for name, quality in work(fold).items():
            by_name.setdefault(name, []).append(quality)
        print(f"  [test {fold.test} done]", flush=True)
    return by_name
