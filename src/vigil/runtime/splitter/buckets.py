"""Which revision serves which entity: 10,000 buckets, of which as few as possible change hands with the weights."""

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from itertools import groupby

from vigil.errors import ContractError

BUCKETS = 10_000
_GOLDEN_STEP = 6_181
"""The golden section of the buckets, and coprime to them: every bucket is met once in 10,000 steps."""

Table = tuple[str, ...]
"""The revision of each bucket; empty while no revision has any traffic."""

Ranges = list[tuple[str, int]]
"""A table as runs of equal buckets: revision and length."""


def bucket_of(entity: str) -> int:
    """Return the bucket of an entity: the same in every process, for ever."""
    digest = blake2b(entity.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS


def spread(number: int) -> int:
    """Return the bucket of the `number`th request without an entity: any run of them is spread evenly."""
    return number * _GOLDEN_STEP % BUCKETS


def check_percents(percents: Mapping[str, float]) -> None:
    """Raise ContractError unless the percentages are finite, not negative and sum to 100."""
    for name, percent in percents.items():
        if not (math.isfinite(percent) and 0 <= percent <= 100):
            raise ContractError(f"traffic of {name} is {percent}: give a percentage between 0 and 100")
    total = sum(percents.values())
    if abs(total - 100) > 1e-6:
        given = ", ".join(f"{name} {percent:g}" for name, percent in percents.items()) or "none"
        raise ContractError(f"the traffic percentages sum to {total:g}, not to 100: {given}")


def counts(percents: Mapping[str, float]) -> dict[str, int]:
    """Return whole buckets for percentages that sum to 100, by largest remainder."""
    exact = {name: percent * BUCKETS / 100 for name, percent in percents.items()}
    whole = {name: math.floor(value + 1e-9) for name, value in exact.items()}
    by_rest = sorted(exact, key=lambda name: (whole[name] - exact[name], name))
    for name in by_rest[: BUCKETS - sum(whole.values())]:
        whole[name] += 1
    return whole


def move(table: Sequence[str], percents: Mapping[str, float]) -> Table:
    """Return a table with these weights that differs from `table` in as few buckets as possible."""
    check_percents(percents)
    open_places = counts(percents)
    kept: list[str | None] = []
    for owner in table or (None,) * BUCKETS:
        stays = owner is not None and open_places.get(owner, 0) > 0
        if owner is not None and stays:
            open_places[owner] -= 1
        kept.append(owner if stays else None)
    newcomers = (name for name, places in open_places.items() for _ in range(places))
    return tuple(owner if owner is not None else next(newcomers) for owner in kept)


def percents_of(table: Sequence[str]) -> dict[str, float]:
    """Return the percentage of each revision in a table."""
    share: dict[str, int] = {}
    for owner in table:
        share[owner] = share.get(owner, 0) + 1
    return {name: count * 100 / BUCKETS for name, count in share.items()}


def to_ranges(table: Table) -> Ranges:
    """Return the table in a form that is short in a file."""
    return [(name, len(list(run))) for name, run in groupby(table)]


def from_ranges(ranges: Ranges) -> Table:
    """Return the table that `to_ranges` wrote."""
    table = tuple(name for name, length in ranges for _ in range(length))
    if len(table) not in (0, BUCKETS):
        raise ContractError(f"a traffic table has {len(table)} buckets, not {BUCKETS}: the state file was changed")
    return table
