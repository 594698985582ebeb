"""Events become the feature table, the rows that it is about, and the states that serving goes on from."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vigil.clock import HOUR
from vigil.contracts.artifacts import Manifest, seal
from vigil.contracts.events import Transaction, check_table
from vigil.contracts.keys import canonical_json
from vigil.errors import ContractError
from vigil.features.fields import KINDS
from vigil.features.incremental import FeatureStore
from vigil.features.schema import describe
from vigil.features.states import state_at_end, write_states
from vigil.training.folders import EVENTS_KIND, events_hash, fresh, read_events, verified
from vigil.usecase import UseCase

KIND = "features"
STORE, ROWS, VERDICTS, SCHEMA, PENDING = "store", "rows.parquet", "verdicts.parquet", "schema.json", "pending"
Tables = Mapping[str, pa.Table]


def build_features(
    use_case: UseCase, events: Path, output: Path, states: Path, previous: Path | None = None
) -> Manifest:
    """Write the features of every transaction into a sealed folder, and the states of all entities into another.

    With `previous`, the output of an earlier run, only what is new is computed. Verdicts that became known after the
    last transaction are not part of any state yet: they wait in `pending/` for the events that come before them.
    """
    schema = describe(use_case.features)
    verified(events, EVENTS_KIND)
    program = schema.compile()
    given = {kind: table for kind, table in read_events(events).items() if kind in KINDS}
    tables = _without_end(given, use_case.split.hold_back_hours)
    parents = {"events": events_hash(events)}
    earlier: Tables = {}
    fresh(output)
    if previous is not None:
        parents["previous"] = verified(previous, KIND).content_hash
        shutil.copytree(previous / STORE, output / STORE)
        earlier = {path.stem: pq.read_table(path) for path in sorted((previous / PENDING).glob("*.parquet"))}
    store = FeatureStore(output / STORE, program)
    now, later = _divided(_joined(earlier, tables))
    store.update(now)
    (output / STORE / "lock").unlink()
    _write_rows(output, store, _known(previous, tables))
    (output / PENDING).mkdir()
    for kind, table in later.items():
        pq.write_table(table, output / PENDING / f"{kind}.parquet")
    (output / SCHEMA).write_bytes(canonical_json(schema.model_dump(mode="json")) + b"\n")
    rows = pq.read_metadata(output / ROWS).num_rows
    facts = {"feature_schema": schema.content_hash, "features": len(schema.names)}
    manifest = seal(output, KIND, rows={"transactions": rows}, parents=parents, facts=facts)
    snapshot = store.snapshot()
    lineage = {"features": manifest.content_hash}
    until = snapshot.watermark + 1
    write_states(fresh(states), program, state_at_end(program, snapshot), until=until, parents=lineage)
    return manifest


def _without_end(tables: Tables, hours: float) -> dict[str, pa.Table]:
    """Return the events before the last `hours` of the transactions."""
    if not hours or "transaction" not in tables:
        return dict(tables)
    end = pc.subtract(pc.max(tables["transaction"]["event_time"]), pa.scalar(round(hours * HOUR), pa.duration("us")))
    return {kind: table.filter(pc.less(table["event_time"], end)) for kind, table in tables.items()}


def _joined(earlier: Tables, tables: Tables) -> Tables:
    kinds = sorted(set(earlier) | set(tables))
    return {kind: pa.concat_tables([part[kind] for part in (earlier, tables) if kind in part]) for kind in kinds}


def _divided(tables: Tables) -> tuple[Tables, Tables]:
    """Return the events up to the last transaction, and those after it."""
    if "transaction" not in tables or not tables["transaction"].num_rows:
        raise ContractError("there are no transactions among the events: nothing can be learned from the others alone")
    last = pc.max(tables["transaction"]["event_time"])
    now = {kind: table.filter(pc.less_equal(table["event_time"], last)) for kind, table in tables.items()}
    later = {kind: table.filter(pc.greater(table["event_time"], last)) for kind, table in tables.items()}
    return now, {kind: table for kind, table in later.items() if table.num_rows}


def _known(previous: Path | None, tables: Tables) -> tuple[pa.Table, pa.Table]:
    """Return all transactions and all verdicts so far; an id that comes again is the one that came first."""
    transactions = tables["transaction"]
    columns = ["event_id", "transaction_id", "event_time", "is_fraud"]
    given = tables.get("verdict")
    verdicts = pa.table({name: [] for name in columns}) if given is None else given.select(columns)
    if previous is None:
        return transactions, verdicts
    before = check_table(Transaction, pq.read_table(previous / ROWS))
    new = transactions.filter(pc.invert(pc.is_in(transactions["event_id"], before["event_id"].combine_chunks())))
    known = pq.read_table(previous / VERDICTS)
    more = verdicts.filter(pc.invert(pc.is_in(verdicts["event_id"], known["event_id"].combine_chunks())))
    return pa.concat_tables([before, new]).unify_dictionaries(), pa.concat_tables([known, more.cast(known.schema)])


def _write_rows(output: Path, store: FeatureStore, known: tuple[pa.Table, pa.Table]) -> None:
    """Write what is known of each transaction in the order of the features, and the verdicts on them."""
    transactions, verdicts = known
    ids = store.features()["event_id"].combine_chunks()
    place = pc.index_in(ids, value_set=transactions["event_id"].combine_chunks())
    pq.write_table(transactions.combine_chunks().take(place), output / ROWS, compression="zstd")
    schema = pa.schema(
        {
            "event_id": pa.string(),
            "transaction_id": pa.string(),
            "event_time": pa.timestamp("us", tz="UTC"),
            "is_fraud": pa.bool_(),
        }
    )
    mine = pc.is_in(verdicts["transaction_id"].cast(pa.string()), value_set=ids)
    ordered = verdicts.cast(schema).filter(mine).sort_by([("event_time", "ascending"), ("event_id", "ascending")])
    pq.write_table(ordered, output / VERDICTS, compression="zstd", use_dictionary=False)
