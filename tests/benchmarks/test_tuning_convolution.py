"""The small graph convolution against one over atoms, its gradient against differences, and that it learns."""

import numpy as np
import pytest

from benchmarks.tuning import convolution, neighbourhoods
from benchmarks.tuning.convolution import Problem, Settings, plan_batches, train
from recsys_ssl.encoders.molecule.graph import MoleculeGraph
from recsys_ssl.evaluation.prediction import Split


def make_graphs(count=64, seed=0):
    """Chains of three kinds of atoms with a branch or a ring here and there."""
    rng, graphs = np.random.default_rng(seed), []
    for _ in range(count):
        size = int(rng.integers(1, 9))
        ends = [(atom - 1, atom) for atom in range(1, size)]
        if size > 3:
            ends.append((0, size - 1) if rng.random() < 0.5 else (1, size - 1))
        atoms = rng.integers(0, 3, [size, 2]).astype(np.uint8)
        bonds = np.zeros([len(ends), 4], np.uint8)
        ends = np.array(ends, np.int32).reshape(-1, 2)
        graphs.append(MoleculeGraph(atoms, np.zeros(size, np.float32), bonds, ends))
    return graphs


GRAPHS = make_graphs()
CLASSES = neighbourhoods.find_neighbourhoods(GRAPHS)


def make_problem(task="regression"):
    """The number of atoms of the first kind, or whether there are any; both can be learned."""
    targets = np.array([[(graph.atoms[:, 0] == 0).sum()] for graph in GRAPHS], np.float32)
    if task == "classification":
        targets = (targets > 0).astype(np.float32)
    rows = np.arange(len(GRAPHS))
    return Problem(CLASSES, targets, Split(rows[:44], rows[44:54], rows[54:]), task)


def convolve_atoms(graph, weights, biases, share):
    """The same by loops over the atoms of one molecule."""
    values = np.concatenate([graph.atoms[:, [column]] == np.arange(3) for column in range(2)], axis=1).astype(float)
    for both, bias in zip(weights[:-2], biases[:-2]):
        own, others = np.split(both, 2, axis=1)
        received = values @ own + bias
        for begin, end in graph.ends:
            received[begin] += values[end] @ others
            received[end] += values[begin] @ others
        values = np.maximum(received, 0.0)
    pooled = values.sum(axis=0) * (0.1 if share == "sum" else 1.0 / len(values))
    return np.maximum(pooled @ weights[-2] + biases[-2], 0.0) @ weights[-1] + biases[-1]


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("pooling", ["sum", "mean"])
def test_classes_give_what_atoms_give(layers, pooling):
    settings = Settings(conv_width=5, dense_width=4, layers=layers, pooling=pooling)
    model = convolution._Model(settings, CLASSES.features.shape[1], np.random.default_rng(1))
    rows = np.array([3, 17, 4, 30])
    found = model.predict(neighbourhoods.take(CLASSES, rows, layers))
    expected = [convolve_atoms(GRAPHS[row], model.weights, model.biases, pooling) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_atoms_of_one_neighbourhood_are_one_class():
    """Propane: its ends are alike at every radius; of butane, the ends and the middle."""
    chains = [
        MoleculeGraph(
            np.zeros([size, 1], np.uint8),
            np.zeros(size, np.float32),
            np.zeros([size - 1, 4], np.uint8),
            np.array([(atom, atom + 1) for atom in range(size - 1)], np.int32),
        )
        for size in (3, 4)
    ]
    other = chains[0]._replace(atoms=np.ones([1, 1], np.uint8), ends=np.zeros([0, 2], np.int32))
    found = neighbourhoods.find_neighbourhoods([*chains, other])
    # Radius 1: ends, middles and the other. Radius 2: ends, the middle of propane, those of butane, and the other.
    assert [content.shape[1] for content in found.contents[:3]] == [2, 3, 4]
    np.testing.assert_array_equal(found.contents[1].toarray(), [[2, 1, 0], [2, 2, 0], [0, 0, 1]])
    batch = neighbourhoods.take(found, np.array([1]), 1)
    np.testing.assert_array_equal(batch.contents.toarray(), [[2, 2]])
    # Own class, then the neighbours of it: an end has one, a middle has two.
    np.testing.assert_array_equal(batch.links[0].toarray(), [[1, 1], [1, 2]])


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_gradient_is_that_of_the_loss(task, monkeypatch):
    problem, layers = make_problem(task), 2
    model = convolution._Model(
        Settings(conv_width=4, dense_width=3), CLASSES.features.shape[1], np.random.default_rng(2)
    )
    for bias in model.biases:  # at 0, units that nothing comes into are where relu has no slope
        bias[:] = 0.1
    rows = problem.parts.train
    batch, targets = neighbourhoods.take(CLASSES, rows, layers), problem.targets[rows].astype(float)

    def loss():
        found = model.predict(batch).astype(float)
        if task == "classification":
            return np.mean(np.logaddexp(0.0, found) - targets * found)
        return np.mean((found - targets) ** 2)

    monkeypatch.setattr(model, "_descend", lambda: None)
    model.step(batch, targets.astype(np.float32), task, np.random.default_rng(0))
    rng, vector, expected = np.random.default_rng(3), model._vector, model._gradient.copy()
    for _ in range(4):
        direction = rng.standard_normal(vector.shape).astype(np.float32)
        kept, step = vector.copy(), 2e-4
        vector += step * direction
        above = loss()
        vector[:] = kept - step * direction
        below = loss()
        vector[:] = kept
        assert (above - below) / (2 * step) == pytest.approx(float(expected @ direction), rel=0.01, abs=5e-3)


def test_a_step_is_that_of_adam():
    model = convolution._Model(Settings(learning_rate=0.01, weight_decay=0.5), 3, np.random.default_rng(0))
    before = model._vector.copy()
    gradients = [np.linspace(-1, 1, len(before)).astype(np.float32), np.full(len(before), 0.5, np.float32)]
    first = second = np.zeros(len(before))
    expected, decayed = before.astype(float), len(model._decayed)
    for number, gradient in enumerate(gradients, 1):
        model._gradient[:] = gradient
        model._descend()
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        expected[:decayed] *= 1 - 0.01 * 0.5
        expected -= 0.01 * (first / (1 - 0.9**number)) / (np.sqrt(second / (1 - 0.999**number)) + 1e-8)
    np.testing.assert_allclose(model._vector, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_it_learns_what_can_be_learned_and_the_seed_decides(task):
    problem, settings = make_problem(task), Settings(8, 0.01, 16, 16, dropout=0.1)
    plan = plan_batches(problem, 8, 50, seed=0)
    assert [len(rows) for rows, _ in plan[:6]] == [8, 8, 8, 8, 8, 4]
    found = train(problem, settings, plan, seed=0)
    if task == "regression":  # predicting the mean has the deviation of the targets
        assert found.validation < 0.5 * problem.targets[problem.parts.validation].std()
        assert train(problem, settings, plan, seed=1) != found
    else:
        assert found.validation > 0.8
    assert train(problem, settings, plan, seed=0) == found


def test_a_training_that_goes_to_infinity_has_no_score():
    problem = make_problem()
    plan = plan_batches(problem, 8, 5, seed=0)
    assert np.isnan(train(problem, Settings(8, 1e12, 4, 4), plan, seed=0)).all()
