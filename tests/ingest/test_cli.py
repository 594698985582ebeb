from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tests.ingest.conftest import GOOD, HEADER, TILL, write
from vigil.cli_ingest import ingest
from vigil.contracts.artifacts import verify
from vigil.errors import ContractError
from vigil.ingest.shipped import source_names

app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")
app.command()(ingest)

CANONICAL = "event_id,event_time,amount,site_id\nt1,2024-05-01T10:00:00Z,12.5,s1\n"


def call(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(item) for item in arguments], catch_exceptions=False, terminal_width=200)
    assert result.exit_code == 0, result.output
    return result.output


def test_the_help_teaches_by_examples_and_names_every_source() -> None:
    text = " ".join(call("--help").split())
    assert "vigil ingest transactions.parquet --source fraud_handbook --output events/fraud" in text
    assert "product_id: {column: article, known: [tea, coffee]}" in text
    for name in source_names():
        assert name.removeprefix("canonical-") in text


def test_the_mapping_that_the_help_shows_works(tmp_path: Path) -> None:
    help_text = ingest.__doc__ or ""
    shown = help_text[help_text.index("name: till") : help_text.index("    The next day")]
    mapping = write(tmp_path / "till.yaml", "\n".join(line.removeprefix(" " * 8) for line in shown.splitlines()))
    rows = "receipt;line;sold_at;quantity;price;shop;article\n7;1;01.05.2024 10:30;2;1,25;north;tea\n"
    output = call(write(tmp_path / "export.csv", rows), "--mapping", mapping, "--output", tmp_path / "out")
    assert "1 rows = 1 accepted + 0 quarantined" in output


def test_a_canonical_file_is_ingested_and_summed_up(tmp_path: Path) -> None:
    rows = CANONICAL + "t2,2024-05-01T10:00:00Z,abc,s1\n"
    path = write(tmp_path / "sales.csv", rows)
    out = tmp_path / "out"
    output = call(path, "-s", "canonical-transaction", "-o", out, "--max-quarantined-share", 0.5)
    assert "2 rows = 1 accepted + 1 quarantined" in output
    assert "1 type, first in row 2: amount is 'abc': no number" in output
    assert str(out / "report.html") in output.replace("\n", "")
    assert verify(out).kind == "events"


def test_the_share_of_the_command_line_replaces_that_of_the_mapping(tmp_path: Path) -> None:
    mapping = write(tmp_path / "till.yaml", TILL)
    path = write(tmp_path / "till.csv", HEADER + GOOD.replace("12.50", "x"))
    with pytest.raises(ContractError, match=r"0\.00% are allowed"):
        call(path, "-m", mapping, "-o", tmp_path / "out", "--max-quarantined-share", 0)


def test_the_run_before_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "sales.csv", CANONICAL)
    call(path, "-s", "canonical-transaction", "-o", tmp_path / "one")
    call(path, "-s", "canonical-transaction", "-o", tmp_path / "two", "--previous", tmp_path / "one")
    assert verify(tmp_path / "two").parents["previous"] == verify(tmp_path / "one").content_hash


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-s", "frod"], "there is no source 'frod': one of buildings, fraud_handbook"),
        ([], "say what the file is: --mapping FILE, or --source with one of buildings"),
        (["-s", "buildings", "-m", "x.yaml"], "give either --source or --mapping, not both"),
    ],
)
def test_a_source_that_is_not_clear_is_refused(tmp_path: Path, arguments: list[str], message: str) -> None:
    path = write(tmp_path / "sales.csv", CANONICAL)
    with pytest.raises(ContractError, match=message):
        call(path, *arguments, "-o", tmp_path / "out")


def test_the_command_line_does_not_import_what_its_help_does_not_need() -> None:
    import subprocess
    import sys

    code = "import sys, vigil.cli_ingest; print({'pandas', 'pandera', 'matplotlib', 'pyarrow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"
