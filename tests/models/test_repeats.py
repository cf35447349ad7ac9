"""What items score for having been chosen before, against a loop over every query and item."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.features.batch import NO_HISTORY, History
from recsys_ssl.models.repeats import RepeatTerm

END_OF_KNOWN, TEMPERATURE = 30, 0.5
WEIGHT = (1.5, 0.25, -0.75)


def make_term(weight=WEIGHT):
    term = RepeatTerm(TEMPERATURE, 0, END_OF_KNOWN, num_items=100)
    term.weight.assign(weight)
    return term


def to_history(lists):
    codes = [code for chosen in lists for code in chosen]
    records = [record for record, chosen in enumerate(lists) for _ in chosen]
    return History(tf.constant(codes, tf.int64), tf.constant(records, tf.int64))


def logit_by_loop(chosen, code, weight=WEIGHT):
    """r of one item with one query, None where it has none; `chosen` oldest first."""
    count = sum(other == code for other in chosen)
    if count == 0 or code >= END_OF_KNOWN:
        return None
    age = next(age for age, other in enumerate(reversed(chosen)) if other == code)
    return weight[0] + weight[1] * math.log(count) + weight[2] * math.log(1 + age)


@pytest.fixture(scope="module")
def lists():
    """Histories of 0 to 40 choices among 32 items, of which the last two are unknown ones."""
    rng = np.random.default_rng(0)
    return [[], *(rng.integers(0, END_OF_KNOWN + 2, length).tolist() for length in (1, 40, 0, 3, 7, 25)), []]


def loop_pairs(lists, candidates):
    """(query, position of the candidate) -> r, where there is one."""
    pairs = itertools.product(range(len(lists)), range(len(candidates)))
    found = {pair: logit_by_loop(lists[pair[0]], candidates[pair[1]]) for pair in pairs}
    return {pair: logit for pair, logit in found.items() if logit is not None}


def to_dict(pairs, logits):
    assert len({tuple(pair) for pair in pairs.numpy().tolist()}) == len(pairs)
    return dict(zip(map(tuple, pairs.numpy().tolist()), logits.numpy().tolist()))


@pytest.mark.parametrize("candidates", [[3], [31, 0, 12, 5, 29, 30], list(range(31, -1, -1))])
def test_the_candidates_that_were_chosen_before_are_those_of_a_loop(lists, candidates):
    arguments = to_history(lists), tf.constant(len(lists), tf.int64), tf.constant(candidates, tf.int64)
    expected, term = loop_pairs(lists, candidates), make_term()
    assert expected
    assert to_dict(*term.find(*arguments)) == pytest.approx(expected, rel=1e-5)
    assert to_dict(*tf.function(term.find)(*arguments)) == pytest.approx(expected, rel=1e-5)


def test_choices_count_by_number_and_age():
    # Of 5, 7, 5, 9 the item 5 was chosen twice, the last time one choice ago; 7 once, two choices ago.
    candidates = tf.constant([9, 7, 5, 8], tf.int64)
    found = to_dict(*make_term().find(to_history([[5, 7, 5, 9]]), tf.constant(1, tf.int64), candidates))
    ages = {(0, 0): 0, (0, 1): 2, (0, 2): 1}
    expected = {pair: 1.5 - 0.75 * math.log(1 + age) for pair, age in ages.items()}
    expected[0, 2] += 0.25 * math.log(2)
    assert found == pytest.approx(expected)


def test_the_scores_are_those_of_every_known_item_of_a_history(lists):
    choices, scores = make_term().score(to_history(lists), tf.constant(len(lists), tf.int64))
    flat = [(record, code) for record, chosen in enumerate(lists) for code in chosen]
    found = list(zip(choices.records.numpy().tolist(), choices.codes.numpy().tolist()))
    assert sorted(found) == sorted({(record, code) for record, code in flat if code < END_OF_KNOWN})
    assert [record for record, _ in found] == sorted(record for record, _ in found)
    expected = [TEMPERATURE * logit_by_loop(lists[record], code) for record, code in found]
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)
    # The place is the last one of its item.
    for pair, place in zip(found, choices.places.numpy()):
        assert flat[place] == pair
        assert pair not in flat[place + 1 :]


def test_without_histories_nothing_was_chosen_before():
    term, num_records = make_term(), tf.constant(2, tf.int64)
    for history in (to_history([[], []]), NO_HISTORY):
        assert len(term.find(history, num_records, tf.constant([4, 2], tf.int64))[1]) == 0
        assert len(term.score(history, num_records)[1]) == 0


def test_the_gradient_of_the_weight_is_what_it_weighs(lists):
    candidates, term = list(range(0, 30, 2)), make_term()
    with tf.GradientTape() as tape:
        _, logits = term.find(to_history(lists), tf.constant(len(lists), tf.int64), tf.constant(candidates, tf.int64))
        total = tf.reduce_sum(logits)
    pairs = loop_pairs(lists, candidates)
    expected = [
        sum(logit_by_loop(lists[query], candidates[position], unit) for query, position in pairs)
        for unit in np.eye(3).tolist()
    ]
    np.testing.assert_allclose(tape.gradient(total, term.weight), expected, rtol=1e-5)


def test_at_first_each_item_of_a_history_has_a_hundredth_of_the_chance_of_all_items_together():
    """1,000 items of logit 0 have e^0 * 1,000 together."""
    weight = RepeatTerm(TEMPERATURE, 0, END_OF_KNOWN, num_items=1000).weight.numpy().tolist()
    assert math.exp(logit_by_loop([4], 4, weight)) == pytest.approx(1000 / 100)
    assert math.exp(logit_by_loop([4, 4], 4, weight)) == pytest.approx(2 * 1000 / 100)
