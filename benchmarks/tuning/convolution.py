"""A small graph convolution in NumPy, trained in tenths of a second: the objective of studies of samplers.

h_l(v) = relu(W_l h_(l-1)(v) + U_l sum of h_(l-1)(u) over the neighbours u of v + b_l), over one to three layers; the
vectors of atoms are summed, or their mean taken, into a dense layer and a linear one. Adam at a constant rate for a
fixed number of epochs; targets are standardised by those of the training part. It is the model of Duvenaud et al. in
the form that DeepChem gave it, without its batch normalisation and its weights by the number of neighbours.

References:
    Duvenaud et al. 2015, arXiv:1509.09292. Kingma and Ba 2015, arXiv:1412.6980 (Adam).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import expit

from benchmarks.tuning.neighbourhoods import Batch, Neighbourhoods, take
from recsys_ssl.evaluation.prediction import Split, Task, score

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Settings:
    """What is tuned: the first four by Yuan, Wang and Pang, the others in a larger space.

    Attributes:
        conv_width, dense_width: of each convolution, and of the dense layer.
        dropout: share of the dense layer's units that a step leaves out.
        weight_decay: taken off each weight, times the learning rate, at each step.
    """

    batch_size: int = 64
    learning_rate: float = 1e-3
    conv_width: int = 64
    dense_width: int = 128
    layers: int = 2
    pooling: Literal["sum", "mean"] = "sum"
    dropout: float = 0.0
    weight_decay: float = 0.0


class Problem(NamedTuple):
    """A data set that is split."""

    molecules: Neighbourhoods
    targets: np.ndarray
    """[num_molecules, 1] float32, 0 or 1 in a classification."""
    parts: Split
    task: Task


class Scores(NamedTuple):
    """RMSE in the unit of the targets, or ROC-AUC; NaN where the training went to infinity."""

    validation: float
    test: float


Plan = Sequence[tuple[np.ndarray, Batch]]
"""The steps of a training: rows of the data set, and the molecules there."""


def plan_batches(problem: Problem, batch_size: int, epochs: int, seed: int, layers: int = 2) -> Plan:
    """The batches of all epochs; trainings of the same batch size, layers and seed share them.

    The last batch of an epoch is as much smaller as it must be.
    """
    train, plan = problem.parts.train, []
    rng = np.random.default_rng([seed, 0])
    for _ in range(epochs):
        order = rng.permutation(train)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            plan.append((rows, take(problem.molecules, rows, layers)))
    return plan


def train(problem: Problem, settings: Settings, plan: Plan, seed: int) -> Scores:
    """Trains once and judges the last weights on validation and test.

    Args:
        plan: of the same batch size and layers, see `plan_batches`.
        seed: of weights and dropout.
    """
    rng = np.random.default_rng([seed, 1])
    mean, deviation = _standard(problem)
    targets = (problem.targets - mean) / deviation
    model = _Model(settings, problem.molecules.features.shape[1], rng)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, batch in plan:
            model.step(batch, targets[rows], problem.task, rng)
        return Scores(*(_judge(model, problem, rows, mean, deviation) for rows in problem.parts[1:]))


def _standard(problem: Problem) -> tuple[np.float32, np.float32]:
    known = problem.targets[problem.parts.train]
    if problem.task == "classification":
        return np.float32(0.0), np.float32(1.0)
    return known.mean(), known.std()


def _judge(model: _Model, problem: Problem, rows: np.ndarray, mean: np.float32, deviation: np.float32) -> float:
    found = model.predict(take(problem.molecules, rows, model.settings.layers)) * deviation + mean
    return score(problem.targets[rows], found, problem.task) if np.isfinite(found).all() else float("nan")


class _Model:
    """Weights as views of one vector, so that a step of Adam is a few operations."""

    def __init__(self, settings: Settings, num_features: int, rng: np.random.Generator):
        self.settings = settings
        widths = [num_features, *[settings.conv_width] * settings.layers]
        shapes = [(before, 2 * after) for before, after in itertools.pairwise(widths)]
        shapes += [(settings.conv_width, settings.dense_width), (settings.dense_width, 1)]
        biases = [*[settings.conv_width] * settings.layers, settings.dense_width, 1]
        num_weights = sum(a * b for a, b in shapes)
        self._vector = np.zeros(num_weights + sum(biases), np.float32)
        self._gradient, self._first, self._second = (np.zeros_like(self._vector) for _ in range(3))
        self._decayed = self._vector[:num_weights]
        self.weights, self._of_weights, self.biases, self._of_biases = [], [], [], []
        start = 0
        for kind, shape in [*((0, shape) for shape in shapes), *((1, (width,)) for width in biases)]:
            end = start + int(np.prod(shape))
            values, gradients = (vector[start:end].reshape(shape) for vector in (self._vector, self._gradient))
            (self.weights, self.biases)[kind].append(values)
            (self._of_weights, self._of_biases)[kind].append(gradients)
            start = end
        for weights in self.weights[:-1]:
            # Of relu (He et al. 2015); what comes in of a convolution is an atom and about two neighbours.
            weights[:] = rng.standard_normal(weights.shape, np.float32) * np.sqrt(2.0 / len(weights))
        for weights in self.weights[: settings.layers]:
            weights /= np.sqrt(3.0)
        self.weights[-1][:] = rng.standard_normal(self.weights[-1].shape, np.float32) * np.sqrt(
            1.0 / settings.dense_width
        )
        self._steps = 0

    def predict(self, batch: Batch) -> np.ndarray:
        """[num_molecules, 1], logits in a classification."""
        *_, pooled = self._convolve(batch)
        return self._dense(pooled) @ self.weights[-1] + self.biases[-1]

    def _convolve(self, batch: Batch) -> list[np.ndarray]:
        """The vectors of the classes of each radius, then those of the molecules."""
        found = [batch.features]
        for link, weights, bias in zip(batch.links, self.weights, self.biases):
            sent = (found[-1] @ weights).reshape(-1, self.settings.conv_width)
            received = link @ sent
            received += bias
            found.append(np.maximum(received, 0.0, out=received))
        return [*found, (batch.contents @ found[-1]) * self._share(batch)]

    def _share(self, batch: Batch) -> np.ndarray | np.float32:
        # A sum would make large activations of large molecules; it is in tens of atoms.
        return np.float32(0.1) if self.settings.pooling == "sum" else 1.0 / batch.sizes

    def _dense(self, pooled: np.ndarray) -> np.ndarray:
        hidden = pooled @ self.weights[-2]
        hidden += self.biases[-2]
        return np.maximum(hidden, 0.0, out=hidden)

    def step(self, batch: Batch, targets: np.ndarray, task: Task, rng: np.random.Generator) -> None:
        """A step down the gradient of the mean squared error, or of the cross entropy."""
        *found, pooled = self._convolve(batch)
        hidden = self._dense(pooled)
        kept = self._draw_kept(hidden.shape, rng)
        hidden *= kept
        outputs = hidden @ self.weights[-1] + self.biases[-1]
        slope = (expit(outputs) if task == "classification" else outputs) - targets
        slope *= (1.0 if task == "classification" else 2.0) / len(targets)
        self._propagate(-1, hidden, slope)
        slope = slope @ self.weights[-1].T
        slope *= kept
        slope *= hidden > 0.0
        self._propagate(-2, pooled, slope)
        slope = batch.contents_transposed @ ((slope @ self.weights[-2].T) * self._share(batch))
        for layer in range(self.settings.layers - 1, -1, -1):
            slope *= found[layer + 1] > 0.0
            slope.sum(axis=0, out=self._of_biases[layer])
            sent = (batch.transposed[layer] @ slope).reshape(len(found[layer]), -1)
            np.matmul(found[layer].T, sent, out=self._of_weights[layer])
            if layer:
                slope = sent @ self.weights[layer].T
        self._descend()

    def _draw_kept(self, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray | np.float32:
        """What the dense layer is multiplied with: 0 where a unit is left out, so that the mean stays as it is."""
        share = np.float32(self.settings.dropout)
        return (rng.random(shape, np.float32) >= share) / (1 - share) if share else np.float32(1.0)

    def _propagate(self, layer: int, inputs: np.ndarray, slope: np.ndarray) -> None:
        np.matmul(inputs.T, slope, out=self._of_weights[layer])
        slope.sum(axis=0, out=self._of_biases[layer])

    def _descend(self) -> None:
        self._steps += 1
        gradient, rate = self._gradient, self.settings.learning_rate
        self._first *= _BETA_1
        self._first += (1.0 - _BETA_1) * gradient
        self._second *= _BETA_2
        np.square(gradient, out=gradient)
        gradient *= 1.0 - _BETA_2
        self._second += gradient
        if self.settings.weight_decay:
            self._decayed *= 1.0 - rate * self.settings.weight_decay
        # Adam's corrections of both moments, as factors of the rate and of epsilon (section 2 of the paper).
        correction = np.sqrt(1.0 - _BETA_2**self._steps)
        np.sqrt(self._second, out=gradient)
        gradient += _EPSILON * correction
        np.divide(self._first, gradient, out=gradient)
        gradient *= rate * correction / (1.0 - _BETA_1**self._steps)
        self._vector -= gradient
