"""What series of the same metric share: clusters of alike profiles, what a site leans on, what an unseen one gets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.fleet.kernels import online
from vigil.fleet.model import Basis, Tables
from vigil.fleet.panel import Floats, Panel, SiteFacts
from vigil.fleet.settings import FleetSettings

ROUNDS = 12
LEAST_OF_CLUSTER = 3
MEDIAN_NOISE = 1.57
"""Variance of a median relative to that of a mean, of normal values."""


@dataclass(frozen=True, eq=False)
class Shared:
    """Profiles that series lean on: those of clusters, and of the metric as a whole."""

    cluster_of: NDArray[np.int64]
    """(series of the metric,)"""
    profiles: Floats
    """(clusters, slots)"""
    whole: Floats
    """(slots,)"""


def basis_of(counts: NDArray[np.int32], days: Floats, settings: FleetSettings) -> NDArray[np.int64]:
    """Return whose history each series rests on, by its readings and the days that they span."""
    total = counts.sum(axis=1)
    own = (total >= settings.site_readings) & (days >= settings.site_days)
    some = total >= settings.cluster_readings
    return np.where(own, Basis.SITE, np.where(some, Basis.CLUSTER, Basis.GLOBAL)).astype(np.int64)


def share(tables: Tables, counts: NDArray[np.int32], names: list[str | None], settings: FleetSettings) -> Shared:
    """Return what the series of one metric share; `names` are the clusters given for their sites."""
    own = np.flatnonzero(tables.facts[:, 0] == Basis.SITE)
    profiles = tables.profile.astype(np.float64)
    if own.size == 0:
        own = np.flatnonzero(counts.sum(axis=1) > 0)
    if own.size == 0:
        nothing = np.zeros(settings.slots)
        return Shared(np.zeros(len(profiles), dtype=np.int64), nothing[None], nothing)
    whole = np.median(profiles[own], axis=0)
    given = sorted({name for name in names if name is not None})
    if given:
        number = {name: place for place, name in enumerate(given)}
        cluster_of = np.array([number.get(name, len(given)) if name else len(given) for name in names])
        centres = _centres(profiles[own], cluster_of[own], np.repeat(whole[None], len(given) + 1, axis=0))
        return Shared(cluster_of, centres, whole)
    centres = _clusters(profiles[own], min(settings.clusters, max(1, own.size // (2 * LEAST_OF_CLUSTER))))
    seen = counts > 0
    return Shared(_nearest(profiles, centres, seen), centres, whole)


def _clusters(profiles: Floats, most: int) -> Floats:
    """Return centres: started far from each other, then medians of what is nearest; small clusters are dropped."""
    centres: Floats = np.median(profiles, axis=0)[None]
    while len(centres) < most:
        distance = np.abs(profiles[:, None] - centres[None]).mean(axis=2).min(axis=1)
        far = np.quantile(distance, 0.9, method="nearest")
        centres = np.concatenate([centres, profiles[int(np.argmin(np.abs(distance - far)))][None]])
    for _ in range(ROUNDS):
        nearest = _nearest(profiles, centres, np.ones(profiles.shape, dtype=np.bool_))
        sizes = np.bincount(nearest, minlength=len(centres))
        kept = centres[(sizes >= LEAST_OF_CLUSTER) | (sizes == sizes.max())]
        if len(kept) == len(centres):
            kept = _centres(profiles, nearest, centres)
            if np.array_equal(kept, centres):
                break
        centres = kept
    return centres


def _centres(profiles: Floats, numbers: NDArray[np.int64], otherwise: Floats) -> Floats:
    found = otherwise.copy()
    for number in range(len(otherwise)):
        if (members := profiles[numbers == number]).size:
            found[number] = np.median(members, axis=0)
    return found


def _nearest(profiles: Floats, centres: Floats, seen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the nearest centre of each profile, over the slots that were seen."""
    weight = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1)
    distances = np.stack([(np.abs(profiles - centre) * weight).sum(axis=1) for centre in centres], axis=1)
    nearest: NDArray[np.int64] = np.argmin(distances, axis=1)
    return nearest


