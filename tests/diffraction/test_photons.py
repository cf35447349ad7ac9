"""Dense and sparse blocks against sums over pixels, one by one."""

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_ssl.diffraction.mirrors import make_layout, transform
from recsys_ssl.diffraction.photons import DENSEST, DenseBlock, SparseBlock, make_block

RNG = np.random.default_rng(6)
NUM_PATTERNS, NUM_SLICES = 5, 3


@pytest.fixture(params=[True, False], ids=["folded", "plain"])
def layout(request, tiny):
    return make_layout(tiny.detector, folded=request.param)


@pytest.fixture
def counts(tiny):
    return sp.csr_matrix(RNG.poisson(0.7, (NUM_PATTERNS, tiny.detector.num_pixels)))


@pytest.fixture(params=[DenseBlock, SparseBlock])
def block(request, counts, layout):
    return request.param(counts, layout, np.dtype(np.float64))


def test_products_are_sums_over_good_pixels(block, counts, layout, tiny):
    slices = RNG.random((NUM_SLICES, tiny.detector.num_pixels))
    good = layout.pixels[:, : layout.num_good]
    found = block.products(np.ascontiguousarray(slices[:, good].transpose(1, 0, 2)))
    dense = counts.toarray()
    for mirror in range(layout.group_size):
        image = {}  # of pixels in this mirror
        for row, orbit in enumerate(good):
            image |= dict(zip(orbit.tolist(), good[row ^ mirror].tolist(), strict=True))
        expected = [
            [sum(dense[k, i] * slices[j, image[i]] for i in image) for k in range(NUM_PATTERNS)]
            for j in range(NUM_SLICES)
        ]
        np.testing.assert_allclose(found[mirror], expected, rtol=1e-12)


def test_merging_adds_patterns_as_seen_in_each_mirror(block, counts, layout):
    given = RNG.random((layout.group_size, NUM_SLICES, NUM_PATTERNS))
    before = RNG.random((layout.group_size, NUM_SLICES, layout.num_orbits))
    found = before.copy()
    block.merge(given.copy(), found)
    found = transform(found - before)
    dense = counts.toarray()
    for image in range(layout.group_size):
        expected = sum(given[mirror] @ dense[:, layout.pixels[image ^ mirror]] for mirror in range(layout.group_size))
        np.testing.assert_allclose(found[image], expected, rtol=1e-12)


def test_weighted_sums_count_a_pixel_once(block, counts, layout):
    weights = RNG.random(layout.num_good)
    of_pixel = np.zeros(counts.shape[1])
    of_pixel[layout.pixels[:, : layout.num_good]] = weights
    np.testing.assert_allclose(block.weighted_sums(weights), counts @ of_pixel, rtol=1e-12)


def test_few_photons_are_kept_sparse(layout, tiny):
    num_pixels = tiny.detector.num_pixels
    few = sp.random(200, num_pixels, 0.5 * DENSEST, format="csr", random_state=0)
    many = sp.random(200, num_pixels, 2 * DENSEST, format="csr", random_state=0)
    assert isinstance(make_block(few, layout, np.dtype(np.float32)), SparseBlock)
    assert isinstance(make_block(many, layout, np.dtype(np.float32)), DenseBlock)
