"""One EMC iteration against plain loops over all rotations, patterns and pixels, and shards against one."""

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest

from recsys_ssl.diffraction import emc, expectation, photons, rotations
from recsys_ssl.diffraction.expectation import Problem, Shard
from recsys_ssl.diffraction.geometry import Mask
from recsys_ssl.diffraction.mirrors import make_layout
from recsys_ssl.diffraction.slices import symmetrise

BETA = 0.4
GRID = rotations.sample_rotations(1)


def corners(point):
    """The eight voxels around a point and their trilinear weights."""
    base = [math.floor(value) for value in point]
    for corner in itertools.product((0, 1), repeat=3):
        voxel = tuple(b + c for b, c in zip(base, corner, strict=True))
        yield voxel, math.prod(1 - abs(value - v) for value, v in zip(point, voxel, strict=True))


def iterate_by_loop(volume, data, fluence, beta, model="poisson", sigma=0.2, equal=False):
    """An unfolded EMC iteration in float64: every rotation, every pixel, every voxel beside it.

    Returns:
        Next volume, log-likelihoods of all patterns, best rotations, information of merged patterns, expected.
    """
    detector, counts = data.detector, data.counts.toarray().astype(float)
    used = np.flatnonzero(detector.mask != Mask.BAD)
    good = detector.mask[used] == Mask.GOOD
    places = [
        [list(corners((matrix @ detector.q_voxels[i] + (len(volume) - 1) / 2).tolist())) for i in used]
        for matrix in rotations.to_matrices(GRID.quaternions)
    ]
    scores = np.zeros((len(GRID.weights), len(counts)))
    phi = np.tile(fluence, (len(GRID.weights), 1))
    expected_photons = np.zeros(len(GRID.weights))
    for j, points in enumerate(places):
        seen = np.array([sum(f * volume[voxel] for voxel, f in point) for point in points])
        seen = (seen * detector.correction[used])[good]
        expected_photons[j] = seen.sum()
        for k, pattern in enumerate(counts[:, used][:, good]):
            if model == "poisson":
                terms = pattern * np.log(phi[j, k] * seen) - phi[j, k] * seen - [math.lgamma(n + 1) for n in pattern]
                scores[j, k] = terms.sum()
            else:
                phi[j, k] = (pattern**2 / seen).sum() / pattern.sum()
                scores[j, k] = -((seen - pattern / phi[j, k]) ** 2 / seen).mean() / (2 * sigma**2)
    powers = GRID.weights[:, None] * np.exp(beta * (scores - scores.max(axis=0)))
    responsibilities = powers / powers.sum(axis=0)
    numerator, denominator = np.zeros((2, *volume.shape))
    orbits = responsibilities[:, data.merged].reshape(-1, 4, data.merged.sum())
    seen = np.repeat((orbits @ fluence[data.merged]).sum(axis=1), 4)  # by the four mirror images of one slice
    for j, points in enumerate(places):
        for i, point in zip(used, points, strict=True):
            shares, k = responsibilities[j, data.merged] / (seen[j] if equal else 1.0), data.merged
            value = shares @ (counts[k, i] if model == "poisson" else counts[k, i] / phi[j, k])
            weight = detector.correction[i] * (shares @ phi[j, k] if model == "poisson" else shares.sum())
            for voxel, f in point:
                numerator[voxel] += f * value
                denominator[voxel] += f * weight
    numerator, denominator = numerator + numerator[::-1, ::-1, ::-1], denominator + denominator[::-1, ::-1, ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        following = np.where(denominator > 0, numerator / denominator, volume)
    likelihoods = np.log((GRID.weights[:, None] * np.exp(scores - scores.max(axis=0))).sum(axis=0)) + scores.max(axis=0)
    information = (responsibilities * np.log(responsibilities / GRID.weights[:, None])).sum(axis=0)[data.merged].sum()
    of_model = expected_photons[:, None] if model == "poisson" else phi
    return following, likelihoods, scores.argmax(axis=0), information, (responsibilities * of_model).sum(axis=0)


def make_problem(data, folded=True, **changes):
    layout = make_layout(data.detector, folded)
    problem = Problem(layout, GRID, data.counts, data.merged, data.detector.side, dtype="float64")
    return replace(problem, **changes)


@pytest.fixture(scope="module")
def start(tiny):
    """A volume that is neither the truth nor flat; no slice of it is clamped."""
    rng = np.random.default_rng(8)
    return symmetrise((tiny.volume + tiny.volume.mean()) * rng.uniform(0.5, 1.5, tiny.volume.shape))


@pytest.fixture(scope="module", params=["poisson", "scaled"])
def by_loop(request, tiny, start):
    return request.param, iterate_by_loop(start, tiny, tiny.fluence, BETA, request.param)


@pytest.mark.parametrize("folded", [True, False], ids=["folded", "plain"])
@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-10), ("float32", 2e-5)])
def test_an_iteration_is_that_of_plain_loops(folded, dtype, close, tiny, start, by_loop):
    model, (volume, likelihoods, best, information, expected) = by_loop
    problem = make_problem(tiny, folded, dtype=dtype, model=model)
    assert problem.layout.group_size == (4 if folded else 1)
    statistics, normalizer = emc.expect_on(emc.make_shards(problem), start, tiny.fluence, BETA)
    np.testing.assert_allclose(emc.maximise(statistics, start), volume, rtol=close, atol=close * volume.max())
    np.testing.assert_array_equal(normalizer.best, best)
    assert statistics.log_likelihood == pytest.approx(likelihoods[tiny.merged].sum(), rel=close)
    assert statistics.held_out_log_likelihood == pytest.approx(likelihoods[~tiny.merged].sum(), rel=close)
    assert statistics.information == pytest.approx(information, rel=10 * close)
    np.testing.assert_allclose(statistics.expected, expected, rtol=close)


