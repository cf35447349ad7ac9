import numpy as np
import pytest
from scipy.stats import t as student

from recsys_ssl.evaluation import crossed
from recsys_ssl.evaluation.statistics import standard_error


def make_statistic(value, seeds, queries):
    queries = np.asarray(queries, np.float64)
    return crossed.Statistic(
        value, np.asarray(seeds, np.float64), queries, np.ones(len(queries), bool), float(len(queries))
    )


# --- Measuring --------------------------------------------------------------------------------------


def test_a_measure_is_the_mean_over_seeds_of_the_micro_average():
    numerators = np.array([[1.0, 2.0, 0.0], [1.0, 0.0, 2.0]])
    denominators = np.array([[2.0, 2.0, 4.0], [2.0, 0.0, 4.0]])
    found = crossed.measure(numerators, denominators)
    first, second = 3 / 8, 3 / 6
    assert found.value == pytest.approx((first + second) / 2)
    np.testing.assert_allclose(found.seeds, [first - found.value, second - found.value])
    by_hand = [
        ((1 - first * 2) / 8 + (1 - second * 2) / 6) / 2,
        ((2 - first * 2) / 8 + 0) / 2,
        ((0 - first * 4) / 8 + (2 - second * 4) / 6) / 2,
    ]
    np.testing.assert_allclose(found.queries, by_hand)
    assert found.queries.sum() == pytest.approx(0.0)
    np.testing.assert_array_equal(found.counted, [True, True, True])


def test_a_measure_without_a_pair_is_undefined():
    assert crossed.measure(np.zeros((2, 3)), np.array([[1.0, 0, 0], [0, 0, 0]])) is None


@pytest.mark.parametrize(
    ("numerators", "denominators"),
    [(np.zeros((2, 3)), np.zeros((1, 3))), (np.zeros(3), np.zeros(3)), (np.zeros((0, 3)), np.zeros((0, 3)))],
    ids=["shapes", "one-dimension", "empty"],
)
def test_a_measure_refuses_other_shapes(numerators, denominators):
    with pytest.raises(ValueError, match=r"non-empty \[seeds, queries\]"):
        crossed.measure(numerators, denominators)


def test_seeds_that_do_not_match_are_refused_and_one_seed_goes_with_any():
    three, two, one = (make_statistic(0.5, np.zeros(n), [0.0, 0.0]) for n in (3, 2, 1))
    assert len(crossed.subtract(three, one).seeds) == 3
    with pytest.raises(ValueError, match=r"Received: \[2, 3\] seeds"):
        crossed.subtract(three, two)


# --- Inference --------------------------------------------------------------------------------------


def test_both_sources_are_added_and_students_quantiles_weighted_by_them():
    seeds, queries = np.array([-0.02, 0.0, 0.02]), np.array([0.01, -0.01, 0.02, -0.02])
    found = crossed.infer(0.05, make_statistic(0.05, seeds, queries))
    seed_variance = (2 * 0.02**2 / 2) / 3
    query_variance = 4 / 3 * (2 * 0.01**2 + 2 * 0.02**2)
    assert found.seed_error == pytest.approx(np.sqrt(seed_variance))
    assert found.query_error == pytest.approx(np.sqrt(query_variance))
    error = np.sqrt(seed_variance + query_variance)

    def critical(level):
        of_queries, of_seeds = student.ppf(1 - level / 2, 3), student.ppf(1 - level / 2, 2)
        return (query_variance * of_queries + seed_variance * of_seeds) / error**2

    assert found.low == pytest.approx(0.05 - critical(0.05) * error)
    assert found.high == pytest.approx(0.05 + critical(0.05) * error)
    assert critical(found.p_value) == pytest.approx(0.05 / error)


