"""The stream detector on the Numenta Anomaly Benchmark: `python -m tests.benchmarks.sites_nab`.

The settings of the detector were chosen on the whole corpus, as those on the public scoreboard were, so expect less on
streams of another kind. The table shows two halves beside the total, drawn at random by family (the instances of one
service, the sensors of one road, the mentions of companies), so that alike series do not lie on both sides. The
threshold is the benchmark's own: one, the best, for all series.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from tests.benchmarks.report import Number
from tests.benchmarks.sites_nab_scorer import STANDARD, Floats, Labelled, best_outcome, normalised, outcome_at
from vigil.fleet.streams.detector import score_stream
from vigil.settings import load_settings

AIM = 70.5
PUBLISHED = (
    "published: ARTime 74.9, Numenta HTM 70.5 to 69.7, CAD OSE 69.9, Skyline 58.2, KNN CAD 58.0, random cut forest 51.7"
)
FAMILIES = (
    "art_daily",
    "Twitter",
    "ec2_cpu",
    "ec2_disk",
    "ec2_network",
    "rds",
    "exchange-2",
    "exchange-3",
    "exchange-4",
    "rogue",
    "TravelTime",
    "occupancy",
    "speed",
)
SEED = 0
"""Draws the halves."""


@dataclass(frozen=True, eq=False)
class Stream:
    """One series as it came, and its labels, which only the scorer sees."""

    times: np.ndarray
    """Microseconds."""
    values: Floats
    labelled: Labelled


def load_corpus(folder: Path) -> dict[str, Stream]:
    """Return the series by name."""
    windows = json.loads((folder / "combined_windows.json").read_text())
    table = pl.read_parquet(folder / "nab.parquet").with_columns(pl.col("series").cast(pl.Utf8))
    return {
        str(name): _stream(rows, windows[name]) for (name,), rows in table.group_by(["series"], maintain_order=True)
    }


def _stream(rows: pl.DataFrame, windows: list[tuple[str, str]]) -> Stream:
    times = rows["timestamp"].to_numpy().astype("datetime64[us]")
    places = [tuple(int(np.argmax(times == np.datetime64(edge, "us"))) for edge in window) for window in windows]
    labelled = Labelled(len(times), [(first, last) for first, last in places])
    return Stream(times.astype(np.int64), rows["value"].to_numpy().astype(np.float64), labelled)


def family(name: str) -> str:
    """Return what a series has in common with others that are alike."""
    stem = name.partition("/")[2]
    return next((known for known in FAMILIES if stem.startswith(known)), stem)


def halves(corpus: Mapping[str, Stream]) -> tuple[list[str], list[str]]:
    """Return the names of the series of each half."""
    families = sorted({family(name) for name in corpus})
    order = np.random.default_rng(SEED).permutation(len(families))
    chosen = {families[place] for place in order[: len(families) // 2]}
    return [name for name in corpus if family(name) in chosen], [name for name in corpus if family(name) not in chosen]


def _rows(corpus: Mapping[str, Stream], scores: Mapping[str, Floats], threshold: float) -> Iterator[tuple[str, ...]]:
    categories = list(dict.fromkeys(name.partition("/")[0] for name in corpus))
    groups = {category: [name for name in corpus if name.startswith(category + "/")] for category in categories}
    groups |= dict(zip(("first half of the families", "second half of the families"), halves(corpus), strict=True))
    for title, names in (groups | {"all": list(corpus)}).items():
        labelled = {name: corpus[name].labelled for name in names}
        total = outcome_at(labelled, scores, threshold, STANDARD).total
        hits, windows, alarms = _counts(labelled, scores, threshold)
        points = f"{normalised(labelled, total):.1f}" if windows else ""
        yield title, str(len(names)), f"{hits} of {windows}", str(alarms), f"{total:.2f}", points


def _counts(labelled: Mapping[str, Labelled], scores: Mapping[str, Floats], threshold: float) -> tuple[int, int, int]:
    hits = windows = alarms = 0
    for name, series in labelled.items():
        at = np.flatnonzero(scores[name] >= threshold)
        at = at[at >= series.probation]
        inside = [(at >= first) & (at <= last) for first, last in series.windows]
        hits += sum(bool(found.any()) for found in inside)
        windows += len(series.windows)
        alarms += len(at) - sum(int(found.sum()) for found in inside)
    return hits, windows, alarms


def measure(folder: Path) -> list[Number]:
    """Print the table by category, and return the number to publish."""
    corpus = load_corpus(folder)
    start = time.perf_counter()
    scores = {name: score_stream(stream.times, stream.values) for name, stream in corpus.items()}
    seconds = time.perf_counter() - start
    labelled = {name: stream.labelled for name, stream in corpus.items()}
    outcome = best_outcome(labelled, scores)
    value = normalised(labelled, outcome.total)
    table = Table("series", "number", "windows hit", "false alarms", "total", "of 100", title="NAB, standard profile")
    for row in _rows(corpus, scores, outcome.threshold):
        table.add_row(*row)
    Console(width=120).print(table)
    readings = sum(len(stream.values) for stream in corpus.values())
    recipe = (
        f"threshold {outcome.threshold:.3f} for all {len(corpus)} series; {readings / seconds:,.0f} readings a second"
    )
    return [Number("nab_standard", value, "of 100", "higher", AIM, f"{PUBLISHED}; {recipe}")]


def main() -> None:
    """Measure, and print the number."""
    folder = load_settings().data / "nab"
    if not folder.exists():
        sys.exit(f"{folder} is absent: set VIGIL_DATA to the folder of the reference data")
    for number in measure(folder):
        print(f"{number.name}: {number.value:.2f} {number.unit}, aim at least {number.aim}; {number.compared_with}")


if __name__ == "__main__":
    main()
