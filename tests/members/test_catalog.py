import pytest

from tests.members.subjects import make_rows, subject_of
from vigil.errors import ContractError
from vigil.members.base import HEADER
from vigil.members.catalog import KINDS, fit_member, load_member, parse_settings
from vigil.members.files import read_json, write_json


@pytest.mark.parametrize("kind", KINDS)
def test_default_settings_name_their_kind(kind: str) -> None:
    settings = parse_settings({"kind": kind})
    assert (settings.kind, settings.name) == (kind, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_every_profile_of_every_kind_is_valid(kind: str) -> None:
    for profile in KINDS[kind].settings.PROFILES:
        assert parse_settings({"kind": kind, "profile": profile}).profile == profile


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kind": "magic"}, "no member of kind 'magic': one of isolation_forest, autoencoder, boosted"),
        ({}, "no member of kind ''"),
        ({"kind": "isolation_forest", "tree": 10}, "member isolation_forest, tree: Extra inputs are not permitted"),
        ({"kind": "isolation_forest", "contamination": 0.9}, "member isolation_forest, contamination: .* 0.5"),
        ({"kind": "isolation_forest", "profile": "shop"}, "no profile 'shop': one of general, retail, stream"),
        ({"kind": "autoencoder", "layers": []}, "member autoencoder, layers"),
        ({"kind": "boosted", "monotone": {"amount": 2}}, "member boosted, monotone.amount"),
    ],
)
def test_wrong_settings_are_refused_by_field(given: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        parse_settings(given)


def test_values_given_beside_a_profile_win() -> None:
    settings = parse_settings({"kind": "isolation_forest", "profile": "stream", "seed": 7})
    assert settings.model_dump(include={"contamination", "trees", "seed"}) == {
        "contamination": 0.01,
        "trees": 200,
        "seed": 7,
    }


def test_settings_survive_their_own_json() -> None:
    settings = parse_settings({"kind": "boosted", "monotone": {"amount": 1}, "name": "second"})
    assert parse_settings(settings.model_dump(mode="json")) == settings


def test_a_member_has_the_name_that_its_settings_give() -> None:
    member = fit_member(parse_settings({"kind": "z_score", "name": "spikes"}), make_rows(50))
    assert member.name == "spikes"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "magic"}, "no member of kind 'magic'"),
        ({"format": 99}, "has format 99, this version of Vigil reads 1"),
        ({"features": ["amount"]}, "member z_score is damaged"),
    ],
)
def test_foreign_headers_are_refused(change: dict[str, object], message: str) -> None:
    files = subject_of("z_score").member.to_files()
    header = read_json(files, HEADER) | change
    with pytest.raises(ContractError, match=message):
        load_member(files | {HEADER: write_json(header)})


def test_a_header_without_its_threshold_is_refused() -> None:
    files = subject_of("z_score").member.to_files()
    header = read_json(files, HEADER)
    del header["threshold"]
    with pytest.raises(ContractError, match=r"member\.json lacks threshold"):
        load_member(files | {HEADER: write_json(header)})


def test_files_of_another_kind_are_refused_by_a_class() -> None:
    with pytest.raises(ContractError, match="holds a member of kind iqr, not z_score"):
        KINDS["z_score"].member.from_files(subject_of("iqr").member.to_files())
