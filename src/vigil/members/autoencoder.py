"""Autoencoder: what a network that knows usual rows cannot reconstruct. Fitted by Keras, served as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from vigil.members.base import Arrays, Matrix, Member, Scores, Stored
from vigil.members.kernels.dense import TANH, Network, Scaling, reconstruction_errors, row_means
from vigil.members.kernels.jit import Bound
from vigil.members.settings import MemberSettings


class AutoencoderSettings(MemberSettings):
    """Settings of the autoencoder.

    It is taught to undo noise: some of a row's values are replaced by those of other rows. Without that, a code as wide
    as the row would learn to copy, and to copy anomalies as well.
    """

    KIND = "autoencoder"
    PROFILES: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "100-32-100": {"layers": (100, 32, 100)},
        "32-8-32": {"layers": (32, 8, 32)},
        "64": {"layers": (64,)},
    }

    layers: tuple[int, ...] = Field(default=(100, 32, 100), min_length=1, description="widths of the hidden layers")
    activation: Literal["relu", "tanh"] = "relu"
    loss: Literal["mse", "mae", "huber"] = "mse"
    noise: float = Field(default=0.2, ge=0, lt=1, description="share of the values that are replaced in training")
    learning_rate: float = Field(default=0.002, gt=0)
    batch: int = Field(default=1024, ge=1, description="rows of one step")
    epochs: int = Field(default=30, ge=1, description="at most")
    rows_per_epoch: int = Field(default=65_536, ge=1, description="drawn anew for each epoch")
    patience: int = Field(default=4, ge=1, description="epochs without a gain on the held-out rows before it stops")
    held_out: float = Field(default=0.1, gt=0, lt=1, description="latest share of the rows: stopping and threshold")
    quantile: float = Field(default=0.99, gt=0, lt=1, description="of the held-out scores: the threshold")


@dataclass(frozen=True, eq=False)
class Autoencoder(Member):
    """Scores are mean absolute reconstruction errors, each feature's in multiples of its usual error."""

    kind = "autoencoder"

    scaling: Scaling
    network: Network

    def _score(self, values: Matrix) -> Scores:
        return row_means(self._errors(values))

    def _explain(self, values: Matrix) -> Scores:
        """Return the parts of the mean: a row's sum is its score."""
        return self._errors(values) / len(self.feature_names)

    def _errors(self, values: Matrix) -> Scores:
        errors: Scores = self._reconstruction_errors(values, self.scaling, self.network)
        return errors

    @cached_property
    def _reconstruction_errors(self) -> Bound:
        return Bound(reconstruction_errors)

    def _arrays(self) -> Arrays:
        return {**self.scaling._asdict(), **self.network._asdict()}

    @classmethod
    def _restore(cls, stored: Stored) -> dict[str, Any]:
        scaling = Scaling(**{name: stored.arrays[name] for name in Scaling._fields})
        network = Network(**{name: stored.arrays[name] for name in Network._fields})
        _check(scaling, network, len(stored.feature_names))
        return {"scaling": scaling, "network": network}


def _check(scaling: Scaling, network: Network, features: int) -> None:
    taken, made = network.widths[:-1].astype(int), network.widths[1:].astype(int)
    sound = (
        all(column.shape == (features,) and np.isfinite(column).all() for column in scaling)
        and (scaling.spread > 0).all()
        and (scaling.usual_error > 0).all()
        and len(network.widths) == len(network.activations) + 1
        and (network.widths[0], network.widths[-1]) == (features, features)
        and network.weights.shape == ((taken * made).sum(),)
        and network.biases.shape == (made.sum(),)
        and ((network.activations >= 0) & (network.activations <= TANH)).all()
    )
    if not sound:
        raise ValueError("the layers of the network do not fit together")