def test_slices_count_alike_or_by_their_responsibilities(tiny, start):
    expected = iterate_by_loop(start, tiny, tiny.fluence, BETA, equal=True)[0]
    problem = make_problem(tiny, slice_weights="equal")
    whole, _ = emc.expect_on(emc.make_shards(problem), start, tiny.fluence, BETA)
    np.testing.assert_allclose(emc.maximise(whole, start), expected, rtol=1e-10)
    shared, _ = emc.expect_on(emc.make_shards(problem, 3), start, tiny.fluence, BETA)
    np.testing.assert_allclose(shared.numerator, whole.numerator, rtol=1e-10, atol=1e-12)
    with pytest.raises(ValueError, match="slices of equal weight are sums over all patterns. Received: a shard"):
        Shard(problem, range(problem.num_slices), range(1, problem.num_patterns))
    with pytest.raises(ValueError, match="slices of equal weight need all patterns in each worker"):
        emc.make_shards(problem, 1, 2)


def test_responsibilities_sum_to_one_and_photons_are_conserved(tiny, start):
    problem = make_problem(tiny)
    statistics, _ = emc.expect_on(emc.make_shards(problem), start, tiny.fluence, BETA)
    assert statistics.count == pytest.approx(tiny.merged.sum())
    assert statistics.held_out_count == pytest.approx((~tiny.merged).sum())
    used = tiny.detector.mask != Mask.BAD
    assert statistics.numerator.sum() == pytest.approx(tiny.counts[tiny.merged][:, used].sum())
    of_fluence = tiny.fluence[tiny.merged].sum() * tiny.detector.correction[used].sum()
    assert statistics.denominator.sum() == pytest.approx(of_fluence)


@pytest.mark.parametrize(
    ("rotation_parts", "pattern_parts"), [(2, 1), (4, 1), (1, 2), (1, 4), (2, 2), (15, 12)], ids=str
)
def test_shards_add_up_to_one(rotation_parts, pattern_parts, tiny, start):
    problem = make_problem(tiny)
    whole, of_whole = emc.expect_on(emc.make_shards(problem), start, tiny.fluence, BETA)
    shards = emc.make_shards(problem, rotation_parts, pattern_parts)
    assert len(shards) == rotation_parts * pattern_parts
    found, normalizer = emc.expect_on(shards, start, tiny.fluence, BETA)
    for field in fields(whole):
        np.testing.assert_allclose(getattr(found, field.name), getattr(whole, field.name), rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(normalizer.best, of_whole.best)


@pytest.mark.parametrize("model", ["poisson", "absolute"])
def test_what_does_not_fit_is_computed_again(model, tiny, start, monkeypatch):
    """A slice and 5 patterns at a time, nothing kept between the passes: the same statistics."""
    problem = make_problem(tiny, model=model)
    slices, patterns = range(problem.num_slices), range(problem.num_patterns)
    kept = Shard(problem, slices, patterns)
    expected = kept.accumulate(kept.score(start, tiny.fluence, BETA))
    monkeypatch.setattr(expectation, "BLOCK", 5)
    shard = Shard(problem, slices, patterns, memory_bytes=0)
    found = shard.accumulate(shard.score(start, tiny.fluence, BETA))
    assert {len(chunk) for chunk in shard._chunks} == {1}
    assert not shard._kept
    assert not shard._prepared
    for field in fields(found):
        np.testing.assert_allclose(getattr(found, field.name), getattr(expected, field.name), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("length", "expected"), [(9, [4, 5]), (5, [5]), (11, [3, 4, 4]), (1, [1])])
def test_parts_are_alike(length, expected):
    parts = expectation._cut(range(7, 7 + length), 5)
    assert sorted(map(len, parts)) == expected
    assert [place for part in parts for place in part] == list(range(7, 7 + length))


def test_sparse_patterns_give_what_dense_ones_do(tiny, start, monkeypatch):
    problem = make_problem(tiny, model="scaled")
    dense, _ = emc.expect_on(emc.make_shards(problem), start, tiny.fluence, BETA)
    monkeypatch.setattr(photons, "DENSEST", 1.0)
    shards = emc.make_shards(problem)
    found, _ = emc.expect_on(shards, start, tiny.fluence, BETA)
    assert isinstance(shards[0]._photons(0).counts, photons.SparseBlock)
    for field in fields(found):
        np.testing.assert_allclose(getattr(found, field.name), getattr(dense, field.name), rtol=1e-10, atol=1e-12)


def test_without_orientations_the_information_is_zero(tiny):
    """A volume that looks the same from everywhere tells no rotation from another."""
    flat = np.full(tiny.volume.shape, 2.0)
    statistics, _ = emc.expect_on(emc.make_shards(make_problem(tiny)), flat, tiny.fluence, 1.0)
    assert statistics.information == pytest.approx(0.0, abs=1e-9)
