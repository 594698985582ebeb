"""Rows beyond everything usual: in one feature, or in all of them together."""

import numpy as np

from vigil.members.fitting.sanitation.finding import Finding, by_group, one_text
from vigil.members.fitting.sanitation.outlyingness import Landscape
from vigil.members.fitting.sanitation.settings import OutlierScreen


def find_outliers(land: Landscape, settings: OutlierScreen) -> list[Finding]:
    """Return the rows with a feature beyond its limit, and those that the first-pass forest puts beyond its own."""
    size = np.abs(land.scaled)
    furthest = size.argmax(axis=1)
    texts = {
        column: f"{name} is more than {settings.feature_limit:g} robust deviations from its median"
        for column, name in enumerate(land.names)
    }
    joint = f"the first-pass forest's score is more than {settings.joint_limit:g} robust deviations above its median"
    return [
        by_group("feature_outlier", size.max(axis=1) > settings.feature_limit, furthest, texts),
        one_text("joint_outlier", land.far > settings.joint_limit, joint),
    ]
