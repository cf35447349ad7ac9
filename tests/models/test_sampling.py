"""Sampling probabilities: counts by hand, the streaming estimate on streams whose truth is known."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.models.sampling import StreamingFrequency, exact_log_probability

NUM_ITEMS = 200


def test_exact_probability_is_the_share_of_the_positives_and_an_unseen_item_counts_half():
    log_probability = exact_log_probability(np.array([6, 3, 1, 0]))
    assert log_probability.dtype == np.float32
    np.testing.assert_allclose(np.exp(log_probability), [0.6, 0.3, 0.1, 0.05], rtol=1e-6)


def test_a_catalogue_without_positives_has_finite_probabilities():
    np.testing.assert_allclose(exact_log_probability(np.zeros(3, np.int64)), np.log(0.5), rtol=1e-6)


# --- Streaming estimate -----------------------------------------------------------------------------------


def rows_of(*rows):
    return tf.constant(rows, tf.int64)


def once(*rows):
    """The items of a batch that stand in it once each, and the counts."""
    return rows_of(*rows), tf.ones([len(rows)])


def run(frequency, batches, num_items=NUM_ITEMS):
    """Feeds [num_steps, batch_size] rows, duplicates and all, as a training run does."""
    batches = tf.constant(batches, tf.int64)

    @tf.function
    def feed():
        for step in tf.range(tf.shape(batches, tf.int64)[0]):
            rows, _, counts = tf.unique_with_counts(batches[step])
            frequency.update(rows, tf.cast(counts, tf.float32), step + 1)

    feed()
    return np.exp(frequency.log_probability(tf.range(num_items, dtype=tf.int64)))


def power_law_stream(num_steps=4000, batch_size=32, exponent=0.8, num_items=NUM_ITEMS):
    """Batches of a power-law log, and how often a batch holds each item on average."""
    share = np.arange(1, num_items + 1) ** -exponent
    share /= share.sum()
    batches = np.random.default_rng(0).choice(num_items, [num_steps, batch_size], p=share)
    return batches, batch_size * share


def test_the_estimate_by_hand():
    frequency = StreamingFrequency(num_buckets=64, initial_gap=10.0, rate=0.4, num_hashes=1)
    np.testing.assert_allclose(frequency.log_probability(rows_of(3)), np.log(1 / 10), rtol=1e-6)
    # The mean of the first guess and of one gap; then 0.4 outweighs a third and a quarter.
    gap = 10.0
    for step, seen, kept in ((4, 4, 1 / 2), (6, 2, 0.6), (13, 7, 0.6)):
        gap = kept * gap + (1 - kept) * seen
        frequency.update(*once(3), tf.constant(step, tf.int64))
        np.testing.assert_allclose(frequency.log_probability(rows_of(3)), -np.log(gap), rtol=1e-5)


def test_several_occurrences_share_the_gap_and_weigh_as_many():
    frequency = StreamingFrequency(num_buckets=64, initial_gap=10.0, rate=0.6, num_hashes=2)
    frequency.update(rows_of(3, 5), tf.constant([3.0, 1.0]), tf.constant(6, tf.int64))
    expected = [0.4**3 * 10 + (1 - 0.4**3) * 6 / 3, 0.4 * 10 + 0.6 * 6]
    np.testing.assert_allclose(frequency.log_probability(rows_of(3, 5)), -np.log(expected), rtol=1e-6)


def test_few_occurrences_are_averaged_rather_than_left_at_the_first_guess():
    frequency = StreamingFrequency(num_buckets=1000, initial_gap=2.0, rate=0.01)
    for step in range(100, 1000, 100):
        frequency.update(*once(7), tf.constant(step, tf.int64))
    np.testing.assert_allclose(np.exp(-frequency.log_probability(rows_of(7))), (2 + 9 * 100) / 10, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [32, 1024])
def test_the_order_of_popularity_is_not_flattened_by_large_batches(batch_size):
    batches, truth = power_law_stream(num_steps=1000, batch_size=batch_size)
    estimate = run(StreamingFrequency(100 * NUM_ITEMS, 1.0, 0.02), batches)
    # The first ten items stand in each batch of 1,024 many times, and are told apart all the same.
    np.testing.assert_allclose(estimate[:10], truth[:10], rtol=0.5)
    assert np.corrcoef(np.log(estimate), np.log(truth))[0, 1] > 0.97


@pytest.mark.parametrize("gap", [1, 7])
def test_an_item_in_every_nth_batch_has_probability_one_nth(gap):
    frequency = StreamingFrequency(num_buckets=1000, initial_gap=50.0, rate=0.1, num_hashes=2)
    for step in range(gap, 120 * gap, gap):
        frequency.update(*once(5), tf.constant(step, tf.int64))
    np.testing.assert_allclose(np.exp(frequency.log_probability(rows_of(5))), 1 / gap, rtol=1e-3)


def test_a_power_law_stream_is_estimated_within_the_noise_of_the_moving_average():
    batches, truth = power_law_stream()
    rate = 0.02
    estimate = run(StreamingFrequency(100 * NUM_ITEMS, NUM_ITEMS / 32, rate), batches)
    # Gaps are geometric: a moving average of them has this relative deviation, plus the fading first guess.
    error = np.log(estimate / truth)
    assert np.abs(error.mean()) < 0.05
    assert np.abs(error).mean() < np.sqrt(rate / (2 - rate))
    assert np.abs(error).max() < 4.5 * np.sqrt(rate / (2 - rate))
    assert np.corrcoef(np.log(estimate), np.log(truth))[0, 1] > 0.98


def test_collisions_only_overestimate_and_more_hashes_overestimate_less():
    batches, truth = power_law_stream()
    settings = {"initial_gap": NUM_ITEMS / 32, "rate": 0.02}
    alone = run(StreamingFrequency(100 * NUM_ITEMS, num_hashes=1, **settings), batches)
    excess = {}
    for num_hashes in (1, 2, 4):
        crowded = run(StreamingFrequency(NUM_ITEMS // 2, num_hashes=num_hashes, **settings), batches)
        # Even the average over twice as many gaps is noisy.
        assert (crowded >= alone * 0.75).all()
        excess[num_hashes] = np.log(crowded / truth).mean()
    assert excess[1] > 0.3
    assert excess[2] < 0.75 * excess[1]
    assert excess[4] < 0.75 * excess[2]


def test_two_items_that_share_a_bucket_are_as_frequent_as_both_together():
    frequency = StreamingFrequency(num_buckets=1, initial_gap=9.0, rate=0.5, num_hashes=1)
    for step in range(1, 60):
        frequency.update(*once(step % 2), tf.constant(step, tf.int64))
    np.testing.assert_allclose(np.exp(frequency.log_probability(rows_of(0, 1))), [1.0, 1.0], rtol=1e-5)


def test_hashes_spread_the_rows_and_differ_from_each_other():
    frequency = StreamingFrequency(num_buckets=4 * 1000, initial_gap=1.0, num_hashes=2)
    buckets = frequency._buckets(tf.range(1000, dtype=tf.int64)).numpy()
    assert buckets[:, 0].min() >= 0
    assert buckets[:, 0].max() < 4000 <= buckets[:, 1].min()
    assert buckets[:, 1].max() < 8000
    for column in buckets.T:
        # 1000 balls in 4000 boxes: 885 boxes are hit when they fall at random.
        assert len(np.unique(column)) > 860
    assert len(np.unique(buckets, axis=0)) == 1000


def test_the_hash_is_splitmix64():
    # The first outputs of the published generator for seed 0; hash h of row 0 is output h.
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]
    frequency = StreamingFrequency(num_buckets=1_000_003, initial_gap=1.0, num_hashes=4)
    expected = [(output >> 1) % 1_000_003 + place * 1_000_003 for place, output in enumerate(published)]
    assert frequency._buckets(rows_of(0)).numpy()[0].tolist() == expected


def test_buckets_of_a_graph_are_those_of_eager_calls():
    frequency = StreamingFrequency(num_buckets=4 * 3382, initial_gap=1.0)
    rows = tf.concat([tf.range(3382, dtype=tf.int64), rows_of(2**31, 2**40, 2**62)], axis=0)
    np.testing.assert_array_equal(tf.function(frequency._buckets)(rows), frequency._buckets(rows))
    folded = tf.function(lambda: frequency._buckets(tf.constant(rows.numpy())))  # by the optimiser, before it runs
    np.testing.assert_array_equal(folded(), frequency._buckets(rows))


def random_catalogue_sizes():
    return np.random.default_rng(0).integers(65, 200_001, 200).tolist()


CATALOGUE_SIZES = {
    "small": range(1, 65),
    "bad under multiplication": [3382, 5898, 3381, 3383, 5897, 5899],
    "powers of two": [2**power for power in range(7, 18)],
    "next to powers of two": [2**power + side for power in range(7, 18) for side in (-1, 1)],
    "powers of ten": [10**power for power in range(2, 6)],
    "primes": [97, 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071, 199999],
    "random": random_catalogue_sizes(),
}


@pytest.mark.parametrize("sizes", CATALOGUE_SIZES.values(), ids=CATALOGUE_SIZES)
def test_no_size_of_the_catalogue_has_more_collisions_than_random_hashing(sizes):
    for num_items in sizes:
        num_buckets = 4 * num_items
        frequency = StreamingFrequency(num_buckets, initial_gap=1.0)
        buckets = frequency._buckets(tf.range(num_items, dtype=tf.int64)).numpy()
        shared = np.bincount(buckets.ravel(), minlength=2 * num_buckets)[buckets] > 1
        # An item is alone in a bucket when none of the others falls into it.
        expected = 1 - (1 - 1 / num_buckets) ** (num_items - 1)
        for found, share in ((shared.all(axis=1), expected**2), (shared[:, 0], expected), (shared[:, 1], expected)):
            # Items collide in twos and more, so the count varies more than that of as many coins: twice as much.
            deviation = np.sqrt(2 * num_items * share * (1 - share))
            assert found.sum() <= num_items * share + 4 * deviation + 2, num_items


@pytest.mark.parametrize("num_items", [3382, 5898, 4096, 5003])
def test_a_power_law_stream_is_estimated_alike_at_every_size_of_the_catalogue(num_items):
    batch_size, rate = num_items // 8, 0.02
    batches, truth = power_law_stream(600, batch_size, num_items=num_items)
    estimate = run(StreamingFrequency(4 * num_items, num_items / batch_size, rate), batches, num_items)
    error = np.log(estimate / truth)
    # One item in twenty shares both buckets; of the others the estimate is as noisy as a moving average.
    assert np.abs(np.median(error)) < 0.1
    assert np.abs(error).mean() < 0.25
    assert (error > np.log(2)).mean() < 0.06


def test_the_estimate_is_saved_in_a_checkpoint_and_goes_on_from_it(tmp_path):
    def make():
        return StreamingFrequency(num_buckets=100, initial_gap=5.0)

    def feed(frequency, steps):
        for step in steps:
            frequency.update(*once(*{step % 3, step % 7}), tf.constant(step, tf.int64))
        return frequency.log_probability(tf.range(8, dtype=tf.int64)).numpy()

    first = make()
    halfway = feed(first, range(1, 20))
    path = tf.train.Checkpoint(frequency=first).write(str(tmp_path / "checkpoint"))
    second = make()
    assert (second.log_probability(tf.range(8, dtype=tf.int64)).numpy() != halfway).any()
    tf.train.Checkpoint(frequency=second).read(path).assert_consumed()
    np.testing.assert_array_equal(second.log_probability(tf.range(8, dtype=tf.int64)), halfway)
    np.testing.assert_array_equal(feed(second, range(20, 40)), feed(first, range(20, 40)))
