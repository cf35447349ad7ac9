"""iALS against closed forms, a plain double loop, and another implementation."""

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from recsys_ssl import ials
from recsys_ssl.ials import Settings


def random_positives(num_queries, num_items, seed=0, density=0.2):
    """A random 0/1 matrix; its first query and its last item have no positive."""
    matrix = (np.random.default_rng(seed).random((num_queries, num_items)) < density).astype(np.float32)
    matrix[0, :] = matrix[:, -1] = 0.0
    return matrix


def ridges(matrix, settings):
    """Lambda of every row, cell by cell: the mean weight of its cells, to a power."""
    weights = np.where(matrix > 0, settings.alpha, 1.0)
    return settings.regularization * weights.mean(axis=1) ** settings.frequency_exponent


def objective(matrix, queries, items, settings):
    """The sum over all cells and vectors as the module's docstring has it."""
    queries, items = queries.astype(np.float64), items.astype(np.float64)
    weights = np.where(matrix > 0, settings.alpha, 1.0)
    errors = weights * (matrix - queries @ items.T) ** 2
    norms = ridges(matrix, settings) @ (queries**2).sum(1) + ridges(matrix.T, settings) @ (items**2).sum(1)
    return errors.sum() + norms


def solve_rows(matrix, other, settings):
    """One side's closed form in float64, row by row: (sum of weight y y' + lambda I)^-1 (alpha * sum of y)."""
    solutions, other = [], other.astype(np.float64)
    for row, ridge in zip(matrix, ridges(matrix, settings)):
        weights = np.where(row > 0, settings.alpha, 1.0)
        normal = (other * weights[:, np.newaxis]).T @ other + ridge * np.eye(other.shape[1])
        solutions.append(np.linalg.solve(normal, other.T @ (weights * row)))
    return np.array(solutions)


SETTINGS = {
    "constant": Settings(factors=6, alpha=8.0, regularization=2.0, iterations=3),
    "by-frequency": Settings(factors=6, alpha=8.0, regularization=2.0, frequency_exponent=1.0, iterations=3),
    "light-positives": Settings(factors=6, alpha=0.5, regularization=0.3, frequency_exponent=0.5, iterations=3),
}


# --- One side -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [100, 1200, 2**22], ids=["rows-in-parts", "few-rows-a-block", "one-block"])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_fold_in_is_the_closed_form(settings, block, monkeypatch):
    monkeypatch.setattr(ials, "_BLOCK_BYTES", block)
    matrix = random_positives(40, 25)
    items = np.random.default_rng(1).normal(size=(25, 6)).astype(np.float32)
    found = ials.fold_in(sp.csr_matrix(matrix), items, settings)
    np.testing.assert_allclose(found, solve_rows(matrix, items, settings), rtol=0, atol=2e-5)
    assert found.dtype == np.float32


def test_fold_in_counts_a_stored_value_once_and_a_stored_zero_not():
    items = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    odd = sp.csr_matrix(([1.0, 1.0, 7.0, 0.0], [1, 1, 2, 3], [0, 4]), (1, 4))
    plain = sp.csr_matrix(np.array([[0.0, 1.0, 1.0, 0.0]]))
    settings = SETTINGS["constant"]
    np.testing.assert_array_equal(ials.fold_in(odd, items, settings), ials.fold_in(plain, items, settings))
    assert odd.data.tolist() == [1.0, 1.0, 7.0, 0.0]  # the caller's matrix is left alone


def test_a_query_alone_is_folded_in_as_among_others():
    matrix = random_positives(300, 25)
    items = np.random.default_rng(1).normal(size=(25, 6)).astype(np.float32)
    settings = SETTINGS["by-frequency"]
    together = ials.fold_in(sp.csr_matrix(matrix), items, settings)
    alone = np.concatenate([ials.fold_in(sp.csr_matrix(row[np.newaxis]), items, settings) for row in matrix])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


# --- Both sides ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_fit_comes_where_exact_half_steps_come(settings):
    matrix = random_positives(60, 30)
    queries, items = ials.fit(sp.csr_matrix(matrix), settings.__class__(**{**vars(settings), "iterations": 60}))
    # From there, exact half steps gain nothing more.
    exact_queries = solve_rows(matrix, items, settings)
    exact_items = solve_rows(matrix.T, exact_queries, settings)
    before, after = (objective(matrix, *pair, settings) for pair in ((queries, items), (exact_queries, exact_items)))
    assert after <= before <= after * (1 + 1e-4)
    # And both sides carry something: all-zero vectors are a fixed point too.
    assert before < 0.9 * objective(matrix, 0 * queries, 0 * items, settings)


