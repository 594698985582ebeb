"""The model of the serving benchmark: forest, autoencoder 100-32-100 and boosted trees on `fraud_handbook`.

The same boosted trees and a scikit-learn forest of the same size are written beside it for the stock servers.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
from sklearn.ensemble import IsolationForest as SklearnForest

from tests.features.handbook import canonical, read_raw
from vigil.clock import DAY, from_micros
from vigil.contracts.keys import hash_bytes
from vigil.decisions.bundled import model_parts
from vigil.decisions.policy import DecisionPolicy
from vigil.ensemble.fitting import EnsembleSettings, fit_ensemble
from vigil.evaluation.splits import Window
from vigil.evaluation.thresholds import ThresholdPolicy, Thresholds
from vigil.features.definitions import FeatureConfig
from vigil.features.engine import EngineState, new_state, run
from vigil.features.log import EventLog
from vigil.features.schema import FeatureSchema, describe
from vigil.features.states import write_states
from vigil.members.base import FeatureMatrix, Member, TrainingRows
from vigil.members.catalog import fit_member, parse_settings
from vigil.registry.bundle import write_bundle
from vigil.registry.metadata import BundleMetadata, CodeVersion, TrainingWindow
from vigil.registry.store import FolderStore

GROUPS = ("risk", "protocol", "behavior")
MEMBERS = ({"kind": "isolation_forest"}, {"kind": "autoencoder", "layers": [100, 32, 100]}, {"kind": "boosted"})
WARM_UP_DAYS, TRAIN_DAYS, KEPT_DAYS = 28, 35, 7
ALERT_SHARE = 0.01
"""Share of the kept rows above the threshold."""
LIVE_ROWS = 200_000
"""Transactions after the training ends, that the load is made of."""


@dataclass(frozen=True)
class Prepared:
    """Where everything lies that the servers of the benchmark need."""

    bundle: str
    states: str
    forest: str
    boosted: str
    boosted_columns: tuple[int, ...]
    """Columns of the vector that the boosted trees take."""
    live: str
    settled: int
    """Microseconds: where the states end."""

    @classmethod
    def read(cls, folder: Path) -> "Prepared":
        """Return what `prepare` wrote."""
        return cls(**json.loads((folder / "prepared.json").read_text()))


def prepare(folder: Path) -> Prepared:
    """Train everything into `folder`, or return what is there already."""
    if (folder / "prepared.json").exists():
        return Prepared.read(folder)
    folder.mkdir(parents=True, exist_ok=True)
    schema = describe(FeatureConfig(groups=GROUPS))
    tables = canonical(read_raw())
    start = int(tables["transaction"]["event_time"].cast(pa.int64())[0].as_py()) // DAY * DAY
    first, cut, end = (start + days * DAY for days in (WARM_UP_DAYS, WARM_UP_DAYS + TRAIN_DAYS, _last_day()))
    rows, state = _rows(schema, tables, first, end)
    members = _fit(rows, cut)
    write_states(folder / "states", schema.compile(), state, until=end)
    found = Prepared(
        bundle=_seal(folder, schema, members, rows, cut),
        states=str(folder / "states"),
        forest=str(folder / "stock" / "model.joblib"),
        boosted=str(folder / "stock" / "model.json"),
        boosted_columns=tuple(rows.matrix.names.index(name) for name in members[2].feature_names),
        live=str(folder / "live.npz"),
        settled=end,
    )
    _write_stock(folder, members, rows)
    _write_live(Path(found.live), tables["transaction"], end)
    (folder / "prepared.json").write_text(json.dumps(asdict(found)))
    return found


def _last_day() -> int:
    return WARM_UP_DAYS + TRAIN_DAYS + KEPT_DAYS


def _rows(schema: FeatureSchema, tables: dict[str, pa.Table], first: int, end: int) -> tuple[TrainingRows, EngineState]:
    """Return the rows from `first` to `end` with their labels, and the states at the end."""
    program = schema.compile()
    log, state = EventLog.of(tables), new_state(program)
    stop = int(np.searchsorted(log.times, end))
    features = run(program, log, state, stop=stop)
    chosen = features.times >= first
    labels = read_raw()["TX_FRAUD"].to_numpy().astype(np.int8)[: len(features)][chosen]
    matrix = FeatureMatrix(np.ascontiguousarray(features.values[chosen]), features.names)
    return TrainingRows(matrix, features.times[chosen], labels), state


def _fit(rows: TrainingRows, cut: int) -> list[Member]:
    taught = rows.take(slice(0, int(np.searchsorted(rows.times, cut))))
    fitted = [fit_member(parse_settings(one), taught) for one in MEMBERS]
    members = [one for one in fitted if isinstance(one, Member)]
    if len(members) != len(MEMBERS):
        raise SystemExit("a member abstained: there are too few labels in the training rows")
    return members


def _seal(folder: Path, schema: FeatureSchema, members: list[Member], rows: TrainingRows, cut: int) -> str:
    """Write the bundle and return its address."""
    kept = rows.take(slice(int(np.searchsorted(rows.times, cut)), None))
    ensemble = fit_ensemble(members, kept, EnsembleSettings())
    scores = ensemble.score(kept.matrix).score
    window = Window(start=cut, end=int(rows.times[-1]) + 1)
    thresholds = Thresholds(
        policy=ThresholdPolicy(),
        overall=float(np.quantile(scores, 1 - ALERT_SHARE)),
        window=window,
        rows=len(kept),
        rows_hash=hash_bytes(scores.tobytes()),
    )
    metadata = BundleMetadata(
        model="bench",
        feature_schema=schema.content_hash,
        training_window=TrainingWindow(start=from_micros(int(rows.times[0])), end=from_micros(cut)),
        parents={"features": hash_bytes(rows.matrix.values.tobytes())},
        code=CodeVersion(sources=hash_bytes(b"benchmark")),
        libraries={},
        parameters={},
        metrics={},
    )
    parts = model_parts(ensemble, schema, thresholds, DecisionPolicy())
    (folder / "stock").mkdir(exist_ok=True)
    (trees,) = (
        content for name, content in parts.items() if name.startswith("members/boosted/") and b'"learner"' in content
    )
    (folder / "stock" / "model.json").write_bytes(trees)
    return write_bundle(parts, metadata, FolderStore(folder / "store")).uri


def _write_stock(folder: Path, members: list[Member], rows: TrainingRows) -> None:
    settings = parse_settings(MEMBERS[0])
    forest = SklearnForest(n_estimators=settings.trees, max_samples=settings.max_samples, random_state=settings.seed)
    columns = [rows.matrix.names.index(name) for name in members[0].feature_names]
    joblib.dump(forest.fit(rows.matrix.values[:, columns]), folder / "stock" / "model.joblib")


def _write_live(path: Path, transactions: pa.Table, end: int) -> None:
    """Write the transactions from `end` on as plain arrays."""
    times = transactions["event_time"].cast(pa.int64()).to_numpy()
    live = transactions.slice(int(np.searchsorted(times, end)), LIVE_ROWS)
    texts = {
        name: np.array(live[name].cast(pa.string()).to_pylist(), dtype="S32") for name in ("customer_id", "terminal_id")
    }
    np.savez(path, times=live["event_time"].cast(pa.int64()).to_numpy(), amounts=live["amount"].to_numpy(), **texts)
