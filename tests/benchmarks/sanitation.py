"""What the screens find of 2 % poisoned training rows, and what is left of it in the quality of what is fitted.

`python -m tests.benchmarks.sanitation` prints tables, on three weeks of `fraud_handbook` or, where that is absent,
on a simulated business; of the handbook it writes `bench/sanitation.json` as well. The first table is of each member
alone with many features. The others are of the ensemble as training makes it for `card_fraud`, with labels and without
any, for the first time and with a model in production, whose training rows the new ones are held against; the last of
the three weeks is the calibration window, and poisoned as well.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from tests.benchmarks.poison import FLIPS, INJECTIONS, Attack, Entities, Poisoned, untouched
from tests.benchmarks.report import Number, publish
from tests.features.handbook import PATH, canonical, read_raw
from vigil.clock import DAY
from vigil.ensemble.fitting import fit_ensemble
from vigil.ensemble.model import Ensemble
from vigil.features.compiler import compile_features
from vigil.features.definitions import FeatureConfig, define
from vigil.features.engine import compute_tables
from vigil.members.base import FRAUD, UNKNOWN, FeatureMatrix, Member, TooFewLabels, TrainingRows
from vigil.members.catalog import fit_member, parse_settings
from vigil.members.fitting.sanitation.labels import LabelScreen, screen_labels
from vigil.members.fitting.sanitation.reference import Reference
from vigil.members.fitting.sanitation.sanitize import Sanitized, sanitize, sanitize_supervised
from vigil.members.fitting.sanitation.settings import LabelSettings, SanitationSettings
from vigil.simulate import preset, simulate
from vigil.training.sanitize import blatant_frauds, screen_calibration
from vigil.training.screened import NORMAL_MEMBERS
from vigil.usecase import load_use_case

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

USE_CASE = load_use_case("card_fraud")
SEEN = USE_CASE.members.settings("isolation_forest").features
"""What the members see that learn what is normal."""
TAUGHT = USE_CASE.members.settings("boosted").features
"""What the boosted trees see."""
SEEDS, UNLABELLED_SEEDS = 4, 12
"""How many; each is that of the poison, of the members, and of which rows are used. Fits without labels vary more."""
USED = 0.9
"""Share of the training rows that a seed uses: so the noise has what other rows would have given."""
SHIPPED_TRAIN, SHIPPED_TEST, CALIBRATION_START = 80_000, 60_000, 75 * DAY
CANARY_QUANTILE = 0.99
"""Of the scores of the calibration rows: canaries have to be above. An alert budget of 100 a day is about 1 %."""
RESAMPLES = 100
LOSS = 0.01
"""Average precision: less is taken for no harm."""


@dataclass(frozen=True, eq=False)
class Slice:
    """Training rows with their customers and terminals, and later rows to test on."""

    train: TrainingRows
    entities: Entities
    test: TrainingRows
    reference: Reference
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
    """Return the slice that members alone are studied on: the same on every machine that has the data."""
    return _slice(FeatureConfig(groups=("protocol", "risk")), MOST_TRAIN, MOST_TEST)


@cache
def load_shipped() -> Slice:
    """Return the slice that the ensemble is studied on, with all features of the use case."""
    return _slice(USE_CASE.features, SHIPPED_TRAIN, SHIPPED_TEST)


@cache
def _tables() -> Mapping[str, pa.Table]:
    return _handbook() if PATH.exists() else simulate(preset("small")).tables


def _handbook() -> dict[str, pa.Table]:
    raw = read_raw()
    time = raw["TX_DATETIME"].cast(pa.timestamp("us")).cast(pa.int64())
    start = np.datetime64("2018-05-11", "us").astype(np.int64)
    used = pc.and_(pc.greater_equal(time, start), pc.less(time, start + END))
    return canonical(raw.filter(used))


def _slice(config: FeatureConfig, most_train: int, most_test: int) -> Slice:
    tables = _tables()
    features = compute_tables(compile_features(define(config)), tables)
    events, verdicts = tables["transaction"], tables["verdict"]
    frauds = verdicts.filter(verdicts["is_fraud"])["transaction_id"]
    is_fraud = pc.is_in(features.event_ids, value_set=frauds.combine_chunks()).to_numpy(zero_copy_only=False)
    order = pc.index_in(features.event_ids, value_set=events["event_id"].combine_chunks())
    rows = TrainingRows(FeatureMatrix(features.values, features.names), features.times, is_fraud.astype(np.int8))
    age = rows.times - rows.times.min()
    trusted = _drawn((age >= REFERENCE_START) & (age < TRAIN_START) & ~is_fraud, most_train)
    trained = _drawn((age >= TRAIN_START) & (age < TRAIN_END), most_train)
    tested = _drawn(age >= TEST_START, most_test)
    ids = {name: _ids(events[f"{name}_id"].take(order))[trained] for name in ("customer", "terminal")}
    past = rows.take(trusted)
    return Slice(rows.take(trained), ids, rows.take(tested), Reference(past.matrix, past.times))


def _drawn(mask: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    rows = np.flatnonzero(mask)
    return np.sort(np.random.default_rng(0).permutation(rows)[:most])


def _ids(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return column.cast(pa.string()).fill_null("").to_numpy()


def screened(poisoned: Poisoned, reference: Reference | None = None) -> Sanitized:
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


@dataclass(frozen=True, eq=False)
class Shipped:
    """An ensemble as training makes it, and what the screens found on the way."""

    scores: NDArray[np.float64]
    """Of the test rows."""
    found: float
    """Share of the poisoned training rows that were left out of the forest's and the autoencoder's rows."""
    canaries: float
    """Share of the canaries that reach the threshold."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Rows by falling score, sorted once for many resamples."""

    order: NDArray[np.int64]
    ends: NDArray[np.int64]
    """The last place of each run of equal scores."""

    @classmethod
    def of(cls, scores: NDArray[np.float64]) -> "Ranking":
        order = np.argsort(-scores, kind="stable")
        return cls(order, np.flatnonzero(np.append(np.diff(scores[order]) != 0, True)))

    def precision(self, labels: NDArray[np.bool_], times: NDArray[np.int64]) -> float:
        """Return the average precision with each row so many times, as scikit-learn defines it."""
        seen = np.cumsum(times[self.order])[self.ends]
        hits = np.cumsum((times * labels)[self.order])[self.ends]
        return float((np.diff(hits, prepend=0) * hits / np.maximum(seen, 1)).sum() / hits[-1])


