"""What an ingestion did, as data: written to report.json, shown by report.html, printed by the command line."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from vigil.clock import SECOND, from_micros
from vigil.contracts.keys import ContentHash
from vigil.errors import Bug
from vigil.ingest.arrivals import Silence, open_ended
from vigil.ingest.collect import Collection
from vigil.ingest.facts import KindFacts, NumberFacts
from vigil.ingest.faults import MEANING
from vigil.ingest.ledger import ABSENT, ACCEPTED
from vigil.ingest.publish import FeedJump, Published
from vigil.ingest.quarantine import RuleCount

LISTED = 1000
"""Longest list of silences or jumps in a report; feed_silence.parquet has all silences."""

TOP_SITES = 20


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rows(_Strict):
    """Rows of the source: `read` is `accepted` plus `quarantined`."""

    read: int
    accepted: int = Field(description="every event of the row was accepted")
    quarantined: int = Field(description="something of the row was refused; it is in quarantine.parquet")
    excluded: int = Field(description="of the quarantined: left out on purpose by the mapping")

    @property
    def faulty_share(self) -> float:
        """The share of rows that were quarantined, those that were meant to be left out not counted."""
        return (self.quarantined - self.excluded) / self.read if self.read else 0.0


class EventCounts(_Strict):
    """Events that the mapping makes: `mapped` is `accepted` plus `quarantined`; `absent` rows give none."""

    event: str
    kind: str
    mapped: int
    accepted: int
    quarantined: int
    absent: int
    out_of_order: int
    furthest_behind_seconds: float


class Example(_Strict):
    """One quarantined row."""

    row: int
    value: str | None
    reason: str
    raw: str


class BrokenRule(_Strict):
    """A rule that rows broke."""

    rule: str
    meaning: str
    event: str | None
    field: str | None
    count: int
    first_row: int
    examples: tuple[Example, ...]


class Distribution(_Strict):
    """The accepted values of one number, of one metric where the kind has metrics."""

    field: str
    metric: str
    count: int
    nulls: int
    lowest: float | None
    highest: float | None
    mean: float | None
    histogram: tuple[tuple[float, int], ...] = Field(description="middle of a bin, values in it; logarithmic bins")


class Key(_Strict):
    """The accepted values of one key."""

    field: str
    distinct: int
    nulls: int


class Kind(_Strict):
    """The accepted events of one kind."""

    kind: str
    count: int
    first: datetime | None
    last: datetime | None
    days: dict[str, int] = Field(description="events by day in UTC")
    sites: dict[str, int] = Field(description="events by site, the largest sites")
    numbers: tuple[Distribution, ...]
    keys: tuple[Key, ...]


class UnitJump(_Strict):
    """A feed whose values went to another scale."""

    kind: str
    site_id: str
    metric: str
    ratio: float
    start: datetime | None = Field(description="the last value on the usual scale; null: from the beginning")
    end: datetime | None = Field(description="the first value on the usual scale again; null: to the end")


class SilentFeed(_Strict):
    """A feed from which nothing came for longer than is normal."""

    site_id: str
    metric: str
    last_seen: datetime | None
    overdue: datetime
    until: datetime
    expected_every_seconds: float
    silent_seconds: float
    still_silent: bool


class IngestReport(_Strict):
    """Everything that is known of one ingestion."""

    version: int = 1
    mapping: str
    mapping_hash: ContentHash
    source: str = Field(description="name of the file")
    source_hash: ContentHash
    ingested_at: datetime
    problem: str | None = Field(description="why the run failed; null: the events were published")
    max_quarantined_share: float
    rows: Rows
    events: tuple[EventCounts, ...]
    rules: tuple[BrokenRule, ...]
    kinds: tuple[Kind, ...]
    unit_jumps: tuple[UnitJump, ...]
    unit_jump_count: int
    silent_feeds: tuple[SilentFeed, ...]
    silent_feed_count: int

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_report(folder: Path) -> IngestReport:
    """Return the report in an artifact of events, accepted or rejected."""
    return IngestReport.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Provenance:
    """What went in, and when."""

    source: str
    source_hash: ContentHash
    ingested_at: datetime
    problem: str | None = None


def build_report(collection: Collection, published: Published, provenance: Provenance) -> IngestReport:
    """Return the report, or raise Bug if the counts do not add up."""
    mapping = collection.mapping
    events = _event_counts(collection)
    _check_written(events, published)
    last = [facts.last for facts in published.facts.values() if facts.last is not None]
    end = published.window_end or max(last, default=0)
    return IngestReport(
        mapping=mapping.name,
        mapping_hash=mapping.content_hash,
        source=provenance.source,
        source_hash=provenance.source_hash,
        ingested_at=provenance.ingested_at,
        problem=provenance.problem,
        max_quarantined_share=mapping.limits.max_quarantined_share,
        rows=_rows(collection),
        events=events,
        rules=tuple(_broken_rule(item) for item in collection.quarantine.counts),
        kinds=tuple(_kind(facts) for facts in published.facts.values()),
        unit_jumps=tuple(_unit_jump(item) for item in published.jumps[:LISTED]),
        unit_jump_count=len(published.jumps),
        silent_feeds=tuple(_silent_feed(item, end) for item in published.silences[:LISTED]),
        silent_feed_count=len(published.silences),
    )


def _rows(collection: Collection) -> Rows:
    accepted, quarantined, excluded = collection.ledger.count_rows()
    return Rows(read=collection.ledger.rows, accepted=accepted, quarantined=quarantined + excluded, excluded=excluded)


def _event_counts(collection: Collection) -> tuple[EventCounts, ...]:
    found = []
    for event, fates in zip(collection.mapping.expanded, collection.ledger.count(), strict=True):
        late, furthest = collection.order[event.label]
        mapped = int(fates.sum() - fates[ABSENT])
        found.append(
            EventCounts(
                event=event.label,
                kind=event.kind,
                mapped=mapped,
                accepted=int(fates[ACCEPTED]),
                quarantined=mapped - int(fates[ACCEPTED]),
                absent=int(fates[ABSENT]),
                out_of_order=late,
                furthest_behind_seconds=furthest / SECOND,
            )
        )
    return tuple(found)


def _check_written(events: tuple[EventCounts, ...], published: Published) -> None:
    for kind, facts in published.facts.items():
        expected = sum(item.accepted for item in events if item.kind == kind)
        if facts.count != expected:
            raise Bug(f"{facts.count} events of {kind} were written, but {expected} were accepted")


def _broken_rule(count: RuleCount) -> BrokenRule:
    examples = tuple(Example.model_validate(item) for item in count.examples)
    return BrokenRule(
        rule=count.rule,
        meaning=MEANING[count.rule],
        event=count.event,
        field=count.field,
        count=count.count,
        first_row=count.first_row,
        examples=examples,
    )


def _kind(facts: KindFacts) -> Kind:
    return Kind(
        kind=facts.kind,
        count=facts.count,
        first=None if facts.first is None else from_micros(facts.first),
        last=None if facts.last is None else from_micros(facts.last),
        days=facts.day_texts(),
        sites=facts.largest_sites(TOP_SITES),
        numbers=tuple(_distribution(name, metric, item) for (name, metric), item in sorted(facts.numbers.items())),
        keys=tuple(Key(field=name, distinct=len(item.seen), nulls=item.nulls) for name, item in facts.keys.items()),
    )


def _distribution(name: str, metric: str, facts: NumberFacts) -> Distribution:
    has_values = facts.count > 0
    return Distribution(
        field=name,
        metric=metric,
        count=facts.count,
        nulls=facts.nulls,
        lowest=facts.lowest if has_values else None,
        highest=facts.highest if has_values else None,
        mean=facts.total / facts.count if has_values else None,
        histogram=tuple(facts.bars()),
    )


def _unit_jump(item: FeedJump) -> UnitJump:
    start, end = item.jump.start, item.jump.end
    return UnitJump(
        kind=item.kind,
        site_id=item.feed.site_id,
        metric=item.feed.metric,
        ratio=float(f"{item.jump.ratio:.3g}"),
        start=None if abs(start) > 1 << 62 else from_micros(start),
        end=None if abs(end) > 1 << 62 else from_micros(end),
    )


def _silent_feed(silence: Silence, end: int) -> SilentFeed:
    return SilentFeed(
        site_id=silence.feed.site_id,
        metric=silence.feed.metric,
        last_seen=None if silence.last_seen is None else from_micros(silence.last_seen),
        overdue=from_micros(silence.overdue),
        until=from_micros(silence.until),
        expected_every_seconds=silence.expected_every / SECOND,
        silent_seconds=(silence.until - silence.begin) / SECOND,
        still_silent=open_ended(silence, end),
    )
