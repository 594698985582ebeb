"""What serving is worth (`make bench-serving`): latency, throughput beside stock KServe, batches, overload, memory.

`python -m tests.benchmarks.serving [parity latency hops ratio batch overload memory demo] [--model FOLDER]` runs the
named parts, or all; numbers of parts that do not run stay as they were in the file. FOLDER keeps the trained model for
the next run. All processes, the one that makes the load included, share this machine's processors.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.benchmarks.report import Number, publish
from tests.benchmarks.serving_fleet import Ours, Stock, ours, stock
from tests.benchmarks.serving_load import Outcome, Plan
from tests.benchmarks.serving_model import GROUPS, Prepared, prepare
from tests.benchmarks.serving_parity import count_differing
from tests.features.handbook import PATH
from vigil.features.definitions import FeatureConfig
from vigil.features.schema import describe

RATE = 300
BATCH_ROWS = 4_096
MEMORY_REQUESTS = 100_000
ROUNDS = 3
"""How often ours and the stock parts take turns."""
ROOT = Path(__file__).parents[2]

_runs = itertools.count()


@dataclass(frozen=True)
class Bench:
    """What the parts share."""

    prepared: Prepared
    folder: Path

    @contextmanager
    def ours(self) -> Iterator[Ours]:
        """Start our servers, and let every path and every entity be met once."""
        with tempfile.TemporaryDirectory(prefix="vigil-bench-") as home, ours(self.prepared, Path(home)) as servers:
            for body, rows, requests in (("arrow", BATCH_ROWS, 24), ("v1", 1, 600), ("v2", 1, 200), ("grpc", 1, 200)):
                self.drive(_port(servers, body), body, rows, requests=requests)
            yield servers

    @contextmanager
    def stock(self) -> Iterator[Stock]:
        """Start the stock parts, and warm them."""
        with stock(self.folder) as servers:
            self.drive(servers.transformer.http, "v1", 1, requests=200)
            yield servers

    def drive(self, port: int, body: str, rows: int, **more: object) -> Outcome:
        """Return what a load leads to, made by another process."""
        plan = Plan(port=port, body=body, rows=rows, live=self.prepared.live, run=f"r{os.getpid()}-{next(_runs)}")
        return _run(replace(plan, **more))  # type: ignore[arg-type]


def _run(plan: Plan) -> Outcome:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(plan), file)
        file.flush()
        command = [sys.executable, "-m", "tests.benchmarks.serving_load", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the load generator failed: {done.stderr[-2_000:]}")
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def _port(servers: Ours, body: str) -> int:
    return servers.transformer.grpc if body == "grpc" else servers.transformer.http


def parity(bench: Bench) -> list[Number]:
    """Count served decisions that differ from those of the same bundle offline."""
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as home, ours(bench.prepared, Path(home)) as servers:
        rows, differing = count_differing(bench.prepared, servers.transformer.http, servers.transformer.grpc)
    words = f"of {rows:,} rows by V1, V2, gRPC and Arrow, one by one and in batches, beside the decider offline"
    return [Number("parity_rows_differing", differing, "rows", "lower", 0, words)]


def latency(bench: Bench) -> list[Number]:
    """Measure single events at a constant rate, from the moment at which each was due."""
    with bench.ours() as servers:
        found = {
            body: bench.drive(_port(servers, body), body, 1, rate=RATE, seconds=30) for body in ("v1", "v2", "grpc")
        }
    _table(f"{RATE} requests a second, one row each", {name: outcome for name, outcome in found.items()})
    first, others = found["v1"], ("v2", "grpc")
    beside = ", ".join(f"{name} {found[name].percentiles['p99']:.1f}" for name in others)
    words = (
        f"V1, transformer, forest, autoencoder 100-32-100, boosted trees, reasons; median "
        f"{first.percentiles['p50']:.1f}; {beside}; the generator itself was up to {first.late_ms:.1f} ms late"
    )
    return [Number("p99_ms_at_300", first.percentiles["p99"], "ms", "lower", 10, words)]


def hops(bench: Bench) -> list[Number]:
    """Show throughput and latency of each hop, ours and stock, in closed loops of four connections."""
    names = describe(FeatureConfig(groups=GROUPS)).names
    found: dict[str, Outcome] = {}
    with bench.ours() as servers:
        for body, rows in itertools.product(("v1", "v2", "grpc"), (1, 256)):
            found[f"ours, whole way, {body}, {rows} rows"] = bench.drive(_port(servers, body), body, rows, seconds=5)
        for rows in (1, 256):
            run = f"p{next(_runs)}:{','.join(names)}"
            found[f"ours, predictor alone, v1, {rows} rows"] = bench.drive(
                servers.predictor.http, "vectors", rows, seconds=5, run=run
            )
    with bench.stock() as parts:
        for rows in (1, 256):
            found[f"stock, whole way, v1, {rows} rows"] = bench.drive(parts.transformer.http, "v1", rows, seconds=5)
        widths = {"forest": len(names), "boosted": len(bench.prepared.boosted_columns)}
        for (part, width), rows in itertools.product(widths.items(), (1, 256)):
            found[f"stock, {part} alone, v1, {rows} rows"] = bench.drive(
                getattr(parts, part).http, "matrix", rows, seconds=5, run=f"m:{width}", model=part
            )
    _table("closed loops of four connections", found)
    return []


def ratio(bench: Bench) -> list[Number]:
    """Compare the throughput of single events with the stock parts, in turns."""
    mine, theirs = list[float](), list[float]()
    with bench.ours() as servers, bench.stock() as parts:
        for _ in range(ROUNDS):
            mine.append(_throughput(bench, servers.transformer.http))
            theirs.append(_throughput(bench, parts.transformer.http))
    words = (
        f"{median(mine):,.0f} against {median(theirs):,.0f} requests/s of stock sklearn and xgboost servers behind a "
        "plain transformer, which has no autoencoder, no reasons, no stored state and no decision log"
    )
    return [Number("ratio_to_stock_throughput", median(mine) / median(theirs), "times", "higher", 5, words)]


def _throughput(bench: Bench, port: int) -> float:
    return bench.drive(port, "v1", 1, seconds=8, connections=8).per_second


def batch(bench: Bench) -> list[Number]:
    """Measure large batches over the Arrow route."""
    with bench.ours() as servers:
        runs = [
            bench.drive(servers.transformer.http, "arrow", BATCH_ROWS, seconds=10, connections=2) for _ in range(ROUNDS)
        ]
    speed = median(run.per_second for run in runs) * BATCH_ROWS
    words = f"Arrow streams of {BATCH_ROWS:,} rows, states in SQLite, every decision logged"
    return [Number("batch_rows_per_second", speed, "rows/s", "higher", 2e4, words)]


def overload(bench: Bench) -> list[Number]:
    """Send twice what the servers can do, then little again; every answer but a decision and a 429 is wrong."""
    with bench.ours() as servers:
        port = servers.transformer.http
        capacity = bench.drive(port, "v1", 1, seconds=8, connections=32).per_second
        flood = bench.drive(port, "v1", 1, rate=2 * capacity, seconds=20, connections=64)
        after = bench.drive(port, "v1", 1, rate=max(capacity / 4, 1), seconds=8)
    _table(f"capacity {capacity:,.0f}/s, then twice that, then a quarter", {"twice": flood, "quarter": after})
    shed, total = flood.statuses.get("429", 0), sum(flood.statuses.values())
    words = (
        f"{flood.per_second:,.0f} of {total / flood.seconds:,.0f} requests/s decided, {shed / total:.0%} shed with "
        f"429; afterwards {after.statuses} with P99 {after.percentiles['p99']:.1f} ms"
    )
    wrong = [count for one in (flood, after) for status, count in one.statuses.items() if status not in ("200", "429")]
    return [Number("overload_5xx", sum(wrong), "answers", "lower", 0, words)]


def memory(bench: Bench) -> list[Number]:
    """Measure what a hundred thousand requests leave behind."""
    with bench.ours() as servers:
        both = (servers.transformer, servers.predictor)
        port = servers.transformer.http
        bench.drive(port, "v1", 1, requests=MEMORY_REQUESTS // 10, connections=8)
        before = [process.rss_mib() for process in both]
        outcome = bench.drive(port, "v1", 1, requests=MEMORY_REQUESTS, connections=8)
        growth = [process.rss_mib() - start for process, start in zip(both, before, strict=True)]
    words = (
        f"{outcome.statuses} answers after a warm-up of a tenth; transformer {before[0]:.0f} MiB {growth[0]:+.1f}, "
        f"predictor {before[1]:.0f} MiB {growth[1]:+.1f}"
    )
    return [Number("rss_growth_mib", sum(growth), "MiB", "lower", 32, words)]


def demo(_: Bench) -> list[Number]:
    """Time `make demo` with an empty home."""
    with tempfile.TemporaryDirectory(prefix="vigil-demo-") as home:
        started = time.perf_counter()
        done = subprocess.run(["make", "demo"], cwd=ROOT, env={**os.environ, "VIGIL_HOME": home}, check=False)
        seconds = time.perf_counter() - started
        down = [sys.executable, "-m", "vigil", "down", "--force"]
        subprocess.run(down, env={**os.environ, "VIGIL_HOME": f"{home}/demo"}, check=False)
    if done.returncode:
        print("make demo failed: demo_seconds is left as it was")
        return []
    words = "make demo with its four acts, from a warm environment and an empty home"
    return [Number("demo_seconds", seconds, "s", "lower", 600, words)]


def _table(title: str, found: dict[str, Outcome]) -> None:
    table = Table("what", "per second", "P50 ms", "P90", "P95", "P99", "late", "answers", title=title)
    for name, outcome in found.items():
        levels = [f"{value:.2f}" for value in outcome.percentiles.values()]
        table.add_row(name, f"{outcome.per_second:,.0f}", *levels, f"{outcome.late_ms:.2f}", str(outcome.statuses))
    Console(width=160).print(table)


PARTS: dict[str, Callable[[Bench], list[Number]]] = {
    "parity": parity,
    "latency": latency,
    "hops": hops,
    "ratio": ratio,
    "batch": batch,
    "overload": overload,
    "memory": memory,
    "demo": demo,
}


def main() -> None:
    """Run the parts and publish their numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=", ".join(PARTS))
    parser.add_argument("--model", type=Path, help="folder that keeps the trained model")
    arguments = parser.parse_args()
    if not PATH.exists():
        sys.exit(f"{PATH} is absent: set VIGIL_DATA to the folder of the reference data")
    with tempfile.TemporaryDirectory(prefix="vigil-bench-") as folder:
        place = arguments.model or Path(folder)
        bench = Bench(prepare(place), place)
        for name in arguments.parts or PARTS:
            publish("serving", PARTS[name](bench))


if __name__ == "__main__":
    main()
