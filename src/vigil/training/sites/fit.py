"""One shard from its readings to its live version. What goes wrong with it is reported, and stops no other shard."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from vigil.clock import Clock, from_micros
from vigil.contracts.keys import ContentHash, hash_json, hash_table
from vigil.errors import ContractError
from vigil.fleet.bundled import Records, Shard, SiteRecord, live_shard, series_of, shard_model
from vigil.fleet.fit import fit_fleet
from vigil.fleet.model import Fleet
from vigil.fleet.panel import Ints, Panel, Readings
from vigil.fleet.settings import FleetSettings
from vigil.fleet.thresholds import with_budget
from vigil.registry.metadata import TrainingWindow, code_version
from vigil.registry.registry import Registry
from vigil.registry.store import open_store
from vigil.settings import Settings
from vigil.training.folders import fresh
from vigil.training.sites.config import SitesConfig
from vigil.training.sites.holdout import Holdout, SiteVerdict, judge
from vigil.training.sites.publish import Change, publish
from vigil.training.sites.split import read_split, table_of

REPORT = "shard.json"
ACTOR = "policy:site-gates"

_log = logging.getLogger(__name__)


class ShardReport(BaseModel):
    """What became of a shard."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: str
    model: str
    outcome: Literal["live", "kept", "failed"]
    """Whether it has a new version; one that failed has the version that it had."""
    version: str = ""
    bundle: ContentHash | None = None
    sites: Mapping[str, SiteVerdict] = {}
    error: str = ""


@dataclass(frozen=True)
class Occasion:
    """Where versions are kept, why the run takes place, and what time it is."""

    settings: Settings
    cause: str
    clock: Clock


def fit_shard(config: SitesConfig, shard: str, split: Path, output: Path, occasion: Occasion) -> ShardReport:
    """Write and return the report of a shard whose passing sites are live from now on.

    A shard that cannot be fitted keeps what it has. That is told by the report rather than by the end of the task: a
    task of a loop that fails would stop the shards that have not begun.
    """
    model = shard_model(config.name, shard)
    try:
        found = _fit(config, shard, split, occasion)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other shards go on and the report tells it
        _log.exception("shard failed", extra={"shard": shard})
        cause_of = str(error) if isinstance(error, ContractError) else f"{type(error).__name__}: {error}"
        found = ShardReport(shard=shard, model=model, outcome="failed", error=cause_of)
    (fresh(output) / REPORT).write_text(found.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return found


def _fit(config: SitesConfig, shard: str, split: Path, occasion: Occasion) -> ShardReport:
    readings, step = read_split(split, shard)
    config = config.with_step(step)
    settings = occasion.settings
    registry = Registry(open_store(settings.store_uri), public_key=settings.public_key, clock=occasion.clock)
    model = shard_model(config.name, shard)
    live = live_shard(registry, model)
    _check_division(live, config)
    panel = Panel(readings, config.facts({series.site for series in readings.series}))
    digest = hash_table(table_of(readings))
    wanted = _version(config, readings, digest)
    if live is not None and wanted in {record.version for record in live.records.values()}:
        return _as_it_is(shard, live)
    champion = None if live is None else _with_settings(live.fleet, config.fleet)
    held = judge(panel, config, champion)
    final = fit_fleet(panel, config.fleet, wanted)
    report = ShardReport(shard=shard, model=model, outcome="kept", sites=held.verdicts)
    promoted = {site for site, verdict in held.verdicts.items() if verdict.promoted}
    if not promoted:
        return report.model_copy(update={"version": live.version if live else ""})
    fleet = _merged(champion, held, final, promoted)
    records = _records(live, held, promoted, wanted)
    change = Change(model, _window(readings), {"readings": digest}, config.shards)
    reason = f"{occasion.cause}: {len(promoted)} of {len(held.verdicts)} sites passed their gates"
    version = publish(registry, settings, change, (fleet, records), live, (ACTOR, reason))
    return report.model_copy(update={"outcome": "live", "version": version.version, "bundle": version.bundle})


def _as_it_is(shard: str, live: Shard) -> ShardReport:
    """Return the report of a shard that the same data and settings have brought to life before, as in a retry."""
    verdicts = {
        site: SiteVerdict(promoted=record.verdict == "promoted", reasons=record.reasons)
        for site, record in live.records.items()
    }
    return ShardReport(
        shard=shard, model=live.model, outcome="live", version=live.version, bundle=live.bundle, sites=verdicts
    )


def _check_division(live: Shard | None, config: SitesConfig) -> None:
    if live is not None and live.shards != config.shards:
        raise ContractError(
            f"{live.model} is one of {live.shards} shards, not of {config.shards}: sites would lose their champions;"
            " keep `shards`, or give the fleet another name"
        )


def _with_settings(fleet: Fleet, settings: FleetSettings) -> Fleet:
    """Return the champion under the settings of the run: another budget gives other thresholds, nothing else differs.

    Models of settings that differ in more cannot live in one shard with new ones.
    """
    if fleet.settings == settings:
        return fleet
    if fleet.settings.model_copy(update={"budget": settings.budget}) == settings:
        return with_budget(fleet, settings.budget)
    raise ContractError("the settings of the models have changed: give the fleet another name, and serve it once it is")


def _version(config: SitesConfig, readings: Readings, digest: ContentHash) -> str:
    """Return a name for this fit: the same data, settings and code give the same one."""
    content = hash_json({"settings": config.content_hash, "code": code_version().sources, "readings": digest})
    return f"{from_micros(int(readings.times.max())):%Y%m%d}-{content.removeprefix('sha256:')[:8]}"


def _merged(champion: Fleet | None, held: Holdout, final: Fleet, promoted: set[str]) -> Fleet:
    """Return the champion with the promoted sites as they were fitted now; the others go on from the latest reading."""
    chosen = final.take(series_of(final, promoted))
    if champion is None:
        return chosen
    if held.champion_state is not None:
        seats = held.champion_state.seats(_seats_of(champion))
        champion = replace(champion, start=seats)
    return champion.merge(chosen)


def _seats_of(fleet: Fleet) -> Ints:
    return np.arange(len(fleet.series), dtype=np.int64)


def _records(live: Shard | None, held: Holdout, promoted: set[str], version: str) -> Records:
    """Return the record of every site that is live after this."""
    before = {} if live is None else live.records
    found = {}
    for site in sorted({*before, *promoted}):
        old, verdict = before.get(site), held.verdicts.get(site)
        if site not in promoted:
            reasons = verdict.reasons if verdict else ("no reading of it in the data of the run",)
            found[site] = before[site].model_copy(update={"verdict": "kept", "reasons": reasons})
            continue
        reasons = held.verdicts[site].reasons
        if old is None or live is None:
            found[site] = SiteRecord(version=version, verdict="promoted", reasons=reasons)
        else:
            found[site] = old.after(version, live.bundle, reasons)
    return found


def _window(readings: Readings) -> TrainingWindow:
    first, last = int(readings.times.min()), int(readings.times.max())
    return TrainingWindow(start=from_micros(first), end=from_micros(last + 1))
