"""Which detector is used, by configuration."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vigil.monitoring.detectors.own import MINIMUM_ROWS, own_detector
from vigil.monitoring.port import Detector

DetectorName = Literal[
    "ks",
    "cvm",
    "chi2",
    "tabular",
    "tabular_cvm",
    "alibi_ks",
    "alibi_cvm",
    "alibi_chi2",
    "alibi_tabular",
    "alibi_classifier",
]


class DetectorSettings(BaseModel):
    """The choice of a detector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: DetectorName = Field(
        default="tabular",
        description="ks and cvm take numbers, chi2 categories, the others both; alibi_* need vigil[monitor]",
    )
    minimum_rows: int = Field(default=MINIMUM_ROWS, ge=2, description="of a window; fewer are refused")
    seed: int = Field(default=0, ge=0, description="of the classifier; the other detectors draw nothing")


DEFAULT = DetectorSettings()


def make_detector(settings: DetectorSettings = DEFAULT) -> Detector:
    """Return the detector that the settings name; ours by default, which are free."""
    if not settings.name.startswith("alibi_"):
        return own_detector(settings.name, settings.minimum_rows)
    from vigil.monitoring.detectors.alibi import alibi_detector

    return alibi_detector(settings.name, settings.minimum_rows, settings.seed)
