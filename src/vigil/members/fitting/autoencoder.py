"""How the autoencoder is fitted."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.members.autoencoder import Autoencoder, AutoencoderSettings
from vigil.members.base import Facts, FeatureMatrix, Matrix, TrainingRows, need_rows
from vigil.members.deviation import usable_spread
from vigil.members.fitting.keras_on_jax import keras
from vigil.members.kernels.dense import LINEAR, RELU, TANH, Network, Scaling, reconstruction_errors

_LEAST_ROWS = 20
_LEAST_ERROR = 0.02
"""In spreads: better reconstructions say more of the network than of the row."""
_NORMAL_BOX = 1.349
"""Standard deviations between the quartiles of a normal distribution."""
_VALIDATED = 20_000
"""Held-out rows that stop the training, at most."""
_EXTREMES, _EDGES, _FENCE = 1e-4, 1e-3, 3.0
"""The network sees values up to the extremes, if they are not beyond that multiple of the edges.

Where most values are zero, the few others reach far: cut at their edge, whether one row in a thousand more or less is
screened out would decide how far the network sees, and scores depend much on that. The fence keeps a single absurd
value from spoiling the training.
"""
_CODES = {"linear": LINEAR, "relu": RELU, "tanh": TANH}


def fit(settings: AutoencoderSettings, rows: TrainingRows) -> Autoencoder:
    """Return the network fitted on the rows that are not known as fraud.

    The latest of them, `held_out` of all, stop the training and set the usual errors and the threshold.
    """
    normal = rows.normal
    need_rows(len(normal), _LEAST_ROWS, settings.name)
    scaling = _scaling(normal)
    inputs = _inputs(normal, scaling)
    cut = min(len(normal) - 1, int(len(normal) * (1 - settings.held_out)))
    network, facts = _train(settings, inputs[:cut], inputs[cut:])
    member = Autoencoder(
        name=settings.name,
        feature_names=rows.matrix.names,
        threshold=0.0,
        facts={"rows": cut, "held_out_rows": len(normal) - cut, "rows_left_out": len(rows) - len(normal), **facts},
        scaling=scaling._replace(usual_error=_usual_errors(normal[cut:], scaling, network)),
        network=network,
    )
    scores = member.score(FeatureMatrix(normal[cut:], rows.matrix.names))
    return replace(member, threshold=float(np.quantile(scores, settings.quantile)))


def _scaling(values: Matrix) -> Scaling:
    exact = values.astype(np.float64)
    quarter, centre, three_quarters = np.quantile(exact, [0.25, 0.5, 0.75], axis=0)
    spread = usable_spread((three_quarters - quarter) / _NORMAL_BOX, values)
    scaled = (exact - centre) / spread
    least, lower, upper, most = np.quantile(scaled, [_EXTREMES, _EDGES, 1 - _EDGES, 1 - _EXTREMES], axis=0)
    low, high = np.maximum(least, _FENCE * lower), np.minimum(most, _FENCE * upper)
    return Scaling(centre, spread, low, high, usual_error=np.ones(len(centre)))


def _inputs(values: Matrix, scaling: Scaling) -> Matrix:
    scaled = (values - scaling.centre) / scaling.spread
    return np.clip(scaled, scaling.low, scaling.high).astype(np.float32)


def _usual_errors(values: Matrix, scaling: Scaling, network: Network) -> NDArray[np.float64]:
    """Return the root mean square error of each feature, of values held within the range of the training."""
    inputs = _inputs(values, scaling)
    nothing, one = np.zeros(inputs.shape[1]), np.ones(inputs.shape[1])
    errors = reconstruction_errors(inputs, Scaling(nothing, one, scaling.low, scaling.high, one), network)
    usual: NDArray[np.float64] = np.maximum(np.sqrt((errors**2).mean(axis=0)), _LEAST_ERROR)
    return usual


def _noisy_batches(settings: AutoencoderSettings, inputs: Matrix) -> Iterator[tuple[Matrix, Matrix]]:
    """Yield batches of (rows with noise, rows) without end; all batches have the same number of rows."""
    random = np.random.default_rng(settings.seed)
    size = min(settings.batch, len(inputs))
    while True:
        order = random.permutation(len(inputs))
        for start in range(0, len(inputs) - size + 1, size):
            rows = inputs[order[start : start + size]]
            others = np.take_along_axis(rows, random.integers(0, size, rows.shape), axis=0)
            yield np.where(random.random(rows.shape) < settings.noise, others, rows), rows


def _train(settings: AutoencoderSettings, inputs: Matrix, held_out: Matrix) -> tuple[Network, Facts]:
    model = _model(settings, inputs.shape[1])
    validated = held_out[:: -(-len(held_out) // _VALIDATED)]
    history = model.fit(
        _noisy_batches(settings, inputs),
        steps_per_epoch=max(1, min(settings.rows_per_epoch, len(inputs)) // settings.batch),
        epochs=settings.epochs,
        shuffle=False,
        validation_data=(validated, validated),
        validation_batch_size=len(validated),
        callbacks=[keras.callbacks.EarlyStopping(patience=settings.patience, restore_best_weights=True)],
        verbose=0,
    ).history
    losses = {"loss": history["loss"], "held_out_loss": history["val_loss"]}
    curves = {name: [float(loss) for loss in values] for name, values in losses.items()}
    return _network(model), {"epochs": len(history["loss"]), **curves}


def _model(settings: AutoencoderSettings, features: int) -> Any:  # noqa: ANN401 - Keras has no types
    widths = [*settings.layers, features]
    activations = [settings.activation] * len(settings.layers) + ["linear"]
    layers = [
        keras.layers.Dense(
            width, activation, kernel_initializer=keras.initializers.GlorotUniform(seed=settings.seed + place)
        )
        for place, (width, activation) in enumerate(zip(widths, activations, strict=True))
    ]
    model = keras.Sequential([keras.Input((features,)), *layers])
    model.compile(optimizer=keras.optimizers.Adam(settings.learning_rate), loss=settings.loss)
    return model


def _network(model: Any) -> Network:  # noqa: ANN401 - Keras has no types
    weights, biases = zip(*(layer.get_weights() for layer in model.layers), strict=True)
    return Network(
        widths=np.array([weights[0].shape[0], *(len(bias) for bias in biases)], dtype=np.int32),
        activations=np.array([_CODES[layer.activation.__name__] for layer in model.layers], dtype=np.int32),
        weights=np.concatenate([weight.ravel() for weight in weights]).astype(np.float32),
        biases=np.concatenate(biases).astype(np.float32),
    )
