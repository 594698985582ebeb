"""Gates of what a model costs: latency, size, money."""

from vigil.evaluation.gates.checks import GateVerdict, at_least, at_most, must, shown, stated, verdict
from vigil.evaluation.gates.config import CostGate, LatencyGate, SizeGate
from vigil.evaluation.gates.evidence import Evidence


def judge_latency(evidence: Evidence, config: LatencyGate) -> GateVerdict:
    """Return whether single rows and batches are scored fast enough, from enough calls."""
    found = evidence.latency
    if found is None:
        return stated("latency", False, "the latency was not measured")
    checks = [
        at_least("calls", found.calls, config.minimum_calls),
        at_most("P99 of one row in ms", found.p99_ms, config.p99_ms),
        at_least("rows per second", found.rows_per_second, config.rows_per_second),
    ]
    speed = f"P99 of one row {shown(found.p99_ms)} ms, {shown(found.rows_per_second)} rows a second in batch"
    return verdict("latency", checks, f"{speed}: fast enough")


def judge_size(evidence: Evidence, config: SizeGate) -> GateVerdict:
    """Return whether the bundle is small enough; one without any bytes was not weighed."""
    size = evidence.bundle_bytes or None
    check = at_most("bytes of the bundle", size, config.maximum_bytes)
    return verdict("size", [check], f"the bundle has {shown(size)} bytes, at most {config.maximum_bytes:,}")


def judge_cost(evidence: Evidence, config: CostGate) -> GateVerdict:
    """Return whether the run and its predictions stay within the budget."""
    found = evidence.cost
    if found is None:
        return stated("cost", False, "the cost of the run was not measured")
    checks = [
        must(
            "currency", found.currency == config.currency, f"the cost is in {found.currency}, not in {config.currency}"
        ),
        at_most("per run", found.per_run, config.per_run),
        at_most("per 1,000 predictions", found.per_1000_predictions, config.per_1000_predictions),
    ]
    price = f"{shown(found.per_run)} {found.currency} a run, {shown(found.per_1000_predictions)} per 1,000 predictions"
    return verdict("cost", checks, f"{price}: within the budget")
