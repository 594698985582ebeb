"""Every kind of member: its settings, its class, and where it is fitted. A new kind is a new line here."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vigil.errors import ContractError, MissingExtra
from vigil.members.autoencoder import Autoencoder, AutoencoderSettings
from vigil.members.base import Member, TooFewLabels, TrainingRows, read_header
from vigil.members.boosted import Boosted, BoostedSettings
from vigil.members.deviation import ControlChart, ControlChartSettings, Iqr, IqrSettings, ZScore, ZScoreSettings
from vigil.members.files import Files
from vigil.members.isolation_forest import IsolationForest, IsolationForestSettings
from vigil.members.one_class_svm import OneClassSvm, OneClassSvmSettings
from vigil.members.rolling_quantile import RollingQuantile, RollingQuantileSettings
from vigil.members.rules import Rules, RulesSettings
from vigil.members.settings import MemberSettings, parse_as


@dataclass(frozen=True)
class Kind:
    """What there is of one kind of member."""

    settings: type[MemberSettings]
    member: type[Member]
    fit: str
    """Module in `vigil.members.fitting` and its function of (settings, rows), imported only when it is called."""


KINDS: Mapping[str, Kind] = {
    kind.member.kind: kind
    for kind in (
        Kind(IsolationForestSettings, IsolationForest, "isolation_forest:fit"),
        Kind(AutoencoderSettings, Autoencoder, "autoencoder:fit"),
        Kind(BoostedSettings, Boosted, "boosted:fit"),
        Kind(ZScoreSettings, ZScore, "deviation:fit_z_score"),
        Kind(IqrSettings, Iqr, "deviation:fit_iqr"),
        Kind(ControlChartSettings, ControlChart, "deviation:fit_control_chart"),
        Kind(RollingQuantileSettings, RollingQuantile, "deviation:fit_rolling_quantile"),
        Kind(OneClassSvmSettings, OneClassSvm, "one_class_svm:fit"),
        Kind(RulesSettings, Rules, "rules:fit"),
    )
}


def parse_settings(given: Mapping[str, Any]) -> MemberSettings:
    """Return the settings of the kind that `given["kind"]` names, or raise ContractError naming the field."""
    return parse_as(_kind(str(given.get("kind", ""))).settings, given)


def fit_member(settings: MemberSettings, rows: TrainingRows) -> Member | TooFewLabels:
    """Return the member fitted on the rows in the order of their times, or why it abstains.

    The same settings and rows give the same member, byte for byte, on the same kind of machine.
    """
    module, _, function = _kind(settings.kind).fit.partition(":")
    try:
        fitting = importlib.import_module(f"vigil.members.fitting.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "vigil").startswith("vigil"):
            raise
        raise MissingExtra(str(error.name), "train") from error
    fitted: Member | TooFewLabels = getattr(fitting, function)(settings, rows.prepared(settings.features))
    return fitted


def load_member(files: Files) -> Member:
    """Return the member that `Member.to_files` wrote, whatever its kind."""
    return _kind(str(read_header(files)["kind"])).member.from_files(files)


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise ContractError(f"there is no member of kind {name!r}: one of {', '.join(KINDS)}")
    return KINDS[name]
