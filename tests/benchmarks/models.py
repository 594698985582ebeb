"""What the members and the ensemble are worth: quality on public data, speed, cost of a fit (`make bench-models`).

`python -m tests.benchmarks.models [fit speed protocol unlabelled history adbench]` runs the named parts, or all of
them; numbers of parts that do not run stay as they were in the file. `validation` runs three of them on the folds that
the settings were chosen on, and writes nothing.
"""

import sys
import time
from collections.abc import Callable, Iterable
from functools import cached_property, partial

import numpy as np

from tests.benchmarks import models_adbench as adbench
from tests.benchmarks.models_handbook import (
    VALIDATION_FOLDS,
    Handbook,
    Quality,
    ceilings,
    check_counts,
    in_words,
    load_handbook,
    mean,
    over_folds,
)
from tests.benchmarks.models_labels import HISTORY, WEEK, Protocol, labelled_fold
from tests.benchmarks.models_speed import CORES, FITTED_ROWS, speed_rows, time_ensemble, time_fit, time_forest
from tests.benchmarks.models_unlabelled import WAYS, unlabelled_fold
from tests.benchmarks.report import Number, publish
from tests.features.handbook import PATH
from vigil.evaluation.splits import HANDBOOK_FOLDS, Fold
from vigil.settings import load_settings

PUBLISHED = "published best: AP .694, AUC .879, CP@100 .304"


class Bench:
    """The data that the parts share, read when a part first needs it."""

    def __init__(self, folds: Iterable[Fold] = HANDBOOK_FOLDS) -> None:
        self.folds = tuple(folds)

    @cached_property
    def handbook(self) -> Handbook:
        """The transactions, after a check that the protocol's counts are the published ones."""
        loaded = load_handbook()
        print(check_counts(loaded))
        for name, folds in ceilings(loaded, self.folds).items():
            print(in_words(f"ceiling: {name}", folds))
        return loaded


def protocol(bench: Bench) -> list[Number]:
    quality = _labelled(bench, WEEK)
    best = max((name for name in quality if name != "ensemble"), key=lambda name: mean(quality[name]).ap)
    gains = [one.ap - other.ap for one, other in zip(quality["ensemble"], quality[best], strict=True)]
    rivals = f"{best} alone on the same test rows; by fold from {min(gains):+.4f} to {max(gains):+.4f}"
    return [
        Number("protocol_ap", mean(quality["ensemble"]).ap, "AP", "higher", 0.73, f"{PUBLISHED}; {_folds(bench)}"),
        Number("ensemble_minus_best_member_ap", float(np.mean(gains)), "AP", "higher", 0.0, rivals),
    ]


def history(bench: Bench) -> list[Number]:
    found = mean(_labelled(bench, HISTORY)["ensemble"])
    best = mean(ceilings(bench.handbook, bench.folds)["oracle"])
    ceiling = f"{PUBLISHED}; an oracle blind to terminals without a verdict: {best}"
    return [
        Number("history_ap", found.ap, "AP", "higher", 0.76, ceiling),
        Number("history_auc", found.auc, "AUC", "higher", 0.89, ceiling),
        Number("history_cp100", found.cp100, "CP@100", "higher", 0.315, ceiling),
    ]


def _labelled(bench: Bench, wanted: Protocol) -> dict[str, list[Quality]]:
    handbook = bench.handbook
    print(f"with labels, {wanted.name} ({_folds(bench)})", flush=True)
    quality = over_folds(bench.folds, lambda fold: labelled_fold(handbook, fold, wanted))
    for name, folds in quality.items():
        print(in_words(name, folds))
    return quality


def unlabelled(bench: Bench) -> list[Number]:
    found, handbook = {}, bench.handbook
    for way in WAYS:
        print(f"fitted without labels, {way.name} ({_folds(bench)})", flush=True)
        quality = over_folds(bench.folds, partial(unlabelled_fold, handbook, way=way))
        for name, folds in quality.items():
            print(in_words(name, folds))
        found[way.name] = {name: mean(folds).ap for name, folds in quality.items()}
    with_verdicts, strict = (found[way.name] for way in WAYS)
    ensemble, plain = "ensemble: greatest surprise", "forest and autoencoder: plain mean"
    compared = (
        f"members fitted without labels, one feature counts past verdicts on the terminal; without that feature "
        f"{strict[ensemble]:.3f}; best member {max(with_verdicts.values()):.3f}; plain mean of forest and autoencoder "
        f"{with_verdicts[plain]:.3f}, of their surprises "
        f"{with_verdicts['forest and autoencoder: mean of surprises']:.3f}"
    )
    return [Number("protocol_ap_unlabelled", with_verdicts[ensemble], "AP", "higher", 0.40, compared)]


