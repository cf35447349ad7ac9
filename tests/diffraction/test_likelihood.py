"""The noise models against their formulas, and streamed sums against whole ones."""

import math

import numpy as np
import pytest

from recsys_ssl.diffraction import likelihood
from recsys_ssl.diffraction.likelihood import MODELS, Normalizer
from recsys_ssl.diffraction.mirrors import make_layout

RNG = np.random.default_rng(7)
SIGMA = 0.3


def plain_score(model, pattern, slice_, fluence):
    """R and the fluence, from the formula."""
    num_pixels = len(pattern)
    if model == "poisson":
        of_pixels = pattern * np.log(fluence * slice_) - fluence * slice_ - [math.lgamma(n + 1) for n in pattern]
        return of_pixels.sum(), fluence
    if model == "absolute":
        best = (pattern**2).sum() / (pattern * slice_).sum()
        misfit = (slice_ - pattern / best) ** 2
    elif model == "scaled":
        best = (pattern**2 / slice_).sum() / pattern.sum()
        misfit = (slice_ - pattern / best) ** 2 / slice_
    else:
        best = ((pattern / slice_) ** 2).sum() / (pattern / slice_).sum()
        misfit = (1 - pattern / (best * slice_)) ** 2
    return -misfit.sum() / (2 * SIGMA**2 * num_pixels), best


@pytest.fixture(params=[True, False], ids=["folded", "plain"])
def layout(request, tiny):
    return make_layout(tiny.detector, folded=request.param)


@pytest.mark.parametrize("model", MODELS)
def test_scores_are_those_of_the_formulas(model, layout, tiny):
    photons = likelihood.prepare(tiny.counts, layout, model, np.dtype(np.float64))
    background = likelihood.background_of(tiny.volume, layout)
    good = layout.pixels[:, : layout.num_good]
    slices = RNG.uniform(0.2, 3.0, (2, tiny.detector.num_pixels))
    tomograms = np.ascontiguousarray(slices[:, good].transpose(1, 0, 2))
    prepared = likelihood.prepare_slices(model, tomograms, background, layout)
    found = likelihood.score(model, prepared, photons, tiny.fluence, background, layout, SIGMA)
    scores = found.values + likelihood.constants(model, photons, tiny.fluence, background)
    for image, j, k in np.ndindex(*scores.shape):
        # Pixel by pixel: the pattern as it is, the slice in the mirror.
        pairs = {
            int(pixel): int(other)
            for row in range(layout.group_size)
            for pixel, other in zip(good[row], good[row ^ image], strict=True)
        }
        pattern = tiny.counts[k].toarray()[0, list(pairs)].astype(float)
        expected, fluence = plain_score(model, pattern, slices[j, list(pairs.values())], tiny.fluence[k])
        assert scores[image, j, k] == pytest.approx(expected, rel=1e-9)
        if found.fluence is not None:
            assert found.fluence[image, j, k] == pytest.approx(fluence, rel=1e-9)


@pytest.mark.parametrize("model", MODELS[1:])
def test_the_fluence_put_in_is_the_best_one(model):
    """The formulas' fluence gives a higher score than any near it."""
    pattern, slice_ = RNG.poisson(3.0, 50).astype(float), RNG.uniform(0.5, 2.0, 50)
    best = plain_score(model, pattern, slice_, None)[1]

    def score(fluence):
        weights = {"absolute": 1.0, "scaled": 1 / slice_, "relative": 1 / slice_**2}[model]
        return -(weights * (slice_ - pattern / fluence) ** 2).sum()

    assert score(best) > max(score(best * 0.99), score(best * 1.01))


def test_no_slice_is_darker_than_a_thousandth_of_the_shell(tiny):
    layout = make_layout(tiny.detector)
    background = likelihood.background_of(tiny.volume, layout)
    dark = likelihood.clamp(np.zeros((4, 1, layout.num_good)), background)
    np.testing.assert_allclose(dark[2, 0], 1e-3 * background.intensities)
    bright = 2 * np.broadcast_to(background.intensities, dark.shape)
    np.testing.assert_array_equal(likelihood.clamp(bright.copy(), background), bright)


@pytest.mark.parametrize("wrong", [0.0, math.nan, -1.0])
def test_a_volume_must_be_positive_on_average(tiny, wrong):
    with pytest.raises(ValueError, match="a volume must be finite, and positive on average"):
        likelihood.background_of(np.full(tiny.volume.shape, wrong), make_layout(tiny.detector))


# --- Streamed sums ---------------------------------------------------------------------------------------


def add_all(values, weights, beta, chunks):
    """A normalizer of [group_size, num_slices, num_patterns] scores, added in chunks of slices."""
    found = Normalizer.empty(values.shape[2])
    for start, stop in chunks:
        part = np.ascontiguousarray(values[:, start:stop])
        found.add(slice(0, values.shape[2]), part, weights[:, start:stop], beta, start * len(values))
    return found


@pytest.mark.parametrize("beta", [0.1, 1.0])
@pytest.mark.parametrize("scale", [1.0, 1e4], ids=["near", "far"])
def test_sums_in_chunks_are_those_of_all(beta, scale):
    values, weights = scale * RNG.standard_normal((4, 9, 6)), RNG.random((4, 9))
    weights /= weights.sum()
    chunks = [(0, 4), (4, 5), (5, 9)]
    found = add_all(values, weights, beta, chunks)
    by_rotation = values.transpose(1, 0, 2).reshape(36, 6)  # an orbit's rotations follow each other
    shares = weights.T.reshape(36, 1)
    np.testing.assert_array_equal(found.best, by_rotation.argmax(axis=0))
    largest = by_rotation.max(axis=0)
    np.testing.assert_allclose(found.maximum, largest)
    np.testing.assert_allclose(found.annealed, (shares * np.exp(beta * (by_rotation - largest))).sum(axis=0))
    expected = largest + np.log((shares * np.exp(by_rotation - largest)).sum(axis=0))
    np.testing.assert_allclose(found.log_likelihoods(), expected)

    parts = [add_all(values, weights, beta, [chunk]) for chunk in chunks]
    merged = parts[2].merge(parts[0], beta).merge(parts[1], beta)
    for name in ("maximum", "annealed", "plain", "best"):
        np.testing.assert_allclose(getattr(merged, name), getattr(found, name), rtol=1e-12)


def test_nothing_added_changes_nothing():
    values, weights = RNG.standard_normal((1, 3, 4)), np.full((1, 3), 1 / 3)
    found, empty = add_all(values, weights, 0.5, [(0, 3)]), Normalizer.empty(4)
    for merged in (found.merge(empty, 0.5), empty.merge(found, 0.5)):
        np.testing.assert_array_equal(merged.annealed, found.annealed)
        np.testing.assert_array_equal(merged.best, found.best)
    both = empty.merge(empty, 0.5)
    np.testing.assert_array_equal(both.plain, 0.0)
    np.testing.assert_array_equal(both.log_likelihoods(), -np.inf)