def test_the_objective_is_that_of_another_implementation():
    matrix = random_positives(200, 80, density=0.1)
    settings = Settings(factors=16, alpha=10.0, regularization=5.0, iterations=30)
    own = objective(matrix, *ials.fit(sp.csr_matrix(matrix), settings, seed=1), settings)
    with threadpool_limits(1, "blas"):
        peer = AlternatingLeastSquares(16, 5.0, alpha=10.0, iterations=30, num_threads=1, random_state=1)
        peer.fit(sp.csr_matrix(matrix), show_progress=False)
    theirs = objective(matrix, peer.user_factors, peer.item_factors, settings)
    assert own == pytest.approx(theirs, rel=5e-3)  # local minima of different starts


def test_the_queries_of_a_fit_are_those_folded_in():
    matrix = sp.csr_matrix(random_positives(60, 30))
    queries, items = ials.fit(matrix, SETTINGS["by-frequency"])
    np.testing.assert_array_equal(queries, ials.fold_in(matrix, items, SETTINGS["by-frequency"]))


def test_blocks_of_queries_and_items_are_found_again():
    matrix = np.kron(np.eye(4), np.ones((10, 8))).astype(np.float32)  # query i likes the items of block i // 10
    queries, items = ials.fit(sp.csr_matrix(matrix), Settings(factors=4, alpha=10.0, regularization=0.1))
    scores = queries @ items.T
    np.testing.assert_allclose(scores[matrix > 0], 1.0, atol=0.02)
    np.testing.assert_allclose(scores[matrix == 0], 0.0, atol=0.02)


def test_rows_and_columns_without_positives_are_zero():
    matrix = random_positives(60, 30)
    queries, items = ials.fit(sp.csr_matrix(matrix), SETTINGS["constant"])
    assert np.array_equal(queries.any(axis=1), matrix.any(axis=1))
    assert not queries[0].any()
    assert np.array_equal(items.any(axis=1), matrix.any(axis=0))
    assert not items[-1].any()
    queries, items = ials.fit(sp.csr_matrix((3, 2), dtype=np.float32), SETTINGS["constant"])
    assert (queries.shape, items.shape) == ((3, 6), (2, 6))
    assert not queries.any()
    assert not items.any()


def test_a_seed_is_a_start():
    matrix = sp.csr_matrix(random_positives(60, 30))
    first, again, other = (ials.fit(matrix, SETTINGS["constant"], seed=seed)[1] for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other, atol=0.01)


def test_progress_tells_the_iterations():
    told = []
    ials.fit(sp.csr_matrix(random_positives(9, 8)), SETTINGS["constant"], progress=lambda *args: told.append(args))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0])
def test_the_frequency_is_that_of_the_paper_up_to_a_constant(exponent):
    # Rendle et al.: lambda * (positives + alpha_0 * cells)^exponent with the weight alpha_0 = 1 / (alpha - 1) = 0.25.
    settings = Settings(alpha=5.0, regularization=2.0, frequency_exponent=exponent)
    own = ials._ridges(np.array([0, 10, 40]), 40, settings)
    np.testing.assert_allclose(own / own[0], (np.array([10.0, 20.0, 50.0]) / 10.0) ** exponent, rtol=1e-6)
    assert own[0] == 2.0


# --- Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"factors": 0}, "factors must be a whole number of at least 1"),
        ({"iterations": 1.5}, "iterations must be a whole number of at least 1"),
        ({"alpha": 0.0}, "alpha must be positive"),
        ({"regularization": float("nan")}, "regularization must be positive"),
        ({"frequency_exponent": -1.0}, "frequency_exponent must lie in"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_bad_setting_is_an_error(settings, message):
    with pytest.raises(ValueError, match=message):
        Settings(**settings)


def test_items_of_another_matrix_are_an_error():
    with pytest.raises(ValueError, match=r"item_factors must be .* = \[8, 6\].*Received: \[7, 6\]"):
        ials.fold_in(sp.csr_matrix((2, 8)), np.zeros((7, 6), np.float32), SETTINGS["constant"])
