"""Keras with JAX on the processor: import it from here, because Keras chooses its backend while it is imported."""

import os

from vigil.errors import ContractError

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import keras

if keras.backend.backend() != "jax":
    raise ContractError(
        f"Keras runs on {keras.backend.backend()}: unset KERAS_BACKEND, or import vigil before anything that uses Keras"
    )

__all__ = ["keras"]