def test_one_seed_leaves_the_linearised_error_over_queries():
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 4, 50).astype(np.float64)
    ours, theirs = rng.binomial(pairs.astype(int), 0.5), rng.binomial(pairs.astype(int), 0.3)
    difference = crossed.subtract(
        crossed.measure(ours[None, :], pairs[None, :]), crossed.measure(theirs[None, :], pairs[None, :])
    )
    found = crossed.infer(difference.value, difference)
    assert found.value == pytest.approx((ours - theirs).sum() / pairs.sum())
    assert found.query_error == pytest.approx(standard_error((ours - theirs)[:, None], pairs[:, None])[0])
    assert found.seed_error == 0.0
    reach = student.ppf(0.975, pairs.sum() ** 2 / (pairs**2).sum() - 1) * found.query_error
    assert (found.low, found.high) == pytest.approx((found.value - reach, found.value + reach))
    assert crossed.infer(0.0, difference).p_value == pytest.approx(1.0)
    far = crossed.infer(1e6, difference)
    assert 0.0 < far.p_value < 1e-100


def test_queries_without_pairs_and_the_order_of_queries_do_not_matter():
    numerators, pairs = np.array([[1.0, 0, 2, 1], [0.0, 1, 2, 1]]), np.array([[1.0, 2, 3, 1]] * 2)
    found = crossed.infer(1.0, crossed.measure(numerators, pairs))
    order = [2, 0, 3, 1]
    again = crossed.infer(1.0, crossed.measure(numerators[:, order], pairs[:, order]))
    padded = [np.hstack([of, np.zeros((2, 5))]) for of in (numerators, pairs)]
    wider = crossed.infer(1.0, crossed.measure(*padded))
    for other in (again, wider):
        assert (other.query_error, other.high) == pytest.approx((found.query_error, found.high))


def test_what_the_arms_share_cancels():
    rng = np.random.default_rng(1)
    pairs = np.full((5, 40), 3.0)
    shared = rng.random((5, 40)) + rng.normal(size=(5, 1)) * 0.1 + rng.normal(size=40)
    ours, theirs = (crossed.measure(numerators, pairs) for numerators in (shared + 0.3, shared))
    difference = crossed.subtract(ours, theirs)
    found = crossed.infer(difference.value, difference)
    assert found.value == pytest.approx(0.1)
    assert found.high - found.low == pytest.approx(0.0, abs=1e-12)
    assert crossed.infer(ours.value, ours).query_error > 0.01


def test_equal_arms_have_p_1_and_one_query_has_no_error():
    same = make_statistic(0.0, [0.0, 0.0], [0.0, 0.0])
    found = crossed.infer(0.0, same)
    assert (found.low, found.high, found.p_value) == (0.0, 0.0, 1.0)
    single = crossed.infer(0.1, make_statistic(0.1, [0.0], [0.0]))
    assert np.isnan([single.low, single.high, single.p_value]).all()


def test_independent_parts_add_their_variances():
    parts = [make_statistic(0.1, [-0.1, 0.1], [0.03, -0.03]), make_statistic(0.2, [0.0], [0.01, -0.01])]
    found = crossed.infer(0.3, *parts)
    assert found.query_error == pytest.approx(np.sqrt(2 * (2 * 0.03**2) + 2 * (2 * 0.01**2)))
    assert found.seed_error == pytest.approx(np.sqrt(2 * 0.1**2 / 2))
    with pytest.raises(ValueError, match="Received: none"):
        crossed.infer(0.3)


def simulate(rng, gain, num_seeds=5, num_queries=60):
    """Two arms on the same queries, with effects of query, seed and their interaction on the difference."""
    pairs = np.full((num_seeds, num_queries), 4.0)
    theirs = 2.0 + rng.normal(size=num_queries) + rng.normal(size=(num_seeds, num_queries)) * 0.3
    query, seed = rng.normal(size=num_queries) * 0.4, rng.normal(size=(num_seeds, 1)) * 0.08
    ours = theirs + 4 * gain + query + seed + rng.normal(size=(num_seeds, num_queries)) * 0.3
    return crossed.measure(ours, pairs), crossed.measure(theirs, pairs)


def test_the_interval_covers_a_planted_difference_and_the_test_keeps_its_level():
    rng = np.random.default_rng(2)
    covered, rejected = 0, 0
    for _ in range(1000):
        difference = crossed.subtract(*simulate(rng, 0.05))
        found = crossed.infer(difference.value, difference)
        covered += found.low <= 0.05 <= found.high
        null = crossed.subtract(*simulate(rng, 0.0))
        rejected += crossed.infer(null.value, null).p_value < 0.05
    # Binomial noise of 1000 draws is 0.7%.
    assert 0.93 <= covered / 1000 <= 0.985
    assert 0.015 <= rejected / 1000 <= 0.07


