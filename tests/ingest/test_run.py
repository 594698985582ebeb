from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.ingest.conftest import GOOD, HEADER, NOW, TILL, Ingest, mapping_of, write
from vigil.contracts.artifacts import verify
from vigil.contracts.events import FeedSilence, Transaction, arrow_schema
from vigil.contracts.keys import hash_file
from vigil.errors import ContractError
from vigil.ingest import run as run_module
from vigil.ingest.run import ingest_file

SOME_BAD = HEADER + GOOD + "t2,2024-05-02,abc,c,s\n" + "t3,2024-05-03,1,c,s\n" + GOOD + "short\n"


def test_the_artifact_is_sealed_with_its_rows_and_its_parents(ingest: Ingest, tmp_path: Path) -> None:
    done = ingest(SOME_BAD)
    manifest = verify(done.folder)
    assert manifest.kind == "events"
    assert manifest.rows == {
        "read": 5,
        "accepted": 2,
        "quarantined": 3,
        "events/transaction.parquet": 2,
        "events/feed_silence.parquet": 0,
    }
    assert manifest.parents == {
        "source": hash_file(tmp_path / "till.csv"),
        "mapping": mapping_of(TILL).content_hash,
    }


def test_event_files_have_exactly_the_schema_of_their_kind(ingest: Ingest) -> None:
    done = ingest(SOME_BAD)
    for model in (Transaction, FeedSilence):
        found = pq.read_schema(done.folder / "events" / f"{model.kind}.parquet")
        assert found.equals(arrow_schema(model), check_metadata=True)


def test_the_same_input_gives_the_same_bytes(ingest: Ingest) -> None:
    first, second = ingest(SOME_BAD, output="one"), ingest(SOME_BAD, output="two")
    assert verify(first.folder) == verify(second.folder)


def test_nothing_is_left_beside_the_artifact(ingest: Ingest, tmp_path: Path) -> None:
    ingest(SOME_BAD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "till.csv"]


def test_an_output_that_exists_is_never_touched(ingest: Ingest, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ContractError, match="out exists already: choose another output, or remove it"):
        ingest(SOME_BAD)


def test_a_crash_leaves_no_artifact(ingest: Ingest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "write_page", crash)
    with pytest.raises(KeyboardInterrupt):
        ingest(SOME_BAD)
    assert [path.name for path in tmp_path.iterdir()] == ["till.csv"]


def test_a_failed_run_replaces_the_report_of_the_one_before(tmp_path: Path) -> None:
    path = write(tmp_path / "till.csv", HEADER + "t1,2024-05-01,x,c,s\n")
    strict = mapping_of(TILL.replace("share: 1", "share: 0"))
    for now in (NOW, NOW + timedelta(days=1)):
        with pytest.raises(ContractError):
            ingest_file(path, strict, tmp_path / "out", clock=lambda now=now: now)
    assert verify(tmp_path / "out.rejected").rows["read"] == 1


def test_the_progress_of_every_stage_is_told(tmp_path: Path) -> None:
    seen: list[tuple[str, float]] = []
    path = write(tmp_path / "till.csv", HEADER + GOOD)
    ingest_file(
        path,
        mapping_of(TILL),
        tmp_path / "out",
        clock=lambda: NOW,
        progress=lambda stage, fraction: seen.append((stage, fraction)),
    )
    assert list(dict(seen)) == ["reading and checking", "sorting and writing", "reporting"]
    assert all(0 <= fraction <= 1 for _, fraction in seen)


def test_row_groups_are_bounded(ingest: Ingest, monkeypatch: pytest.MonkeyPatch) -> None:
    from vigil.ingest import publish

    monkeypatch.setattr(publish, "GROUP_ROWS", 10)
    done = ingest(HEADER + "".join(GOOD.replace("t1", f"t{number}") for number in range(25)))
    metadata = pq.ParquetFile(done.folder / "events" / "transaction.parquet").metadata
    assert [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)] == [10, 10, 5]
