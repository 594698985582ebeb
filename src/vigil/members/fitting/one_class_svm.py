"""How the one-class SVM is fitted."""

import numpy as np
from sklearn.svm import OneClassSVM

from vigil.members.base import TrainingRows, need_rows
from vigil.members.deviation import usable_spread
from vigil.members.kernels.radial import Bumps
from vigil.members.one_class_svm import OneClassSvm, OneClassSvmSettings

_NORMAL_BOX = 1.349
"""Standard deviations between the quartiles of a normal distribution."""


def fit(settings: OneClassSvmSettings, rows: TrainingRows) -> OneClassSvm:
    """Return the machine fitted on rows drawn from those that are not known as fraud."""
    normal = rows.normal
    need_rows(len(normal), 10, settings.name)
    drawn = np.random.default_rng(settings.seed).permutation(len(normal))[: settings.rows]
    values = normal[np.sort(drawn)]
    low, centre, high = np.quantile(values.astype(np.float64), [0.25, 0.5, 0.75], axis=0)
    spread = usable_spread((high - low) / _NORMAL_BOX, values)
    scaled = (values - centre) / spread
    gamma = 1.0 / (scaled.shape[1] * max(float(scaled.var()), 1e-12))
    machine = OneClassSVM(kernel="rbf", gamma=gamma, nu=settings.nu).fit(scaled)
    return OneClassSvm(
        name=settings.name,
        feature_names=rows.matrix.names,
        threshold=0.0,
        facts={"rows": len(values), "support_vectors": len(machine.support_vectors_)},
        centre=centre,
        spread=spread,
        bumps=Bumps(np.ascontiguousarray(machine.support_vectors_), np.ascontiguousarray(machine.dual_coef_[0]), gamma),
        offset=-float(machine.intercept_[0]),
    )