@pytest.mark.parametrize("num_seeds", [2, 3])
def test_few_seeds_keep_the_level_where_they_are_most_of_the_variance(num_seeds):
    """Two seeds often look alike by chance; degrees of freedom by Welch and Satterthwaite reject 10% here."""
    rng = np.random.default_rng(5)
    seeds = rng.normal(size=(1500, num_seeds))
    queries = rng.normal(size=400)
    queries *= 0.5 / np.sqrt(num_seeds) / np.sqrt((queries**2).sum())
    queries -= queries.mean()
    counted, rejected = np.ones(400, bool), 0
    for drawn in seeds:
        value = drawn.mean() + rng.normal() * 0.5 / np.sqrt(num_seeds)
        found = crossed.infer(value, crossed.Statistic(value, drawn - drawn.mean(), queries, counted, 400.0))
        rejected += found.p_value < 0.05
    assert 0.02 < rejected / 1500 < 0.065  # binomial noise is 0.6%


def test_queries_alone_would_reject_too_often():
    rng = np.random.default_rng(3)
    rejected = 0
    for _ in range(500):
        null = crossed.subtract(*simulate(rng, 0.0, num_queries=1000))
        alone = crossed.Statistic(null.value, np.zeros(1), null.queries, null.counted, null.effective)
        rejected += crossed.infer(null.value, alone).p_value < 0.05
    assert rejected / 500 > 0.2


# --- Relative gain ----------------------------------------------------------------------------------


def test_a_relative_gain_is_the_ratio_of_means_with_the_error_of_its_logarithm():
    treatment = make_statistic(0.3, [-0.03, 0.03], [0.02, -0.02])
    control = make_statistic(0.2, [0.0, 0.0], [0.01, -0.01])
    found = crossed.infer_relative(treatment, control)
    assert found.value == pytest.approx(0.3 / 0.2 - 1)
    assert found.seed_error == pytest.approx(0.03 / 0.3)
    assert found.query_error == pytest.approx(2 * abs(0.02 / 0.3 - 0.01 / 0.2))
    variances = found.query_error**2, found.seed_error**2
    critical = np.average([student.ppf(0.975, 1), student.ppf(0.975, 1)], weights=variances)  # two queries, two seeds
    reach = critical * np.sqrt(sum(variances))
    assert found.low == pytest.approx(1.5 * np.exp(-reach) - 1)
    assert found.high == pytest.approx(1.5 * np.exp(reach) - 1)


def test_the_influence_of_a_relative_gain_is_its_derivative():
    rng = np.random.default_rng(4)
    pairs = np.full((2, 30), 2.0)
    ours, theirs = rng.random((2, 2, 30)) + 0.5
    gain = crossed.relative_gain(crossed.measure(ours, pairs), crossed.measure(theirs, pairs))
    step, query = 1e-6, 7
    weights = np.ones(30)
    weights[query] += step
    moved = crossed.relative_gain(
        crossed.measure(ours * weights, pairs * weights), crossed.measure(theirs * weights, pairs * weights)
    )
    assert gain.queries[query] == pytest.approx((moved.value - gain.value) / step, rel=1e-4)


def test_a_relative_gain_over_zero_is_undefined():
    zero, some = make_statistic(0.0, [0.0], [0.0, 0.0]), make_statistic(0.1, [0.0], [0.0, 0.0])
    assert crossed.relative_gain(some, zero) is None
    assert crossed.infer_relative(some, zero) is None
    assert crossed.infer_relative(zero, some) is None


def test_the_interval_over_seeds_is_students():
    mean, half = crossed.interval_over_seeds([0.1, 0.2, 0.3])
    assert mean == pytest.approx(0.2)
    assert half == pytest.approx(student.ppf(0.975, 2) * 0.1 / np.sqrt(3))
    assert np.isnan(crossed.interval_over_seeds([0.1])[1])
