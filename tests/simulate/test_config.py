from pathlib import Path
from typing import Any

import pytest

from vigil.errors import ContractError
from vigil.simulate import PRESETS, load_config, preset
from vigil.simulate.incident_config import KINDS


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_valid(name: str) -> None:
    assert preset(name).days > 0


def test_the_small_preset_holds_every_kind_of_incident() -> None:
    assert {incident.kind for incident in preset("small").incidents} == set(KINDS)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ContractError, match="no preset 'tiny': one of small, retail, million, quiet"):
        preset("tiny")


def test_overrides_change_nested_keys_and_leave_the_rest() -> None:
    config = preset("million", {"chain": {"sites": 4}})
    assert (config.chain.sites, config.chain.products) == (4, PRESETS["million"]["chain"]["products"])


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        ({"dayz": 3}, "dayz"),
        ({"chain": {"sitez": 3}}, "chain.sitez"),
        ({"incidents": [{"kind": "sales_dip", "depht": 0.3}]}, "incidents.0.depht"),
    ],
)
def test_an_unknown_key_is_refused_by_its_path(overrides: dict[str, Any], key: str) -> None:
    with pytest.raises(ContractError, match=f"unknown key '{key}'"):
        preset("quiet", overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"days": 0}, "days: Input should be greater than or equal to 1"),
        ({"chain": {"groups": [{"name": "a", "time_zone": "Mars/Base"}]}}, "'Mars/Base' is not a time zone"),
        ({"chain": {"groups": [{"name": "a", "weekday_hours": [20, 8]}]}}, "20 to 8 are not opening hours"),
        ({"chain": {"groups": [{"name": "a"}, {"name": "a"}]}}, "two groups have the same name"),
        ({"incidents": [{"kind": "earthquake"}]}, "incidents.0: .*'earthquake'"),
        ({"days": 20, "incidents": [{"kind": "compromised_terminal"}]}, "'compromised_terminal-1' needs 28 days"),
        ({"incidents": [{"kind": "sales_dip", "start_day": 119}]}, "'sales_dip-1' needs 126 days"),
        ({"incidents": [{"kind": "sales_dip", "name": "x"}, {"kind": "stock_out", "name": "x"}]}, "are named 'x'"),
        ({"readings": {"metrics": []}}, r"readings\.metrics: .* at least 1 item"),
        (
            {"incidents": [{"kind": "micro_flood", "smallest": 3, "largest": 1}]},
            "smallest is 3, which is more than lar",
        ),
        ({"demand": {"sales_per_site_day": 1e6}}, "1,440,000,000 sales are expected, at most 20,000,000"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        preset("quiet", overrides)


def test_a_yaml_file_overrides_a_preset_and_is_overridden_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("days: 30\nchain: {sites: 3}\nincidents: [{kind: sales_dip}]\n")
    config = load_config(path, "small", {"chain": {"products": 9}})
    assert (config.days, config.chain.sites, config.chain.products) == (30, 3, 9)
    assert [incident.kind for incident in config.incidents] == ["sales_dip"]


def test_an_empty_yaml_file_is_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("")
    assert load_config(path, "quiet") == preset("quiet")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"days: 30\nweeks: 4\n", "mine.yaml: unknown key 'weeks'"),
        (b"days: [30\n", "mine.yaml is not YAML"),
        (b"- days\n", "mine.yaml holds a list, not keys"),
        (b"days: \xff\n", "mine.yaml cannot be read"),
    ],
)
def test_a_bad_yaml_file_is_refused_by_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=message):
        load_config(path)


def test_an_absent_yaml_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"nowhere\.yaml cannot be read"):
        load_config(tmp_path / "nowhere.yaml")