@dataclass(frozen=True)
class Harm:
    """What one kind of poison costs the ensemble, over all seeds."""

    kind: str
    found: float
    harm: float
    """Average precision of ensembles fitted on clean rows, less that of those fitted on poisoned ones."""
    low: float
    high: float
    """Of 95 % of paired resamples of the seeds and of the test rows."""
    usual: float
    """Mean over seeds of the average precision that clean rows give."""
    spread: float
    """Standard deviation over seeds of the average precision that clean rows give: the noise of the fit itself."""
    canaries: float


@dataclass(frozen=True)
class Way:
    """How an ensemble is made."""

    title: str
    name: str
    """In the names of the published numbers."""
    labelled: bool = True
    trusted: bool = True
    """Whether there is a model in production, whose training rows are trusted."""

    @property
    def seeds(self) -> range:
        return range(1, 1 + (SEEDS if self.labelled else UNLABELLED_SEEDS))


WAYS = (
    Way("as retraining makes it, with labels", ""),
    Way("as the first training makes it, with labels", "first_", trusted=False),
    Way("as retraining makes it, without any label", "unlabelled_", labelled=False),
    Way("as the first training makes it, without any label", "first_unlabelled_", labelled=False, trusted=False),
)


def ship(poisoned: Poisoned, seed: int, way: Way) -> Shipped:
    """Return the ensemble of the use case, fitted and calibrated as the steps of training do."""
    rows = poisoned.rows
    if not way.labelled:
        rows = replace(rows, labels=np.full(len(rows), UNKNOWN, np.int8))
    early = rows.times - rows.times.min() < CALIBRATION_START - TRAIN_START
    train, lesson = rows.take(early), rows.take(~early)
    ids = [{name: keys[part] for name, keys in poisoned.entities.items()} for part in (early, ~early)]
    reference = load_shipped().reference if way.trusted else None
    found = sanitize(train.prepared(SEEN), [], USE_CASE.sanitation, ids[0], reference)
    taught = sanitize_supervised(train.prepared(TAUGHT), USE_CASE.sanitation, reference)
    lesson = lesson.take(screen_calibration(lesson.prepared(SEEN), USE_CASE.sanitation, ids[1], reference)[0])
    members = []
    for kind in (*NORMAL_MEMBERS, "boosted"):
        settings = USE_CASE.members.settings(kind).model_copy(update={"seed": seed})
        member = fit_member(settings, (found if kind in NORMAL_MEMBERS else taught).training_rows(train))
        members += [member] if isinstance(member, Member) else []
    ensemble = fit_ensemble(members, lesson, USE_CASE.ensemble)
    hidden = poisoned.is_poison[early]
    left_out = float((~found.kept[hidden]).mean()) if hidden.any() else np.nan
    scores = ensemble.score(load_shipped().test.matrix).score
    return Shipped(scores, left_out, _canaries_found(ensemble, lesson))