def adbench_ranks(_: Bench) -> list[Number]:
    table = adbench.compare_all(load_settings().data / "adbench")
    best = adbench.best_three(table)
    ranks = adbench.mean_ranks(table, [adbench.ENSEMBLE, *best])
    theirs = float(np.mean([ranks[name] for name in best]))
    print(f"ADBench, unsupervised, average precision ({adbench.MOST_ROWS:,} rows at most)")
    print(adbench.in_words(table))
    print("  mean rank among four: " + ", ".join(f"{name} {rank:.2f}" for name, rank in ranks.items()))
    compared = f"mean rank of PyOD's best three in this run ({', '.join(best)}); ranks among the four by AP"
    return [Number("adbench_mean_rank", ranks[adbench.ENSEMBLE], "rank", "lower", theirs, compared)]


def speed(bench: Bench) -> list[Number]:
    rows = speed_rows(bench.handbook)
    forest = time_forest(rows)
    print("flat forest against scikit-learn, one thread each, scores equal to 1e-12")
    for count, timed in forest.items():
        print(
            f"  {count:>7,} rows  {timed.ours * 1e3:10.4f} ms  {timed.other * 1e3:10.4f} ms  {timed.ratio:8.1f} times"
        )
    found = time_ensemble(rows)
    print(
        f"ensemble of four: {found.on_one_core:,.0f} rows a second on one core, {found.rows_per_second:,.0f} on {CORES}"
    )
    members = "forest, autoencoder 100-32-100, boosted trees, z-score; 30 features"
    return [
        Number("forest_ratio_1", forest[1].ratio, "times", "higher", 100, "scikit-learn's score_samples, 1 row"),
        Number("forest_ratio_100000", forest[100_000].ratio, "times", "higher", 3, "the same, 100,000 rows"),
        Number("ensemble_row_ms", found.one_row * 1e3, "ms", "lower", 1, members),
        Number(
            "ensemble_rows_per_second",
            found.rows_per_second,
            "rows/s",
            "higher",
            100_000,
            f"{members}; {CORES} threads (one thread: {found.on_one_core:,.0f})",
        ),
    ]


def fit(bench: Bench) -> list[Number]:
    cost = time_fit(speed_rows(bench.handbook))
    print(f"fit of every kind of member on {FITTED_ROWS:,} rows by 30 features, boosted trees in one thread")
    print("  " + ", ".join(f"{kind} {seconds:.1f} s" for kind, seconds in cost.by_member.items()))
    print(f"  {cost.seconds:.1f} s in all, {cost.processor_seconds:.1f} s of the processors")
    print(f"  peak memory {cost.peak_gib:.2f} GiB, {cost.data_gib:.2f} GiB of it before the first fit")
    compared = (
        f"all {len(cost.by_member)} kinds with their defaults, boosted trees in one thread; "
        f"{cost.processor_seconds:.0f} s of the processors, "
        f"peak memory {cost.peak_gib:.2f} GiB"
    )
    return [Number("fit_250k_seconds", cost.seconds, "s", "lower", 60, compared)]


PARTS: dict[str, Callable[[Bench], list[Number]]] = {
    "fit": fit,
    "speed": speed,
    "protocol": protocol,
    "unlabelled": unlabelled,
    "history": history,
    "adbench": adbench_ranks,
}


def _folds(bench: Bench) -> str:
    return f"mean of {len(bench.folds)} folds"


def main(wanted: list[str]) -> None:
    """Run the parts and publish their numbers."""
    if not PATH.exists():
        sys.exit(f"{PATH} is absent: set VIGIL_DATA to the folder of the reference data")
    if wanted == ["validation"]:
        bench = Bench(VALIDATION_FOLDS)
        for part in (protocol, unlabelled, history):
            part(bench)
        return
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"unknown part {min(unknown)}: one of {', '.join(PARTS)}, or validation alone")
    bench = Bench()
    for name in wanted or PARTS:
        start = time.perf_counter()
        publish("models", PARTS[name](bench))
        print(f"[{name}: {time.perf_counter() - start:.0f} s]", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
