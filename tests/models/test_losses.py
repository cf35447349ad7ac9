"""Losses by hand arithmetic and against loops over a plain B x B softmax."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_recommenders as tfrs

from recsys_ssl.models import losses


def unit_rows(rng, *shape):
    vectors = rng.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def loop_softmax(queries, items, positives, extra, temperature, log_proposal, weights):
    """Row i against every other candidate row of the batch, one at a time, without those of item i."""
    candidates = [*positives, *extra]
    total = 0.0
    for i, positive in enumerate(positives):
        logits = items @ queries[i] / temperature - log_proposal
        own = logits[positive]
        others = [logits[item] for j, item in enumerate(candidates) if j != i and item != positive]
        total -= weights[i] * np.log(np.exp(own) / (np.exp(own) + sum(np.exp(others))))
    return total / sum(weights) if sum(weights) else 0.0


def distinct_softmax(queries, items, positives, extra, temperature, log_proposal, weights):
    """The same arguments through the tested function: distinct items and their counts."""
    rows, position, counts = tf.unique_with_counts(tf.concat([positives, extra], 0))
    return losses.batch_softmax(
        queries,
        tf.gather(items, rows),
        position[: len(positives)],
        counts,
        temperature,
        None if log_proposal is None else tf.gather(log_proposal, rows),
        example_weight=weights,
    )


def make_case(seed=0, batch_size=12, num_items=7, num_extra=0, dim=4):
    rng = np.random.default_rng(seed)
    return {
        "queries": unit_rows(rng, batch_size, dim),
        "items": unit_rows(rng, num_items, dim),
        "positives": rng.integers(0, num_items, batch_size),
        "extra": rng.integers(0, num_items, num_extra),
        "temperature": 0.3,
        "log_proposal": np.log(rng.dirichlet(np.ones(num_items))),
        "weights": rng.random(batch_size),
    }


def to_tensors(case):
    floats = ("queries", "items", "log_proposal", "weights")
    return {name: tf.constant(value, tf.float32) if name in floats else value for name, value in case.items()}


CASES = {
    "duplicates": {},
    "distinct": {"num_items": 40, "batch_size": 5, "seed": 3},
    "one row": {"batch_size": 1},
    "all rows the same item": {"num_items": 1},
    "further candidates": {"num_extra": 9},
    "a further candidate is the positive": {"num_extra": 30, "num_items": 3},
    "sharp": {"temperature": 0.05},
    "equal weights": {"weights": np.ones(12)},
    "some weights 0": {"weights": np.array([0.0, 2.0] * 6)},
}


@pytest.mark.parametrize("name", CASES)
def test_batch_softmax_over_distinct_items_is_the_plain_batch_softmax(name):
    settings = dict(CASES[name])
    made = {key: settings.pop(key) for key in ("seed", "batch_size", "num_items", "num_extra") if key in settings}
    case = make_case(**made) | settings
    expected = loop_softmax(**case)
    np.testing.assert_allclose(distinct_softmax(**to_tensors(case)), expected, rtol=1e-5, atol=1e-6)


def test_without_a_proposal_nothing_is_corrected():
    case = make_case()
    expected = loop_softmax(**case | {"log_proposal": np.zeros(7)})
    np.testing.assert_allclose(distinct_softmax(**to_tensors(case) | {"log_proposal": None}), expected, rtol=1e-5)


def test_item_logits_add_to_the_scores_of_all_queries():
    """The same loss as from items one dimension longer and queries that end in the temperature."""
    case, bias = to_tensors(make_case(num_items=12)), tf.linspace(-2.0, 1.0, 12)
    longer_queries = tf.pad(case["queries"], [[0, 0], [0, 1]], constant_values=case["temperature"])
    longer_items = tf.concat([case["items"], bias[:, tf.newaxis]], 1)
    settings = [case["positives"], tf.ones(12, tf.int32), case["temperature"], case["log_proposal"]]
    expected = losses.batch_softmax(longer_queries, longer_items, *settings)
    found = losses.batch_softmax(case["queries"], case["items"], *settings, item_logits=bias)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(float(found - losses.batch_softmax(case["queries"], case["items"], *settings))) > 1e-3


def test_a_repeat_is_as_likely_as_the_sum_of_two_chances():
    """Query 0 has chosen its own item before, query 1 the other one: e^2 + e^1.5 and e^0 + e^-1."""
    repeats = tf.constant([[1, 0], [0, 0]], tf.int64), tf.constant([-1.0, 1.5])
    own, other = np.e**2 + np.e**1.5, 1 + np.e**-1
    expected = np.log((own + 1) / own) + np.log((np.e**2 + other) / np.e**2)
    assert two_by_two(repeats=repeats) == pytest.approx(expected / 2)
    # The prior and the correction of item 0, drawn thrice as often, are as ever; the prior is no part of r.
    own, other = (np.e ** (2 + 0.5) + np.e**1.5) / 0.75, (np.e**0.5 + np.e**-1) / 0.75
    losses_of = np.log((own + 1 / 0.25) / own), np.log((np.e**2 / 0.25 + other) / (np.e**2 / 0.25))
    log_proposal = np.log([0.75, 0.25]).tolist()
    found = two_by_two(repeats=repeats, item_logits=[0.5, 0.0], log_proposal=log_proposal)
    assert found == pytest.approx(np.mean(losses_of))
    nothing = tf.zeros([0, 2], tf.int64), tf.zeros([0])
    assert two_by_two(repeats=nothing) == two_by_two()


def test_without_weights_rows_weigh_the_same():
    case = make_case()
    expected = loop_softmax(**case | {"weights": np.ones(12)})
    np.testing.assert_allclose(distinct_softmax(**to_tensors(case) | {"weights": None}), expected, rtol=1e-5)


def two_by_two(**changes):
    """Two queries that equal their own items, which are orthogonal."""
    arguments = {"positives": [0, 1], "counts": [1, 1], "temperature": 0.5} | changes
    return float(
        losses.batch_softmax(
            tf.eye(2), tf.eye(2), **{k: tf.constant(v) if isinstance(v, list) else v for k, v in arguments.items()}
        )
    )


def test_batch_softmax_by_hand():
    assert two_by_two() == pytest.approx(np.log((np.e**2 + 1) / np.e**2))
    # The item of query 0 is drawn three times as often as the other, e.g. in a batch of four.
    corrected = [np.log(np.e**2 / q / (np.e**2 / q + 1 / p)) for q, p in ((0.75, 0.25), (0.25, 0.75))]
    assert two_by_two(log_proposal=np.log([0.75, 0.25]).tolist()) == pytest.approx(-np.mean(corrected))
    # Three other rows hold item 1; query 1 has one other row, that of item 0.
    expected = np.log((np.e**2 + 3) / np.e**2), np.log((np.e**2 + 1) / np.e**2)
    assert two_by_two(counts=[1, 3], example_weight=[0.25, 0.75]) == pytest.approx(
        0.25 * expected[0] + 0.75 * expected[1]
    )


def test_what_the_query_itself_chose_is_no_negative_by_hand():
    """Of items drawn 2, 3 and 1 times, one draw of the second and the only one of the third are of query 0 itself."""
    items, queries = tf.constant([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), tf.constant([[1.0, 0.0], [0.0, 1.0]])
    positives, counts = tf.constant([0, 1]), tf.constant([2, 3, 1])
    own = tf.constant([[1, 1, 1], [0, 1, 0]])
    found = losses.batch_softmax(queries, items, positives, counts, 0.5, own_counts=own)
    # Scores 2, 0, -2 and 0, 2, 0. Query 0: two draws of item 1 are left. Query 1: two of item 0 and one of item 2.
    first = np.log(np.exp(2.0) + 2 * np.exp(0.0)) - 2.0
    second = np.log(np.exp(2.0) + 2 * np.exp(0.0) + np.exp(0.0)) - 2.0
    np.testing.assert_allclose(found, (first + second) / 2, rtol=1e-6)


def test_a_query_without_any_other_negative_has_no_loss_and_a_finite_gradient():
    items, queries = tf.Variable([[1.0, 0.0], [0.0, 1.0]]), tf.Variable([[0.6, 0.8]])
    with tf.GradientTape() as tape:
        loss = losses.batch_softmax(
            queries, items, tf.constant([0]), tf.constant([1, 1]), 0.5, own_counts=tf.constant([[1, 1]])
        )
    assert float(loss) == 0.0
    for gradient in tape.gradient(loss, [queries, items]):
        np.testing.assert_array_equal(gradient, tf.zeros_like(gradient))


def test_all_weights_zero_is_no_loss_and_no_gradient():
    case = to_tensors(make_case()) | {"weights": tf.zeros(12)}
    with tf.GradientTape() as tape:
        tape.watch(case["queries"])
        loss = distinct_softmax(**case)
    assert float(loss) == 0.0
    assert (tape.gradient(loss, case["queries"]).numpy() == 0.0).all()


def test_a_proposal_that_is_off_by_a_factor_changes_nothing():
    case = to_tensors(make_case())
    np.testing.assert_allclose(
        distinct_softmax(**case), distinct_softmax(**case | {"log_proposal": case["log_proposal"] + 5.0}), rtol=1e-5
    )


def test_the_order_of_the_rows_does_not_matter():
    case = make_case(num_extra=4)
    order = np.random.default_rng(1).permutation(12)
    permuted = case | {name: case[name][order] for name in ("queries", "positives", "weights")}
    np.testing.assert_allclose(
        distinct_softmax(**to_tensors(case)), distinct_softmax(**to_tensors(permuted)), rtol=1e-6
    )


def test_the_gradient_is_that_of_the_loop():
    case = make_case(num_extra=5)
    tensors = to_tensors(case)
    with tf.GradientTape() as tape:
        tape.watch([tensors["queries"], tensors["items"]])
        loss = distinct_softmax(**tensors)
    gradients = dict(zip(("queries", "items"), tape.gradient(loss, [tensors["queries"], tensors["items"]])))
    for name, index in (("queries", (2, 1)), ("queries", (11, 0)), ("items", (0, 2)), ("items", (6, 3))):
        shifted = []
        for step in (1e-5, -1e-5):
            moved = case[name].copy()
            moved[index] += step
            shifted.append(loop_softmax(**case | {name: moved}))
        numeric = (shifted[0] - shifted[1]) / 2e-5
        gradient = tf.convert_to_tensor(gradients[name]).numpy()[index]
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-5)


# --- Self-supervision -----------------------------------------------------------------------------------


def loop_contrast(views, other_views, temperature):
    total = 0.0
    for i in range(len(views)):
        scores = [np.exp(views[i] @ other / temperature) for other in other_views]
        total -= np.log(scores[i] / sum(scores))
    return total / len(views)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
@pytest.mark.parametrize("num_items", [1, 2, 9])
def test_contrast_is_equation_3(num_items, temperature):
    rng = np.random.default_rng(num_items)
    views, other = unit_rows(rng, num_items, 4), unit_rows(rng, num_items, 4)
    loss = losses.contrast(tf.constant(views, tf.float32), tf.constant(other, tf.float32), temperature)
    np.testing.assert_allclose(loss, loop_contrast(views, other, temperature), rtol=1e-4, atol=1e-6)


def test_contrast_by_hand():
    swapped = tf.reverse(tf.eye(2), [0])
    assert float(losses.contrast(tf.eye(2), tf.eye(2), 0.5)) == pytest.approx(np.log((np.e**2 + 1) / np.e**2))
    assert float(losses.contrast(tf.eye(2), swapped, 0.5)) == pytest.approx(np.log(np.e**2 + 1))
    assert float(losses.contrast(tf.ones([5, 1]), tf.ones([5, 1]), 0.1)) == pytest.approx(np.log(5), rel=1e-5)


def test_contrast_has_one_direction():
    rng = np.random.default_rng(2)
    views, other = (tf.constant(unit_rows(rng, 5, 3), tf.float32) for _ in range(2))
    assert abs(float(losses.contrast(views, other, 0.1)) - float(losses.contrast(other, views, 0.1))) > 1e-3


def test_spread_out_is_contrast_with_oneself():
    views = unit_rows(np.random.default_rng(4), 6, 3)
    loss = losses.spread_out(tf.constant(views, tf.float32), 0.2)
    # s(z, z) is 1.
    expected = np.mean([np.log(np.exp(views[i] @ views.T / 0.2).sum()) - 1 / 0.2 for i in range(6)])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_the_square_form_sums_over_other_items():
    views = unit_rows(np.random.default_rng(4), 6, 3)
    expected = sum((views[i] @ views[j]) ** 2 for i in range(6) for j in range(6) if i != j) / 6
    np.testing.assert_allclose(losses.spread_out_square(tf.constant(views, tf.float32)), expected, rtol=1e-5)
    assert float(losses.spread_out_square(tf.eye(3))) == 0.0
    assert float(losses.spread_out_square(tf.ones([4, 1]))) == pytest.approx(4 * 3 / 4)
    assert float(losses.spread_out_square(tf.ones([1, 1]))) == 0.0


# --- All of them ----------------------------------------------------------------------------------------

LOSSES = {
    "batch_softmax": lambda x, y: losses.batch_softmax(
        x, y, tf.range(8), tf.fill([8], 3), 0.01, tf.linspace(-90.0, -0.0, 8), tf.ones(8)
    ),
    "contrast": lambda x, y: losses.contrast(x, y, 0.01),
    "spread_out": lambda x, y: losses.spread_out(x, 0.01) + 0.0 * tf.reduce_sum(y),
    "spread_out_square": lambda x, y: losses.spread_out_square(x) + 0.0 * tf.reduce_sum(y),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("alike", [False, True], ids=["apart", "all alike"])
def test_gradients_are_finite_and_graph_mode_agrees(name, alike):
    loss, rng = LOSSES[name], np.random.default_rng(0)
    x, y = (tf.constant(unit_rows(rng, 8, 4), tf.float32) for _ in range(2))
    if alike:
        x = y = tf.repeat(x[:1], 8, axis=0)
    with tf.GradientTape() as tape:
        tape.watch([x, y])
        value = loss(x, y)
    assert np.isfinite(value)
    for gradient in tape.gradient(value, [x, y]):
        assert np.isfinite(gradient).all()
    np.testing.assert_allclose(tf.function(loss)(x, y), value, rtol=1e-5, atol=1e-6)


def test_batch_softmax_equals_the_retrieval_task_of_tensorflow_recommenders():
    rng = np.random.default_rng(5)
    batch_size, items, temperature = 12, np.array([0, 1, 2, 2, 3, 1, 4, 5, 5, 5, 6, 0]), 0.1
    queries, catalogue = unit_rows(rng, batch_size, 4), unit_rows(rng, 7, 4)
    probability, weights = rng.uniform(0.05, 0.4, 7), rng.uniform(0.5, 2.0, batch_size)
    task = tfrs.tasks.Retrieval(temperature=temperature, remove_accidental_hits=True)
    summed = task(
        tf.constant(queries, tf.float32),
        tf.constant(catalogue[items], tf.float32),
        sample_weight=tf.constant(weights, tf.float32),
        candidate_sampling_probability=tf.constant(probability[items], tf.float32),
        candidate_ids=tf.constant(items.astype(str)),
        compute_metrics=False,
    )
    ours = losses.batch_softmax(
        tf.constant(queries, tf.float32),
        tf.constant(catalogue, tf.float32),
        tf.constant(items),
        tf.constant(np.bincount(items)),
        temperature,
        tf.constant(np.log(probability), tf.float32),
        example_weight=tf.constant(weights, tf.float32),
    )
    # The task sums over the batch; ours is the weighted mean.
    np.testing.assert_allclose(ours, summed / weights.sum(), rtol=1e-5)