def lean(tables: Tables, counts: NDArray[np.int32], shared: Shared) -> None:
    """Move each profile towards its cluster's, the more the less a slot was seen; profiles of cold sites wholly.

    Never by more than its noise explains: a site that is unlike its cluster stays as it is.
    """
    for number, centre in enumerate(shared.profiles):
        members = np.flatnonzero(shared.cluster_of == number)
        own = members[tables.facts[members, 0] == Basis.SITE]
        if own.size >= LEAST_OF_CLUSTER:
            profile = tables.profile[own].astype(np.float64)
            noise = MEDIAN_NOISE * tables.scale[own].astype(np.float64) ** 2 / np.maximum(counts[own], 1)
            spread = (1.4826 * np.median(np.abs(profile - centre), axis=0)) ** 2
            between = np.maximum(spread - np.median(noise, axis=0), 0.05 * spread + 1e-12)
            apart = np.maximum(between, (profile - centre) ** 2 - noise)
            weight = np.where(counts[own] > 0, apart / (apart + noise), 0.0)
            leant = centre + weight * (profile - centre)
            tables.profile[own] = np.where(tables.closed[own], tables.profile[own], leant)
    cold = np.flatnonzero(tables.facts[:, 0] != Basis.SITE)
    for row in cold:
        known = tables.facts[row, 0] == Basis.CLUSTER
        tables.profile[row] = shared.profiles[shared.cluster_of[row]] if known else shared.whole


def fallback_row(tables: Tables, shared: Shared) -> Tables:
    """Return one row that stands for a series of the metric that was never seen: medians of those with a history."""
    own = np.flatnonzero(tables.facts[:, 0] == Basis.SITE)
    if own.size == 0:
        own = np.arange(len(tables.params))
    params = np.median(tables.params[own], axis=0)
    linear = tables.params[own, online.LOGARITHMIC].max() == 0.0
    params[online.LOGARITHMIC] = 0.0 if linear else 1.0
    params[[online.SLOPE, online.COS1, online.SIN1, online.COS2, online.SIN2]] = 0.0
    params[online.LOWEST], params[online.HIGHEST] = (
        tables.params[own, online.LOWEST].min(),
        tables.params[own, online.HIGHEST].max(),
    )
    params[online.COLD] = cold_spread(tables.params[own])
    median = {name: np.median(getattr(tables, name)[own], axis=0) for name in ("scale", "same_cost", "miss_cost")}
    closed = tables.closed[own].mean(axis=0) > 0.9
    apart = 1.25 * np.abs(tables.profile[own] - shared.whole).mean(axis=0)
    median["scale"] = np.where(closed, median["scale"], np.hypot(median["scale"], apart))
    facts = np.array([Basis.GLOBAL, 0, 0, 0], dtype=np.int64)
    return Tables(
        params=params[None],
        profile=shared.whole.astype(np.float32)[None],
        scale=median["scale"].astype(np.float32)[None],
        closed=closed[None],
        same_cost=median["same_cost"].astype(np.float32)[None],
        miss_cost=median["miss_cost"].astype(np.float32)[None],
        norms=tables.norms[:1].copy(),
        tails=tables.tails[:1].copy(),
        peaks=np.median(tables.peaks[own], axis=0)[None],
        facts=facts[None],
    )


def cold_spread(params: Floats) -> float:
    """Return how far the levels of sites spread on the scale of the model, as of the fallback's unit."""
    units = params[:, online.UNIT]
    levels = params[:, online.LEVEL]
    logarithmic = params[:, online.LOGARITHMIC].max() > 0.0
    levels = levels + np.log(units) if logarithmic else levels * units / np.median(units)
    spread = 1.4826 * float(np.median(np.abs(levels - np.median(levels))))
    return max(spread, 0.5)


def adopt(tables: Tables, row: int, fallback: Tables, has_readings: bool) -> None:
    """Give a cold series what it cannot know by itself; its own unit and level stay where it has readings."""
    kept = [online.UNIT, online.LEVEL, online.ORIGIN]
    own = tables.params[row, kept].copy()
    tables.params[row] = fallback.params[0]
    for name in ("scale", "same_cost", "miss_cost", "closed"):
        getattr(tables, name)[row] = getattr(fallback, name)[0]
    if has_readings:
        tables.params[row, kept] = own


def given_clusters(panel: Panel, rows: NDArray[np.int64]) -> list[str | None]:
    """Return the cluster that is given for the site of each row."""
    return [panel.sites.get(panel.series[row].site, SiteFacts()).cluster for row in rows]
