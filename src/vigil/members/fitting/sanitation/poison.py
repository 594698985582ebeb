"""Rows that somebody may have put there: copies, clusters where nothing else is, bursts in time or at one entity."""

import numpy as np
from numpy.typing import NDArray

from vigil.clock import HOUR, from_micros
from vigil.members.fitting.sanitation.cells import Groups, places_in_group, sizes
from vigil.members.fitting.sanitation.finding import Finding, by_group
from vigil.members.fitting.sanitation.incidents import Entities
from vigil.members.fitting.sanitation.outlyingness import Landscape
from vigil.members.fitting.sanitation.settings import BurstScreen, ClusterScreen, DuplicateScreen, PoisonScreen

_ENTITIES_TO_COMPARE = 100
"""Fewer are too few to say that one of them is unlike the others."""


def find_poison(times: NDArray[np.int64], entities: Entities, land: Landscape, settings: PoisonScreen) -> list[Finding]:
    """Return the copies, the clusters and the bursts; a row may be in several."""
    suspicious = land.far > settings.suspicious_limit
    return [
        _find_copies(land, suspicious, settings.duplicates),
        _find_clusters(land, suspicious, settings.clusters),
        *find_bursts(times, entities, suspicious, settings.bursts),
    ]


def _find_copies(land: Landscape, suspicious: NDArray[np.bool_], settings: DuplicateScreen) -> Finding:
    """Return suspicious groups of equal rows, and of others all but the first row; nothing where rows do repeat."""
    size = sizes(land.equal)
    hardly_ever = (size > 1).mean() <= settings.natural
    copies = hardly_ever & (size >= settings.least) & (suspicious | (places_in_group(land.equal) > 0))
    texts = {int(group): f"one of {count} equal rows" for group, count in _counts(land.equal[copies], land.equal)}
    return by_group("copies", copies, land.equal, texts)


def _find_clusters(land: Landscape, suspicious: NDArray[np.bool_], settings: ClusterScreen) -> Finding:
    """Return the rows with implausibly many others in their cell, measured by how many rows have there at most."""
    density = np.max([sizes(table) for table in land.cells], axis=0)
    usual = float(np.quantile(density, settings.denser_than))
    limits = [max(settings.least, int(usual) + 1), max(settings.least, int(usual * settings.factor))]
    dense = density >= np.where(suspicious, limits[0], limits[1])
    where = ("far from what is usual", "in an ordinary place")
    texts = {
        place: f"{where[place]}, with at least {limit} rows in a cell {settings.width:g} robust deviations wide"
        for place, limit in enumerate(limits)
    }
    return by_group("cluster", dense, (~suspicious).astype(np.int64), texts)


def find_bursts(
    times: NDArray[np.int64], entities: Entities, suspicious: NDArray[np.bool_], settings: BurstScreen
) -> list[Finding]:
    """Return bursts of suspicious rows in time; of any rows at an entity; of suspicious rows at an entity."""
    slot = times // int(settings.slot_hours * HOUR)
    slot -= slot.min()
    findings = [_burst_in_time(slot, times, suspicious, settings)]
    for name in sorted(entities):
        keys, codes = np.unique(entities[name].astype(str), return_inverse=True)
        findings.append(_burst_at_entity(name, keys, (codes, slot), settings))
        findings.append(_suspicious_entity(name, keys, codes, suspicious, settings))
    return findings


def _burst_in_time(
    slot: Groups, times: NDArray[np.int64], suspicious: NDArray[np.bool_], settings: BurstScreen
) -> Finding:
    counts = np.bincount(slot, weights=suspicious)
    present = np.bincount(slot) > 0
    limit = _limit(float(np.median(counts[present])), settings)
    crowded = (counts >= limit)[slot] & suspicious
    width = int(settings.slot_hours * HOUR)
    first = int(times.min()) // width
    texts = {
        int(place): f"one of {int(counts[place])} suspicious rows in the {settings.slot_hours:g} h from "
        f"{from_micros((first + int(place)) * width):%Y-%m-%d %H:%M}"
        for place in np.flatnonzero(counts >= limit)
    }
    return by_group("burst_in_time", crowded, slot, texts)


def _burst_at_entity(name: str, keys: NDArray[np.str_], place: tuple[Groups, Groups], settings: BurstScreen) -> Finding:
    """Return rows of an entity in a slot that has many times its usual number, and that of the other entities."""
    codes, slot = place
    slots = int(slot.max()) + 1
    pairs, group, counts = np.unique(codes * slots + slot, return_inverse=True, return_counts=True)
    owner = pairs // slots
    usual = np.maximum(_median_of_each(owner, counts), np.median(counts))
    crowded = counts >= np.maximum(settings.least, settings.factor * usual)
    texts = {
        int(one): f"one of {counts[one]} rows of {name} {keys[owner[one]]} in {settings.slot_hours:g} h, "
        f"usual is {usual[one]:g}"
        for one in np.flatnonzero(crowded)
    }
    return by_group(f"burst_at_{name}", crowded[group], group, texts)


def _suspicious_entity(
    name: str, keys: NDArray[np.str_], codes: Groups, suspicious: NDArray[np.bool_], settings: BurstScreen
) -> Finding:
    """Return the suspicious rows of an entity with many times more of them than 99 % of the others, and many of all."""
    counts = np.bincount(codes, weights=suspicious, minlength=len(keys))
    least = max(_limit(float(np.quantile(counts, 0.99)), settings), settings.least_share * len(codes))
    limit = least if len(keys) >= _ENTITIES_TO_COMPARE else np.inf
    texts = {
        int(place): f"one of {int(counts[place])} suspicious rows of {name} {keys[place]}"
        for place in np.flatnonzero(counts >= limit)
    }
    return by_group(f"suspicious_{name}", (counts >= limit)[codes] & suspicious, codes, texts)


def _limit(usual: float, settings: BurstScreen) -> float:
    return max(float(settings.least), settings.factor * usual)


def _median_of_each(owner: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each count the median of all counts of its owner; owners are in ascending order."""
    order = np.lexsort((counts, owner))
    number = np.bincount(owner)
    starts = np.cumsum(number) - number
    last = np.maximum(starts + number - 1, 0)
    lower, upper = starts + np.maximum(number - 1, 0) // 2, np.minimum(starts + number // 2, last)
    ranked = counts[order]
    top = len(ranked) - 1
    medians = (ranked[np.minimum(lower, top)] + ranked[np.minimum(upper, top)]) / 2
    found: NDArray[np.float64] = medians[owner]
    return found


def _counts(chosen: Groups, groups: Groups) -> list[tuple[int, int]]:
    totals = np.bincount(groups)
    return [(int(group), int(totals[group])) for group in np.unique(chosen)]