def _canaries_found(ensemble: Ensemble, lesson: TrainingRows) -> float:
    threshold = np.quantile(ensemble.score(lesson.matrix).score, CANARY_QUANTILE)
    return float((ensemble.score(_canaries()).score >= threshold).mean())


@cache
def _canaries() -> FeatureMatrix:
    """Return the stored set: what training draws from the clean rows."""
    train = load_shipped().train
    found = blatant_frauds(USE_CASE, train, sanitize(train.prepared(SEEN), [], USE_CASE.sanitation))
    assert found is not None
    return found


def study_shipped(way: Way) -> list[Harm]:
    """Return what every kind of poison costs the ensemble; flipped labels only where there are labels."""
    clean = {seed: ship(untouched(*_training(seed)), seed, way) for seed in way.seeds}
    attacks = {**INJECTIONS, **(FLIPS if way.labelled else {})}
    return [_harm(name, attack, clean, way) for name, attack in attacks.items()]


@cache
def _training(seed: int) -> tuple[TrainingRows, Entities]:
    data = load_shipped()
    used = np.flatnonzero(np.random.default_rng(seed).random(len(data.train)) < USED)
    return data.train.take(used), {name: ids[used] for name, ids in data.entities.items()}


def _harm(name: str, attack: Attack, clean: Mapping[int, Shipped], way: Way) -> Harm:
    poisoned = {seed: attack(*_training(seed), np.random.default_rng(seed)) for seed in clean}
    shipped = {seed: ship(one, seed, way) for seed, one in poisoned.items()}
    labels = load_shipped().test.labels == FRAUD
    usual = [average_precision_score(labels, one.scores) for one in clean.values()]
    pairs = [(Ranking.of(clean[seed].scores), Ranking.of(shipped[seed].scores)) for seed in clean]
    random = np.random.default_rng(POISON_SEED)
    drawn = [[pairs[k] for k in random.integers(len(pairs), size=len(pairs))] for _ in range(RESAMPLES)]
    resampled = [_mean_loss(some, random.poisson(1, len(labels))) for some in drawn]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Harm(
        kind=name,
        found=float(np.nanmean([one.found for one in shipped.values()])),
        harm=_mean_loss(pairs, np.ones(len(labels), np.int64)),
        low=float(low),
        high=float(high),
        usual=float(np.mean(usual)),
        spread=float(np.std(usual, ddof=1)),
        canaries=min(one.canaries for one in shipped.values()),
    )


