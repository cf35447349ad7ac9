"""Each loss against a loop, and at its edges."""

import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.image import losses

RNG = np.random.default_rng(0)
FIRST, SECOND = (RNG.normal(size=[5, 7]).astype(np.float32) for _ in range(2))


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def nt_xent_by_loop(first, second, temperature):
    views, total = [*first, *second], 0.0
    for i, view in enumerate(views):
        other = (i + len(first)) % len(views)
        likeness = {k: math.exp(cosine(view, views[k]) / temperature) for k in range(len(views)) if k != i}
        total -= math.log(likeness[other] / sum(likeness.values()))
    return total / len(views)


def momentum_by_loop(queries, keys, temperature):
    total = 0.0
    for i, query in enumerate(queries):
        likeness = [math.exp(cosine(query, key) / temperature) for key in keys]
        total -= math.log(likeness[i] / sum(likeness))
    return 2 * temperature * total / len(queries)


class TestL1:
    def test_of_all_pixels(self):
        clean, found = tf.constant([[[[1.0, 2.0]]]]), tf.constant([[[[0.0, 5.0]]]])
        assert float(losses.l1(found, clean)) == (1 + 3) / 2

    def test_of_masked_pixels(self):
        found, clean = RNG.normal(size=[2, 3, 4, 4, 3]).astype(np.float32)
        mask = RNG.random([3, 4, 4, 1]) < 0.3
        distances = [
            abs(found[n, y, x, c] - clean[n, y, x, c]) for n, y, x in zip(*np.nonzero(mask[..., 0])) for c in range(3)
        ]
        assert float(losses.l1(found, clean, mask)) == pytest.approx(sum(distances) / len(distances), rel=1e-5)

    def test_of_no_pixel_is_0_and_has_a_finite_gradient(self):
        found = tf.Variable(tf.ones([1, 2, 2, 1]))
        with tf.GradientTape() as tape:
            loss = losses.l1(found, tf.zeros([1, 2, 2, 1]), tf.zeros([1, 2, 2, 1], tf.bool))
        assert float(loss) == 0.0
        assert not tape.gradient(loss, found).numpy().any()


class TestContrast:
    @pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
    def test_nt_xent(self, temperature):
        expected = nt_xent_by_loop(FIRST, SECOND, temperature)
        assert float(losses.nt_xent(FIRST, SECOND, temperature)) == pytest.approx(expected, rel=1e-4)
        # Which view is the first, how long rows are and in which order images stand is all one.
        order = [3, 1, 4, 0, 2]
        for first, second in ((SECOND, FIRST), (3 * FIRST, 0.1 * SECOND), (FIRST[order], SECOND[order])):
            assert float(losses.nt_xent(first, second, temperature)) == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("temperature", [0.2, 1.0])
    def test_momentum(self, temperature):
        expected = momentum_by_loop(FIRST, SECOND, temperature)
        assert float(losses.momentum_contrast(FIRST, SECOND, temperature)) == pytest.approx(expected, rel=1e-4)

    def test_by_chance(self):
        alike = tf.ones([8, 3])
        assert float(losses.nt_xent(alike, alike, 0.5)) == pytest.approx(math.log(2 * 8 - 1), rel=1e-5)
        assert float(losses.momentum_contrast(alike, alike, 0.2)) == pytest.approx(2 * 0.2 * math.log(8), rel=1e-5)

    def test_of_one_image_is_0(self):
        assert float(losses.nt_xent(FIRST[:1], SECOND[:1], 0.2)) == pytest.approx(0.0, abs=1e-6)
        assert float(losses.momentum_contrast(FIRST[:1], SECOND[:1], 0.2)) == pytest.approx(0.0, abs=1e-6)

    def test_gradients_are_finite_where_rows_are_0_or_huge_and_none_reaches_the_keys(self):
        first = tf.Variable(np.stack([np.zeros(7), np.full(7, 1e15), *FIRST[:3]]).astype(np.float32))
        keys = tf.Variable(SECOND)
        with tf.GradientTape(persistent=True) as tape:
            contrast = losses.nt_xent(first, keys, 0.1)
            momentum = losses.momentum_contrast(first, keys, 0.1)
        for loss in (contrast, momentum):
            assert np.isfinite(tape.gradient(loss, first)).all()
        assert tape.gradient(contrast, keys) is not None
        assert tape.gradient(momentum, keys) is None

    def test_logits_leave_out_the_view_itself(self):
        logits, right = losses.view_logits(FIRST, SECOND, 1.0)
        assert right.numpy().tolist() == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
        assert (logits.numpy().argmax(axis=1) != np.arange(10)).all()
        assert logits[2, 9].numpy() == pytest.approx(cosine(FIRST[2], SECOND[4]), rel=1e-5)


def test_rotation():
    logits, quarters = np.array([[1.0, 2.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]], np.float32), [1, 3]
    own = -math.log(math.exp(2) / (math.exp(1) + math.exp(2) + 1 + math.exp(-1)))
    assert float(losses.rotation_loss(logits, quarters)) == pytest.approx((own + math.log(4)) / 2)


class TestWeights:
    PARTS = (tf.constant(2.0), tf.constant(0.5), tf.constant(3.0))

    def test_fixed(self):
        assert float(losses.weigh(self.PARTS, [1.0, 5.0, 0.1])) == pytest.approx(2.0 + 2.5 + 0.3)

    def test_uncertainty(self):
        s = [1.0, -0.5, 0.3]
        # exp(-a s) L + s / 2 of each task, a = 1/2 of an L1 distance.
        expected = [
            math.exp(-0.5 * 1.0) * 2.0 + 0.5 * 1.0,
            2.0 * math.exp(0.5) * 0.5 - 0.25,
            math.exp(-0.3) * 3.0 + 0.15,
        ]
        found = losses.weigh_by_uncertainty(self.PARTS, tf.constant(s), [1.0, 2.0, 1.0], [0.5, 1.0, 1.0])
        assert float(found) == pytest.approx(sum(expected))

    def test_the_learned_variance_of_a_task_settles_at_twice_its_loss(self):
        """d/ds (exp(-s) L + s / 2) = 0 where exp(s) = 2 L."""
        s = tf.Variable([math.log(2 * 3.0)])
        with tf.GradientTape() as tape:
            loss = losses.weigh_by_uncertainty([tf.constant(3.0)], s, [1.0], [1.0])
        assert float(tape.gradient(loss, s)) == pytest.approx(0.0, abs=1e-6)

    def test_as_many_weights_as_losses(self):
        with pytest.raises(ValueError):
            losses.weigh(self.PARTS, [1.0])
