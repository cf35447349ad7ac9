"""The transformer over histories: what a state may know, against itself on single histories and a loop in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.models.history import (
    UNKNOWN_GAP,
    UNKNOWN_ITEM,
    Histories,
    HistoryConfig,
    HistoryEncoder,
    bucket_gaps,
)

LENGTH, ITEM_DIM, WIDTH, NUM_ITEMS = 7, 5, 4, 11


@pytest.fixture(scope="module")
def encoder():
    """Two layers whose weights are far from those of the start, so that a leak would show."""
    made = HistoryEncoder(HistoryConfig("transformer", layers=2, heads=2), LENGTH, ITEM_DIM, WIDTH)
    rng = np.random.default_rng(2)
    for variable in made.variables:
        variable.assign(rng.normal(size=variable.shape))
    return made


@pytest.fixture(scope="module")
def table():
    return tf.constant(np.random.default_rng(3).normal(size=[NUM_ITEMS, ITEM_DIM]), tf.float32)


def draw(num_sequences=6, width=LENGTH, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, NUM_ITEMS, [num_sequences, width]), rng.integers(0, 34, [num_sequences, width])


def read(encoder, table, items, gaps, owner, visible):
    histories = Histories(*(tf.constant(part, tf.int64) for part in (items, gaps, owner, visible)))
    return encoder.read(histories, table).vectors.numpy()


def read_all(encoder, table, items, gaps):
    """[num_sequences, width, WIDTH]: the state at every place."""
    owner, visible = (part.reshape(-1) for part in np.indices(items.shape))
    return read(encoder, table, items, gaps, owner, visible + 1).reshape(*items.shape, WIDTH)


def test_no_later_item_or_gap_changes_a_state(encoder, table):
    items, gaps = draw()
    states = read_all(encoder, table, items, gaps)
    for cut in range(1, LENGTH):
        changed = items.copy(), gaps.copy()
        changed[0][:, cut:], changed[1][:, cut:] = (part[:, cut:] for part in draw(seed=9))
        others = read_all(encoder, table, *changed)
        np.testing.assert_array_equal(others[:, :cut], states[:, :cut])
        assert (np.abs(others[:, cut:] - states[:, cut:]).max(axis=2) > 1e-3).mean() > 0.8


def test_every_earlier_item_and_gap_changes_a_state(encoder, table):
    items, gaps = draw(num_sequences=1)
    states = read_all(encoder, table, items, gaps)[0]
    for place in range(LENGTH):
        for part in range(2):
            changed = items.copy(), gaps.copy()
            changed[part][0, place] = (changed[part][0, place] + 1) % NUM_ITEMS
            others = read_all(encoder, table, *changed)[0]
            assert (np.abs(others[place:] - states[place:]).max(axis=1) > 1e-5).all()


def test_one_pass_gives_the_states_of_single_histories(encoder, table):
    items, gaps = draw()
    states = read_all(encoder, table, items, gaps)
    for visible in range(1, LENGTH + 1):
        alone = read(encoder, table, items[:, :visible], gaps[:, :visible], range(6), [visible] * 6)
        np.testing.assert_allclose(alone, states[:, visible - 1], rtol=1e-5, atol=1e-5)


def test_padding_behind_the_end_changes_nothing(encoder, table):
    items, gaps = draw(width=3)
    padded = np.pad(items, [(0, 0), (0, 4)], constant_values=UNKNOWN_ITEM), np.pad(gaps, [(0, 0), (0, 4)])
    expected = read(encoder, table, items, gaps, range(6), [3] * 6)
    np.testing.assert_allclose(read(encoder, table, *padded, range(6), [3] * 6), expected, rtol=1e-5, atol=1e-5)


def test_records_share_sequences_and_one_without_history_is_not_known(encoder, table):
    items, gaps = draw(num_sequences=2)
    states = read_all(encoder, table, items, gaps)
    owner, visible = [1, 0, 1, 1], [2, 7, 2, 0]
    histories = Histories(*(tf.constant(part, tf.int64) for part in (items, gaps, owner, visible)))
    found = encoder.read(histories, table)
    np.testing.assert_array_equal(found.known, [True, True, True, False])
    np.testing.assert_allclose(found.vectors[:3], states[[1, 0, 1], [1, 6, 1]], rtol=1e-5, atol=1e-5)


def test_an_unknown_item_is_a_vector_of_zeros_that_keeps_its_place(encoder, table):
    items, gaps = draw()
    unknown = items.copy()
    unknown[:, 2] = UNKNOWN_ITEM
    with_zeros = tf.concat([table, tf.zeros([1, ITEM_DIM])], axis=0)
    zero = items.copy()
    zero[:, 2] = NUM_ITEMS
    np.testing.assert_array_equal(read_all(encoder, table, unknown, gaps), read_all(encoder, with_zeros, zero, gaps))


def softmax(logits):
    exponents = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponents / exponents.sum(axis=-1, keepdims=True)


def norm(states, layer):
    gamma, beta = layer.get_weights()
    centred = states - states.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + layer.epsilon) * gamma + beta


def attend(states, layer):
    """Each place over itself and those before it, one place and head at a time."""
    query, query_bias, key, key_bias, value, value_bias, out, out_bias = layer.get_weights()
    total = np.tile(out_bias, [len(states), 1])
    for head in range(query.shape[1]):
        q, k, v = (
            states @ kernel[:, head] + bias[head]
            for kernel, bias in ((query, query_bias), (key, key_bias), (value, value_bias))
        )
        for place in range(len(states)):
            weights = softmax(k[: place + 1] @ q[place] / np.sqrt(q.shape[1]))
            total[place] += weights @ v[: place + 1] @ out[head]
    return total


def test_the_equations_in_numpy(encoder, table):
    items, gaps = draw(num_sequences=1)
    kernel, bias = encoder._project.get_weights()
    states = table.numpy()[items[0]] * np.sqrt(ITEM_DIM) @ kernel + bias
    states += encoder._places.numpy() + encoder._gaps.numpy()[gaps[0]]
    for block in encoder._blocks:
        states = states + attend(norm(states, block._norm), block._attend)
        (inner, inner_bias), (outer, outer_bias) = (layer.get_weights() for layer in block._inner)
        widened = np.maximum(norm(states, block._inner_norm) @ inner + inner_bias, 0.0)
        states = states + widened @ outer + outer_bias
    expected = norm(states, encoder._norm) / np.sqrt(WIDTH)
    np.testing.assert_allclose(read_all(encoder, table, items, gaps)[0], expected, rtol=1e-4, atol=1e-4)


def test_every_weight_is_trained(encoder, table):
    items, gaps = draw()
    with tf.GradientTape() as tape:
        owner, visible = (tf.constant(part.reshape(-1)) for part in np.indices(items.shape))
        histories = Histories(tf.constant(items), tf.constant(gaps), owner, visible + 1)
        loss = tf.reduce_sum(encoder.read(histories, table).vectors ** 3)
    for variable, gradient in zip(encoder.trainable_variables, tape.gradient(loss, encoder.trainable_variables)):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all(), variable.name
        # A bias of the keys moves all logits of a softmax alike.
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-6 or "key/bias" in variable.name, variable.name


SECOND = 1_000_000


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(-5, 1), (0, 1), (0.999999, 1), (1, 2), (1.9, 2), (2, 3), (2**20 - 1, 21), (2**20, 22), (2**31, 33), (2**40, 33)],
)
def test_gaps_fall_into_powers_of_two_of_seconds(seconds, bucket):
    gap = tf.constant([[round(seconds * SECOND)]], tf.int64)
    assert bucket_gaps(gap, tf.constant([[True]])).numpy().tolist() == [[bucket]]
    assert bucket_gaps(gap, tf.constant([[False]])).numpy().tolist() == [[UNKNOWN_GAP]]


def test_heads_share_the_width():
    with pytest.raises(ValueError, match=r"multiple of train.history.heads. Received: 4 and 3"):
        HistoryEncoder(HistoryConfig("transformer", heads=3), LENGTH, ITEM_DIM, WIDTH)