def _mean_loss(pairs: Sequence[tuple[Ranking, Ranking]], times: NDArray[np.int64]) -> float:
    """Return the mean loss of average precision over the pairs, with each test row so many times."""
    labels = load_shipped().test.labels == FRAUD
    return float(np.mean([one.precision(labels, times) - other.precision(labels, times) for one, other in pairs]))


def print_members(outcomes: Sequence[Outcome]) -> None:
    """Print the table of the members alone."""
    data = load()
    print(f"{len(data.train):,} training rows, {len(data.test):,} test rows")
    print("average precision on clean test rows, fitted on: clean > poisoned > screened rows")
    print(
        f"{'kind of poison':<26}{'alone':>8}{'found':>8}{'mistaken':>10}" + "".join(f"{kind:>26}" for kind in MEMBERS)
    )
    for outcome in outcomes:
        cells = "".join(f"{' > '.join(f'{value:.3f}' for value in outcome.quality[kind]):>26}" for kind in MEMBERS)
        print(f"{outcome.kind:<26}{outcome.found_alone:>8.1%}{outcome.found:>8.1%}{outcome.mistaken:>10.2%}{cells}")


def print_shipped(way: Way, harms: Sequence[Harm]) -> None:
    """Print the table of the ensemble."""
    usual = harms[0].usual
    print(f"\nthe ensemble {way.title}: mean of {len(way.seeds)} seeds, AP {usual:.3f} on clean rows")
    print(f"{'kind of poison':<26}{'found':>8}{'AP lost':>10}{'95 %':>18}{'clean sd':>10}{'canaries':>10}")
    for one in harms:
        interval = f"{one.low:.3f} to {one.high:.3f}"
        print(f"{one.kind:<26}{one.found:>8.1%}{one.harm:>10.3f}{interval:>18}{one.spread:>10.3f}{one.canaries:>10.0%}")


def member_numbers(outcomes: Sequence[Outcome]) -> list[Number]:
    """Return the share of each kind that is found."""
    beside = "many features, against trusted rows of an earlier time"
    return [
        Number(f"poison_found_percent_{one.kind}", 100 * one.found, "%", "higher", None, beside) for one in outcomes
    ]


def shipped_numbers(way: Way, harms: Sequence[Harm]) -> list[Number]:
    """Return what each kind costs; the worst has an aim."""
    worst = max(harms, key=lambda one: one.harm)
    canaries = 100 * min(one.canaries for one in harms)
    cost = f"{worst.kind}; {way.title}, beside the same fit on clean rows"
    seen = "known frauds among the 1 % with the highest scores; the worst of all fits"
    listed = [
        Number(f"poison_worst_harm_ap_{way.name}".rstrip("_"), worst.harm, "AP", "lower", LOSS, cost),
        Number(f"poison_canaries_percent_{way.name}".rstrip("_"), canaries, "%", "higher", 100, seen),
    ]
    for one in harms:
        interval = f"95 %: {one.low:.3f} to {one.high:.3f}; sd of clean fits {one.spread:.3f}"
        listed.append(Number(f"poison_harm_ap_{way.name}{one.kind}", one.harm, "AP", "lower", None, interval))
    return listed


def main(parts: Sequence[str]) -> None:
    """Print the tables, and publish them if they are of the handbook's data."""
    listed = []
    if not parts or "members" in parts:
        outcomes = study()
        print_members(outcomes)
        listed += member_numbers(outcomes)
    for way in WAYS:
        if not parts or (way.name.strip("_") or "labelled") in parts:
            harms = study_shipped(way)
            print_shipped(way, harms)
            listed += shipped_numbers(way, harms)
    if PATH.exists():
        publish("sanitation", listed)


if __name__ == "__main__":
    main(sys.argv[1:])
