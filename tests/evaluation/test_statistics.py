import numpy as np
import pytest
from scipy.stats import bootstrap, kstest, norm, permutation_test
from scipy.stats import t as student

from recsys_ssl.evaluation import statistics
from recsys_ssl.evaluation.statistics import compare_paired


def draw_log(rng, num_clusters=250, lift=0.0):
    """Hits of both arms per query: pairs vary in number, arms are correlated through the query's difficulty."""
    pairs = rng.integers(1, 9, num_clusters)
    easy = 0.6 * rng.beta(2, 5, num_clusters)
    control = rng.binomial(pairs, easy)
    treatment = rng.binomial(pairs, easy + lift * easy)
    return [array.astype(np.float64)[:, None] for array in (control, treatment, pairs)]


def test_values_are_ratios_of_sums():
    control, treatment = np.array([[1.0], [0.0], [3.0]]), np.array([[2.0], [1.0], [3.0]])
    denominators = np.array([[2.0], [4.0], [4.0]])
    result = compare_paired(control, treatment, denominators)
    assert result.control[0] == 4 / 10
    assert result.treatment[0] == 6 / 10
    assert result.difference[0] == 2 / 10
    assert result.relative[0] == pytest.approx(6 / 4 - 1)


@pytest.mark.parametrize("lift", [0.0, 0.5], ids=["A/A", "A/B"])
def test_intervals_cover_the_truth_as_often_as_they_say(lift):
    rng = np.random.default_rng(7)
    truth = lift * 0.6 * 2 / 7  # the mean of 0.6 Beta(2, 5) times the lift; pairs are independent of it
    covered, relative_covered, found = [], [], []
    for seed in range(300):
        result = compare_paired(*draw_log(rng, 150, lift), samples=250, seed=seed)
        covered.append(result.interval[0, 0] <= truth <= result.interval[1, 0])
        relative_covered.append(result.relative_interval[0, 0] <= lift <= result.relative_interval[1, 0])
        found.append(result.p_value[0] < 0.05)
    # 300 draws of a 95% event: three standard deviations are 3.8 points.
    assert np.mean(covered) == pytest.approx(0.95, abs=0.038)
    assert np.mean(relative_covered) == pytest.approx(0.95, abs=0.038)
    assert np.mean(found) == pytest.approx(0.05, abs=0.038) if lift == 0 else np.mean(found) > 0.8


def test_p_values_of_equal_arms_are_uniform():
    rng = np.random.default_rng(3)

    def draw_arm(shape):
        return rng.standard_gamma(1.0, shape)  # skewed, and without ties

    p_values = [
        compare_paired(draw_arm((80, 1)), draw_arm((80, 1)), np.ones((80, 1)), samples=200, seed=seed).p_value[0]
        for seed in range(300)
    ]
    assert kstest(p_values, "uniform").pvalue > 0.01


