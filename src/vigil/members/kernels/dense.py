"""A feed-forward network, evaluated row by row: a row's bits do not depend on its batch, as they would with BLAS."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vigil.members.kernels.jit import kernel

LINEAR, RELU, TANH = 0, 1, 2
"""Codes of the activations."""


class Network(NamedTuple):
    """Dense layers, one after the other."""

    widths: NDArray[np.int32]
    """Numbers of each layer, the input's included: one more than there are layers."""
    activations: NDArray[np.int32]
    weights: NDArray[np.float32]
    """Of each layer (inputs, outputs), flat."""
    biases: NDArray[np.float32]


class Scaling(NamedTuple):
    """What a network needs to see each feature in proportion, a number per feature."""

    centre: NDArray[np.float64]
    spread: NDArray[np.float64]
    low: NDArray[np.float64]
    """Of scaled values: the network sees nothing below."""
    high: NDArray[np.float64]
    usual_error: NDArray[np.float64]
    """By how much reconstructions of usual rows are off, scaled."""


@kernel
def reconstruction_errors(values: NDArray[np.float32], scaling: Scaling, network: Network) -> NDArray[np.float64]:
    """Return how far each value is from its reconstruction, in usual errors, (rows, features).

    The network sees values held within the range of its training, but its answer is compared with the value itself:
    outside of that range the error grows with the distance, whatever the network makes of it.
    """
    rows, features = values.shape
    errors = np.empty((rows, features))
    scaled = np.empty(features)
    first = np.empty(network.widths.max(), dtype=np.float32)
    second = np.empty(network.widths.max(), dtype=np.float32)
    for row in range(rows):
        for feature in range(features):
            scaled[feature] = (values[row, feature] - scaling.centre[feature]) / scaling.spread[feature]
            first[feature] = min(max(scaled[feature], scaling.low[feature]), scaling.high[feature])
        outputs = _forward(network, first, second)
        for feature in range(features):
            errors[row, feature] = abs(scaled[feature] - outputs[feature]) / scaling.usual_error[feature]
    return errors


@kernel
def row_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each row, added up from left to right."""
    means = np.empty(values.shape[0])
    for row in range(values.shape[0]):
        total = 0.0
        for column in range(values.shape[1]):
            total += values[row, column]
        means[row] = total / values.shape[1]
    return means


@kernel
def _forward(network: Network, current: NDArray[np.float32], following: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the array that holds the last layer: one of the two, both of which are overwritten."""
    weight, bias = 0, 0
    for layer in range(network.activations.size):
        taken, made = network.widths[layer], network.widths[layer + 1]
        weights = network.weights[weight : weight + taken * made]
        _multiply(current[:taken], weights, network.biases[bias : bias + made], following[:made])
        _activate(network.activations[layer], following[:made])
        current, following = following, current
        weight += taken * made
        bias += made
    return current


@kernel
def _multiply(
    inputs: NDArray[np.float32],
    weights: NDArray[np.float32],
    biases: NDArray[np.float32],
    outputs: NDArray[np.float32],
) -> None:
    """Add input by input in their order; four at a time, so that `outputs` is read and written a quarter as often."""
    made = outputs.size
    outputs[:] = biases
    whole = inputs.size - inputs.size % 4
    for first in range(0, whole, 4):
        a, b, c, d = inputs[first], inputs[first + 1], inputs[first + 2], inputs[first + 3]
        lines = weights[first * made : (first + 4) * made]
        line_a, line_b = lines[:made], lines[made : 2 * made]
        line_c, line_d = lines[2 * made : 3 * made], lines[3 * made :]
        for output in range(made):
            total = (outputs[output] + a * line_a[output]) + b * line_b[output]
            outputs[output] = (total + c * line_c[output]) + d * line_d[output]
    for index in range(whole, inputs.size):
        line = weights[index * made : (index + 1) * made]
        for output in range(made):
            outputs[output] += inputs[index] * line[output]


@kernel
def _activate(activation: int, outputs: NDArray[np.float32]) -> None:
    if activation == RELU:
        for output in range(outputs.size):
            outputs[output] = max(outputs[output], np.float32(0.0))
    elif activation == TANH:
        for output in range(outputs.size):
            outputs[output] = math.tanh(outputs[output])
