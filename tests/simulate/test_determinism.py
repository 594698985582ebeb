from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pytest

from tests.simulate.conftest import BRIEF, brief, frame
from vigil.contracts.keys import hash_table
from vigil.simulate import Simulated, preset, simulate, write
from vigil.simulate.chain import build_world
from vigil.simulate.incident_config import KINDS
from vigil.simulate.ledger import join_sites
from vigil.simulate.sales import site_ledger
from vigil.simulate.stock import book_stock

ALL_KINDS: tuple[dict[str, Any], ...] = tuple({"kind": kind} for kind in KINDS)


def test_the_same_configuration_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (write(brief(*ALL_KINDS), tmp_path / name, csv=True) for name in ("first", "second"))
    assert first == second


def test_another_seed_gives_other_events_under_other_ids(quiet: Simulated) -> None:
    other = brief(seed=43)
    ours, theirs = (set(made.tables["transaction"]["event_id"].to_pylist()) for made in (quiet, other))
    assert ours.isdisjoint(theirs)


def test_blocks_of_any_size_give_the_same_stock() -> None:
    world = build_world(preset("quiet", BRIEF))
    ledger = join_sites([site_ledger(world, site) for site in range(world.config.chain.sites)])
    whole, single = (book_stock(world, ledger, (), cells) for cells in (10**9, 1))
    for kind in ("levels", "movements", "restocks"):
        for name, column in vars(getattr(whole, kind)).items():
            both = np.lexsort((getattr(whole, kind).number,)), np.lexsort((getattr(single, kind).number,))
            np.testing.assert_array_equal(column[both[0]], getattr(getattr(single, kind), name)[both[1]])


def test_sites_can_be_made_in_any_order() -> None:
    world = build_world(preset("quiet", BRIEF))
    forth = [site_ledger(world, site).cents.sum() for site in range(6)]
    back = [site_ledger(world, site).cents.sum() for site in reversed(range(6))]
    assert forth == back[::-1]


def without_affected(simulated: Simulated, affected: set[str]) -> pd.DataFrame:
    sales = frame(simulated, "transaction")
    return sales[~sales.event_id.isin(affected)].reset_index(drop=True)


@pytest.mark.parametrize("kind", KINDS)
def test_an_incident_leaves_all_transactions_that_it_does_not_touch_as_they_were(kind: str, quiet: Simulated) -> None:
    troubled = brief({"kind": kind})
    affected = set(troubled.affected["event_id"].to_pylist())
    assert affected
    pd.testing.assert_frame_equal(without_affected(quiet, affected), without_affected(troubled, affected))


@pytest.mark.parametrize("kind", KINDS)
def test_an_incident_leaves_the_other_sites_readings_and_stock_as_they_were(kind: str, quiet: Simulated) -> None:
    troubled = brief({"kind": kind, "site": "S0002"})
    sales = pd.concat([frame(quiet, "transaction"), frame(troubled, "transaction")])
    touched = {"S0002", *sales.site_id[sales.event_id.isin(troubled.affected["event_id"].to_pylist())]}
    assert len(touched) <= 3  # a customer shops at three sites at most
    for table in ("site_reading", "stock_level", "stock_movement", "restock"):
        pd.testing.assert_frame_equal(
            *(
                frame(made, table)[lambda events: ~events.site_id.isin(touched)].reset_index(drop=True)
                for made in (quiet, troubled)
            )
        )


def test_dropping_one_of_many_incidents_leaves_the_others_as_they_were() -> None:
    kept = tuple(incident for incident in ALL_KINDS if incident["kind"] != "micro_flood")
    all_of_them, without = brief(*ALL_KINDS), brief(*kept)
    flood = {row.name for row in all_of_them.incidents if row.kind == "micro_flood"}
    names = [row for row in all_of_them.incidents if row.name not in flood]
    assert [(row.name, row.entity_id, row.start, row.affected) for row in names] == [
        (row.name, row.entity_id, row.start, row.affected) for row in without.incidents
    ]


def test_an_empty_list_of_incidents_has_an_empty_truth(quiet: Simulated) -> None:
    assert (quiet.incidents, quiet.affected.num_rows) == ((), 0)
    assert not pc.any(quiet.tables["verdict"]["is_fraud"]).as_py()


def test_progress_changes_nothing(quiet: Simulated) -> None:
    steps: list[tuple[str, float]] = []
    watched = simulate(quiet.config, lambda step, share: steps.append((step, share)))
    assert hash_table(watched.tables["transaction"]) == hash_table(quiet.tables["transaction"])
    assert [share for _, share in steps] == sorted(share for _, share in steps)
    assert steps[-1] == ("done", 1.0)
