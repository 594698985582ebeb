"""The numbers of bench/cluster.json, published by the tests that measure them."""

from tests.benchmarks.report import Number, publish

_UNITS = {
    "failed_requests_pod_kill": "requests",
    "canary_split_error_points": "points",
    "pairs_mixed": "answers",
    "rollback_seconds": "s",
    "decisions_lost": "decisions",
    "parity_rows_differing": "rows",
    "services_recovery_seconds": "s",
    "redis_recovery_seconds": "s",
    "ingress_recovery_seconds": "s",
}
_AIMS: dict[str, float | None] = {
    "failed_requests_pod_kill": 0.0,
    "canary_split_error_points": 5.0,
    "pairs_mixed": 0.0,
    "rollback_seconds": 30.0,
    "decisions_lost": 0.0,
    "parity_rows_differing": 0.0,
    "services_recovery_seconds": None,
    "redis_recovery_seconds": None,
    "ingress_recovery_seconds": None,
}


def cluster_number(name: str, value: float, compared_with: str) -> None:
    """Put a number into bench/cluster.json; less is better for all of them."""
    publish("cluster", [Number(name, value, _UNITS[name], "lower", _AIMS[name], compared_with)])
