"""The shards of a run together: one report of every site, and whether all shards are live."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vigil.contracts.keys import canonical_json
from vigil.errors import ContractError
from vigil.training.folders import fresh
from vigil.training.sites.fit import REPORT, ShardReport

SUMMARY, PAGE = "fleet.json", "fleet.md"
WHOLE, PARTLY = "whole", "partly"
_SHOWN = 50


def collect_shards(folders: Iterable[Path], output: Path) -> str:
    """Write summary and page of all shards, and return `whole`, or `partly` if one has failed."""
    found = [ShardReport.model_validate_json((folder / REPORT).read_bytes()) for folder in folders]
    reports = sorted(found, key=lambda one: one.shard)
    folder = fresh(output)
    content = {"shards": [one.model_dump(mode="json") for one in reports]}
    (folder / SUMMARY).write_bytes(canonical_json(content) + b"\n")
    (folder / PAGE).write_text(_page(reports), encoding="utf-8")
    return PARTLY if any(one.outcome == "failed" for one in reports) else WHOLE


def read_summary(folder: Path) -> list[ShardReport]:
    """Return the reports of all shards."""
    import json

    content = json.loads((folder / SUMMARY).read_bytes())
    return [ShardReport.model_validate(one) for one in content["shards"]]


def require_every_shard(folder: Path) -> None:
    """Raise ContractError naming the shards that failed, so that whoever started the run hears of it."""
    reports = read_summary(folder)
    failed = [one for one in reports if one.outcome == "failed"]
    if failed:
        told = "; ".join(f"{one.shard}: {one.error}" for one in failed)
        raise ContractError(
            f"{len(failed)} of {len(reports)} shards failed and keep the versions that they had, the sites of the"
            f" others are as their verdicts say: {told}"
        )


def counts(reports: Iterable[ShardReport]) -> dict[str, int]:
    """Return the shards by outcome, and the sites by verdict."""
    reports = list(reports)
    shards = Counter(f"shards_{one.outcome}" for one in reports)
    sites = Counter(
        "sites_promoted" if verdict.promoted else "sites_kept" for one in reports for verdict in one.sites.values()
    )
    return dict(sorted((shards + sites).items()))


def _page(reports: list[ShardReport]) -> str:
    lines = [
        "# Site models",
        "",
        "| shard | outcome | version | promoted | kept | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in reports:
        passed = sum(verdict.promoted for verdict in one.sites.values())
        row = (one.shard, one.outcome, one.version, passed, len(one.sites) - passed, _cell(one.error))
        lines.append(f"| {' | '.join(map(str, row))} |")
    kept = [(site, verdict) for one in reports for site, verdict in one.sites.items() if not verdict.promoted]
    if kept:
        lines += ["", f"## Sites that keep their champion ({len(kept)})", ""]
        lines += [f"- {_cell(site)}: {_cell('; '.join(verdict.reasons))}" for site, verdict in kept[:_SHOWN]]
    if len(kept) > _SHOWN:
        lines.append(f"- and {len(kept) - _SHOWN} more, in {SUMMARY}")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")[:400]
