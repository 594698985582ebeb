from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.training.samples import Task, use_case
from vigil.clock import DAY, system_clock
from vigil.errors import ContractError
from vigil.features.engine import compute_tables
from vigil.features.fields import KINDS
from vigil.features.states import read_states
from vigil.members.base import FRAUD, LEGITIMATE, UNKNOWN
from vigil.training.features import build_features
from vigil.training.folders import read_events
from vigil.training.ingest import ingest
from vigil.training.rows import FeatureRows, divide, read_rows

pytestmark = pytest.mark.xdist_group("training")


@pytest.fixture(scope="module")
def rows(trained: Task) -> FeatureRows:
    return read_rows(trained.use_case, trained.folder("features"))


def test_the_table_holds_what_one_run_over_all_events_computes(trained: Task, rows: FeatureRows) -> None:
    tables = {kind: table for kind, table in read_events(trained.folder("events")).items() if kind in KINDS}
    whole = compute_tables(rows.schema.compile(), tables)
    assert whole.event_ids.to_pylist() == rows.table["event_id"].to_pylist()
    assert np.array_equal(whole.values, rows.matrix.values)


def test_every_row_is_the_transaction_of_its_features(trained: Task, rows: FeatureRows) -> None:
    amount = rows.matrix.values[:, rows.matrix.names.index("amount")]
    assert np.array_equal(amount, rows.amounts.astype(np.float32))
    assert (np.diff(rows.times) >= 0).all()


def test_the_states_are_those_after_the_last_transaction(trained: Task, rows: FeatureRows) -> None:
    states = read_states(trained.folder("feature_state"))
    assert states.feature_schema == rows.schema.content_hash
    assert states.settled.timestamp() * 1e6 == pytest.approx(rows.times[-1] + 1, abs=1)
    assert states.entities > len(np.unique(rows.column("customer_id")))
    waiting = pq.read_table(trained.folder("features") / "pending" / "verdict.parquet")
    assert pc.min(waiting["event_time"]).value > rows.times[-1], "verdicts of the future are in no state"


def test_a_table_that_grows_is_the_one_that_is_built_at_once(raw: Path, trained: Task, tmp_path: Path) -> None:
    given = use_case()
    tables = {name: pq.read_table(raw / "events" / f"{name}.parquet") for name in ("transaction", "verdict")}
    middle = (
        pc.min(tables["transaction"]["event_time"]).as_py()
        + (pc.max(tables["transaction"]["event_time"]).as_py() - pc.min(tables["transaction"]["event_time"]).as_py())
        / 2
    )
    folders = []
    for name, before in (("first", True), ("second", False)):
        folder = tmp_path / name
        folder.mkdir()
        for kind, table in tables.items():
            early = pc.less(table["event_time"], pa.scalar(middle))
            pq.write_table(table.filter(early if before else pc.invert(early)), folder / f"{kind}.parquet")
        ingest(given, str(folder), "", tmp_path / f"{name}-events", system_clock)
        folders.append(tmp_path / f"{name}-events")
    build_features(given, folders[0], tmp_path / "half", tmp_path / "half-states")
    build_features(given, folders[1], tmp_path / "grown", tmp_path / "grown-states", tmp_path / "half")
    both = tmp_path / "both"
    both.mkdir()
    for kind, table in tables.items():
        pq.write_table(table, both / f"{kind}.parquet")
    ingest(given, str(both), "", tmp_path / "both-events", system_clock)
    build_features(given, tmp_path / "both-events", tmp_path / "whole", tmp_path / "whole-states")
    grown, whole = (read_rows(given, tmp_path / name) for name in ("grown", "whole"))
    assert grown.table["event_id"].to_pylist() == whole.table["event_id"].to_pylist()
    assert np.array_equal(grown.matrix.values, whole.matrix.values)
    assert np.array_equal(grown.labels_at(grown.as_of), whole.labels_at(whole.as_of))
    assert dict(read_states(tmp_path / "grown-states")) == dict(read_states(tmp_path / "whole-states"))


def test_a_label_is_what_was_known_at_the_moment(rows: FeatureRows) -> None:
    assert (rows.labels_at(int(rows.times[0]) - 1) == UNKNOWN).all()
    in_the_end = rows.labels_at(rows.as_of)
    assert set(np.unique(in_the_end)) <= {FRAUD, LEGITIMATE, UNKNOWN}
    middle = int(rows.times[len(rows) // 2])
    known = rows.labels_at(middle)
    late = rows.times + rows.use_case.split.plan.delay_days * DAY > middle
    assert (known[late] == UNKNOWN).all(), "verdicts come after the delay"
    assert np.array_equal(known[~late], in_the_end[~late])


def test_without_a_verdict_a_row_is_what_the_use_case_says(rows: FeatureRows) -> None:
    nobody = rows.verdicts.slice(0, 0)
    for policy, expected in (("legitimate", LEGITIMATE), ("unknown", UNKNOWN)):
        given = use_case(labels={"without_verdict": policy})
        silent = FeatureRows(given, rows.schema, rows.matrix, rows.table, nobody)
        moment = int(rows.times[-1]) + 8 * DAY
        assert (silent.labels_at(moment) == expected).all()
        assert (silent.labels_at(int(rows.times[0])) == UNKNOWN).all(), "the delay has not passed yet"


def test_nothing_learned_from_is_later_than_the_fit_and_nothing_tested_is_earlier(rows: FeatureRows) -> None:
    parts = divide(rows)
    fold = parts.fold
    assert rows.times[parts.train].max() < rows.times[parts.calibration].min()
    assert rows.times[parts.calibration].max() + 7 * DAY <= fold.fitted_at <= rows.times[parts.test].min()
    assert (parts.labels[np.concatenate([parts.train, parts.calibration])] != UNKNOWN).all()
    assert (parts.labels[parts.test] == UNKNOWN).all(), "the fit knows no label of a test row"
    assert (parts.test_labels[parts.test] != UNKNOWN).all()


def test_too_short_a_history_is_refused_with_what_it_needs(rows: FeatureRows) -> None:
    given = use_case(split={"plan": {"calibration_days": 20, "test_days": 20}, "warm_up_days": 3})
    short = FeatureRows(given, rows.schema, rows.matrix, rows.table, rows.verdicts)
    with pytest.raises(ContractError, match=r"days of transactions are too few .* needs about 53"):
        divide(short)


def test_segments_are_columns_bands_of_amounts_and_of_local_hours(rows: FeatureRows) -> None:
    segments = {"site": {"column": "site_id"}, "size": {"amounts": [10, 50]}, "part": {"hours": [12]}}
    given = use_case(segments=segments)
    keys = FeatureRows(given, rows.schema, rows.matrix, rows.table, rows.verdicts).segments()
    assert set(keys["site"]) == set(rows.table["site_id"].to_pylist())
    assert set(keys["size"]) == {"amount below 10", "amount from 10", "amount from 50"}
    assert (keys["size"][rows.amounts >= 50] == "amount from 50").all()
    assert set(keys["part"]) == {"hour below 12", "hour from 12"}
