from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from vigil.cli_simulate import parse_settings, simulate_command
from vigil.contracts.artifacts import verify
from vigil.errors import ContractError
from vigil.simulate import preset

SHORT = ("--preset", "quiet", "--set", "days=8", "--set", "chain.sites=2")


def run(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(simulate_command)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "120"})


def test_it_writes_a_sealed_folder_and_tells_what_is_in_it(tmp_path: Path) -> None:
    result = run("-o", str(tmp_path / "raw"), *SHORT, "--set", "incidents=[{kind: sales_dip, site: S0002}]")
    assert result.exit_code == 0, result.output
    rows = verify(tmp_path / "raw").rows
    assert f"{rows['transaction']:,}" in result.stdout
    assert "sales_dip-1" in result.stdout
    assert "site S0002" in result.stdout
    assert "Fraud: 0.00% of the transactions" in result.stdout


def test_incidents_at_many_entities_are_one_line(tmp_path: Path) -> None:
    flood = "incidents=[{kind: micro_flood, count: 3, transactions: 10}]"
    result = run("-o", str(tmp_path / "raw"), *SHORT, "--set", flood)
    assert "3 cards" in result.stdout
    assert result.stdout.count("micro_flood") == 2  # once in the table, once in the closing line


def test_the_configuration_that_it_shows_is_the_one_that_it_takes(tmp_path: Path) -> None:
    shown = run("--show-config", *SHORT)
    path = tmp_path / "mine.yaml"
    path.write_text(shown.stdout)
    assert run("--show-config", "--config", str(path)).stdout == shown.stdout
    assert yaml.safe_load(shown.stdout)["chain"]["sites"] == 2


def test_csv_is_written_on_request(tmp_path: Path) -> None:
    run("-o", str(tmp_path / "raw"), *SHORT, "--csv")
    assert (tmp_path / "raw" / "raw" / "transactions.csv").stat().st_size > 0


def test_without_a_folder_it_says_how_to_name_one() -> None:
    result = run()
    assert isinstance(result.exception, ContractError)
    assert "--output" in str(result.exception)


def test_settings_become_nested_values() -> None:
    settings = ["seed=7", "chain.sites=4", "chain.products=9", "start=2024-02-29", "currency=USD"]
    config = preset("quiet", parse_settings(settings))
    assert (config.seed, config.chain.sites, config.chain.products) == (7, 4, 9)
    assert (config.start.isoformat(), config.currency) == ("2024-02-29", "USD")


@pytest.mark.parametrize("setting", ["days", "=3", "chain.=3", "incidents=[{"])
def test_a_setting_that_cannot_be_read_is_quoted(setting: str) -> None:
    with pytest.raises(ContractError, match="--set"):
        parse_settings([setting])


def test_a_setting_below_a_value_is_refused() -> None:
    with pytest.raises(ContractError, match="'days' has a value already"):
        parse_settings(["days=3", "days.long=4"])


def test_the_help_teaches_by_example() -> None:
    help_text = run("--help").stdout
    for example in ("vigil simulate -o run/raw", "--preset million", "--show-config > mine.yaml"):
        assert example in help_text