def test_the_support_of_a_comparison_by_hand():
    gain, denominators = np.array([[1.0], [-1.0], [0.0], [2.0]]), np.array([[1.0], [1.0], [2.0], [4.0]])
    found = statistics.measure_support(gain, denominators)
    assert found.effective[0] == pytest.approx(8**2 / (1 + 1 + 4 + 16))
    assert found.largest_share[0] == 4 / 8
    assert found.differing[0] == pytest.approx((1 + 1 + 2) ** 2 / (1 + 1 + 4))
    nothing = statistics.measure_support(np.zeros((3, 1)), np.zeros((3, 1)))
    assert [nothing.effective[0], nothing.largest_share[0], nothing.differing[0]] == [0, 0, 0]
    even = statistics.measure_support(np.full((7, 1), 0.3), np.full((7, 1), 5.0))
    assert [even.effective[0], even.differing[0]] == pytest.approx([7, 7])


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_intervals_agree_with_a_loop_over_draws(confidence):
    control, treatment, pairs = draw_log(np.random.default_rng(2), 70, lift=0.4)
    result = compare_paired(control, treatment, pairs, samples=300, confidence=confidence, seed=9)
    weights = np.random.default_rng(9).poisson(1.0, (300, 70))
    differences, lifts = [], []
    for weight in weights:
        sum_c, sum_t, sum_d = (sum(w * x for w, x in zip(weight, of[:, 0])) for of in (control, treatment, pairs))
        differences.append((sum_t - sum_c) / sum_d)
        lifts.append(sum_t / sum_c - 1)
    gain = np.abs(treatment - control)[:, 0]
    effective = min(pairs.sum() ** 2 / (pairs**2).sum(), gain.sum() ** 2 / (gain**2).sum())
    quantile = student.ppf((1 + confidence) / 2, effective - 1)
    tail = norm.cdf(-np.sqrt(effective / (effective - 1)) * quantile)
    assert tail < (1 - confidence) / 2
    np.testing.assert_allclose(result.interval[:, 0], np.quantile(differences, [tail, 1 - tail]), rtol=1e-9)
    np.testing.assert_allclose(result.relative_interval[:, 0], np.quantile(lifts, [tail, 1 - tail]), rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_p_is_the_level_at_which_the_interval_begins_to_leave_out_zero(seed):
    rng = np.random.default_rng(seed)
    log = np.zeros((80, 1)), rng.normal(0.2, 1.0, (80, 1)), np.ones((80, 1))
    p = compare_paired(*log, samples=20_000).p_value[0]
    assert 0.002 < p < 0.9
    for level, is_out in ((p * 1.05, True), (p * 0.95, False)):
        low, high = compare_paired(*log, samples=20_000, confidence=1 - level).interval[:, 0]
        assert (low > 0 or high < 0) == is_out


def test_uneven_weights_widen_the_interval():
    """Of two columns with the same gain per denominator and the same draws, the one of fewer effective clusters."""
    rng = np.random.default_rng(0)
    gain = rng.normal(size=(400, 1))
    few = np.where(np.arange(400) < 12, 1.0, 1e-9)[:, None]  # twelve clusters hold everything
    result = compare_paired(np.zeros((400, 1)), gain * few, few, samples=4000)
    bounds = result.interval[:, 0] - result.difference[0]
    m = statistics.measure_support(gain * few, few)
    assert m.effective[0] == pytest.approx(12, rel=1e-4)
    # Plain percentiles would reach 1.96 sqrt(11 / 12) standard errors at most; Student's with few degrees more.
    assert -bounds[0] + bounds[1] > 2 * 2.1 * result.standard_error[0] * np.sqrt(399 / 400 * 12 / 11 * 11 / 12)


def test_intervals_and_p_values_agree_with_scipy():
    """Its bootstrap keeps the number of clusters, ours varies it; both are the same up to terms of 1 / clusters."""
    control, treatment, pairs = draw_log(np.random.default_rng(5), 400, lift=0.1)
    result = compare_paired(control, treatment, pairs, samples=4000, confidence=0.9)
    data = tuple(array[:, 0] for array in (control, treatment, pairs))

    def differ(control, treatment, pairs, axis):
        return (treatment.sum(axis) - control.sum(axis)) / pairs.sum(axis)

    def lift(control, treatment, pairs, axis):
        return treatment.sum(axis) / control.sum(axis) - 1

    for statistic, interval in ((differ, result.interval), (lift, result.relative_interval)):
        expected = bootstrap(
            data, statistic, paired=True, vectorized=True, n_resamples=4000, confidence_level=0.9, method="percentile",
            random_state=0,
        ).confidence_interval  # fmt: skip
        width = expected.high - expected.low
        np.testing.assert_allclose(interval[:, 0], [expected.low, expected.high], atol=0.08 * width)

    def gain(control, treatment, axis):
        return treatment.sum(axis) - control.sum(axis)

    swaps = permutation_test(
        data[:2], gain, permutation_type="samples", vectorized=True, n_resamples=4000, random_state=0
    )
    # About 0.11; as a share of 4,000 draws it has a standard deviation of 0.5 points, on both sides. Far from the tails
    # a test that swaps the arms says the same.
    assert result.p_value[0] == pytest.approx(swaps.pvalue, abs=0.02)


def test_the_least_p_value_is_that_of_half_a_draw_beyond_zero():
    ones = np.ones((3000, 1))
    # 2 * (0 + 1/2) / (samples + 1), for Student's distribution with 2,999 degrees of freedom.
    assert compare_paired(0 * ones, ones, ones, samples=199).p_value[0] == pytest.approx(1 / 200, rel=0.02)


def test_a_gain_of_zero_is_never_significant_by_rounding():
    gain = np.array([0.1, 0.2, -0.3] * 3)[:, None]  # some orders of the sum give 0, and others 1e-17
    assert compare_paired(np.zeros((9, 1)), gain, np.ones((9, 1))).p_value[0] == 1


def test_the_interval_agrees_with_the_normal_one_on_a_large_sample():
    control, treatment, pairs = draw_log(np.random.default_rng(0), 5000, lift=0.2)
    result = compare_paired(control, treatment, pairs, samples=4000)
    half = 1.96 * result.standard_error[0]
    expected = result.difference[0] + np.array([-half, half])
    np.testing.assert_allclose(result.interval[:, 0], expected, atol=0.06 * half)


def test_the_standard_error_of_a_mean_is_the_textbook_one():
    gain = np.array([0.3, -0.1, 0.4, 0.0])
    error = statistics.standard_error(gain[:, None], np.ones((4, 1)))
    assert error[0] == pytest.approx(gain.std(ddof=1) / np.sqrt(4))


def test_a_cluster_without_a_denominator_is_none():
    gain, pairs = np.array([0.3, -0.1, 0.4, 0.0]), np.array([1.0, 2.0, 1.0, 3.0])
    alone = statistics.standard_error(gain[:, None], pairs[:, None])
    padded = statistics.standard_error(np.append(gain, [0, 0])[:, None], np.append(pairs, [0, 0])[:, None])
    residual = gain - gain.sum() / 7 * pairs
    assert alone[0] == pytest.approx(np.sqrt(4 / 3 * (residual**2).sum()) / 7)
    assert padded[0] == pytest.approx(alone[0])
    assert np.isnan(statistics.standard_error(np.ones((1, 1)), np.ones((1, 1)))).all()


def test_clusters_not_rankings_are_resampled():
    # 100 queries asked 25 times each carry the information of 100, not of 2,500.
    rng = np.random.default_rng(0)
    gain = rng.normal(size=(100, 1))
    once = compare_paired(np.zeros((100, 1)), gain, np.ones((100, 1)))
    many = compare_paired(np.zeros((100, 1)), 25 * gain, np.full((100, 1), 25.0))
    np.testing.assert_allclose(many.interval, once.interval)


def test_equal_arms_have_no_difference_and_no_interval():
    control, _, pairs = draw_log(np.random.default_rng(0))
    result = compare_paired(control, control, pairs)
    assert result.difference.tolist() == [0]
    for values in (result.interval, result.relative_interval, result.p_value):
        assert np.isnan(values).all()


def test_swapping_the_arms_mirrors_the_result():
    control, treatment, pairs = draw_log(np.random.default_rng(0), lift=0.3)
    there, back = compare_paired(control, treatment, pairs), compare_paired(treatment, control, pairs)
    np.testing.assert_allclose(there.difference, -back.difference)
    np.testing.assert_allclose(there.interval, -back.interval[::-1], atol=1e-12)
    np.testing.assert_allclose(there.p_value, back.p_value)


def test_a_seed_fixes_the_result_and_blocks_do_not_matter(monkeypatch):
    log = draw_log(np.random.default_rng(0))
    first, again, other = (compare_paired(*log, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.interval, again.interval)
    assert first.p_value == again.p_value
    assert (first.interval != other.interval).any()
    monkeypatch.setattr(statistics, "_BLOCK_BYTES", 8 * 250 * 7)
    blocks = compare_paired(*log, seed=1)
    np.testing.assert_allclose(blocks.interval, first.interval)
    np.testing.assert_allclose(blocks.p_value, first.p_value)


def test_columns_do_not_disturb_one_another():
    a, b = draw_log(np.random.default_rng(0)), draw_log(np.random.default_rng(1), lift=0.2)
    both = compare_paired(*(np.hstack(pair) for pair in zip(a, b)))
    alone = compare_paired(*b)
    np.testing.assert_allclose(both.interval[:, 1], alone.interval[:, 0])
    np.testing.assert_allclose(both.p_value[1], alone.p_value[0])


def test_a_control_of_zero_has_a_difference_but_no_lift():
    result = compare_paired(np.zeros((50, 1)), np.ones((50, 1)), np.ones((50, 1)))
    assert result.difference[0] == 1
    assert np.isnan(result.relative[0])
    assert np.isnan(result.relative_interval).all()


def test_no_denominator_is_undefined():
    result = compare_paired(*(np.zeros((5, 1)),) * 3)
    for values in (result.control, result.difference, result.interval, result.p_value):
        assert np.isnan(values).all()


def test_no_cluster_is_an_error():
    with pytest.raises(ValueError, match="non-empty"):
        compare_paired(*(np.zeros((0, 1)),) * 3)


def test_holm_by_hand():
    # Sorted .01 * 3, .03 * 2, .04 * 1, each at least the one before.
    np.testing.assert_allclose(statistics.adjust_holm(np.array([0.04, 0.01, 0.03])), [0.06, 0.03, 0.06])


def test_benjamini_hochberg_by_hand():
    # Sorted .01 * 3 / 1, .03 * 3 / 2, .04 * 3 / 3, each at most the one after.
    adjusted = statistics.adjust_benjamini_hochberg(np.array([0.04, 0.01, 0.03]))
    np.testing.assert_allclose(adjusted, [0.04, 0.03, 0.04])


def holm_by_loop(p_values):
    """Rejects from the smallest up; NaN is no member of the family."""
    family = sorted((p, at) for at, p in enumerate(p_values) if p == p)
    adjusted, least = [float("nan")] * len(p_values), 0.0
    for rank, (p, at) in enumerate(family):
        least = max(least, min(1.0, (len(family) - rank) * p))
        adjusted[at] = least
    return adjusted


def benjamini_hochberg_by_loop(p_values):
    """Accepts from the largest down; NaN is no member of the family."""
    family = sorted((p, at) for at, p in enumerate(p_values) if p == p)
    adjusted, most = [float("nan")] * len(p_values), 1.0
    for rank, (p, at) in reversed(list(enumerate(family, 1))):
        most = min(most, p * len(family) / rank)
        adjusted[at] = most
    return adjusted


@pytest.mark.parametrize(
    ("adjust", "by_loop"),
    [
        (statistics.adjust_holm, holm_by_loop),
        (statistics.adjust_benjamini_hochberg, benjamini_hochberg_by_loop),
    ],
    ids=["holm", "benjamini-hochberg"],
)
@pytest.mark.parametrize("seed", range(20))
def test_corrections_agree_with_a_loop_whatever_ties_and_gaps(adjust, by_loop, seed):
    rng = np.random.default_rng(seed)
    p_values = rng.random(rng.integers(1, 60)) ** rng.integers(1, 6)
    if seed % 2:
        p_values = np.ceil(20 * p_values) / 20  # ties, 1.0 among them
    p_values[rng.random(len(p_values)) < 0.2] = np.nan
    np.testing.assert_allclose(adjust(p_values), by_loop(p_values.tolist()), rtol=1e-14)


@pytest.mark.parametrize("adjust", [statistics.adjust_holm, statistics.adjust_benjamini_hochberg])
def test_a_family_of_nothing_stays_so(adjust):
    assert adjust(np.array([])).tolist() == []
    assert np.isnan(adjust(np.full(3, np.nan))).all()
    assert adjust(np.array([0.0, 1.0])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("adjust", [statistics.adjust_holm, statistics.adjust_benjamini_hochberg])
def test_an_undefined_p_value_is_left_out_of_the_family(adjust):
    adjusted = adjust(np.array([np.nan, 0.01, 0.02]))
    assert np.isnan(adjusted[0])
    np.testing.assert_allclose(adjusted[1:], adjust(np.array([0.01, 0.02])))
    assert np.isnan(adjust(np.array([np.nan]))).all()


def test_the_minimum_detectable_effect_is_found_with_the_stated_power():
    effect = statistics.minimum_detectable_effect(np.float64(0.5))
    assert effect == pytest.approx((1.959964 + 0.841621) * 0.5, abs=1e-5)
    rng = np.random.default_rng(0)
    estimates = rng.normal(effect, 0.5, 20_000)
    assert np.mean(np.abs(estimates) > 1.959964 * 0.5) == pytest.approx(0.8, abs=0.01)
