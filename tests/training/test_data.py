"""The stream of batches: a function of the seed and the step, whatever came before."""

import itertools

import numpy as np
import pytest

from recsys_ssl import examples
from recsys_ssl.features.batch import lay_out
from recsys_ssl.features.encoding import EncodedFeature
from recsys_ssl.training.data import count_examples, parse, stream

NUM_EXAMPLES, BATCH_SIZE = 103, 10
STEPS_PER_EPOCH = NUM_EXAMPLES // BATCH_SIZE
FEATURES = (
    EncodedFeature("taste", "query/taste", NUM_EXAMPLES),
    EncodedFeature("history", "item/id", 2 * NUM_EXAMPLES),
    EncodedFeature("face", "query/face", 0, dim=2),
)
(LAYOUT,), _ = lay_out([(FEATURES, [False, True, False])])


def event(row):
    """Every column tells the row."""
    return {
        "item_row": [row],
        "query_row": [row + 1000],
        "example_weight": [row / 4],
        "taste": [] if row % 5 == 0 else [row],
        "history": [row + i for i in range(row % 4)],
        "face": [] if row % 3 == 0 else [float(row), -float(row)],
    }


@pytest.fixture(scope="module")
def shards(tmp_path_factory, make_records):
    root = tmp_path_factory.mktemp("interactions")
    events = [event(row) for row in range(NUM_EXAMPLES)]
    batch = make_records({name: [event[name] for event in events] for name in events[0]})
    for shard, (start, stop) in enumerate(itertools.pairwise([0, 40, 41, 41 + 25, NUM_EXAMPLES])):
        examples.write_shard(batch.slice(start, stop - start), root, "train", f"part-{shard}")
    return examples.list_shards(root, "train")


def read(shards, num_steps, first_step=0, seed=0, shuffle_buffer=1000, same_as_items=False):
    """The batches of `num_steps` steps."""
    dataset = stream(
        shards,
        lambda serialized: parse(serialized, LAYOUT, same_as_items),
        BATCH_SIZE,
        NUM_EXAMPLES,
        shuffle_buffer,
        seed,
        first_step,
    )
    return list(itertools.islice(dataset, num_steps))


def rows_of(batches):
    return [batch.item_rows.numpy().tolist() for batch in batches]


def test_examples_are_counted(shards):
    assert count_examples(shards) == NUM_EXAMPLES
    assert count_examples(shards[1:2]) == 1


@pytest.mark.parametrize("shuffle_buffer", [1000, 16])
def test_an_epoch_has_every_example_at_most_once_and_each_epoch_its_own_order(shards, shuffle_buffer):
    rows = rows_of(read(shards, 3 * STEPS_PER_EPOCH, shuffle_buffer=shuffle_buffer))
    epochs = [list(itertools.chain(*rows[i : i + STEPS_PER_EPOCH])) for i in range(0, len(rows), STEPS_PER_EPOCH)]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == STEPS_PER_EPOCH * BATCH_SIZE
        assert set(epoch) <= set(range(NUM_EXAMPLES))
        assert epoch != sorted(epoch)
    assert epochs[0] != epochs[1] != epochs[2]
    # What does not fill a batch is left out, another example in each epoch.
    left_out = [frozenset(range(NUM_EXAMPLES)) - set(epoch) for epoch in epochs]
    assert len(set(left_out)) > 1


def test_a_big_shuffle_buffer_mixes_the_shards(shards):
    first = rows_of(read(shards, STEPS_PER_EPOCH))
    assert all(min(rows) < 41 and max(rows) >= 66 for rows in first)


@pytest.mark.parametrize("shuffle_buffer", [1000, 16])
def test_a_stream_that_begins_at_a_step_goes_on_as_if_never_interrupted(shards, shuffle_buffer):
    whole = rows_of(read(shards, 33, shuffle_buffer=shuffle_buffer))
    for first_step in (1, 9, 10, 11, 20, 25):
        resumed = rows_of(read(shards, 33 - first_step, first_step, shuffle_buffer=shuffle_buffer))
        assert resumed == whole[first_step:], first_step


def test_the_order_is_a_function_of_the_seed(shards):
    assert rows_of(read(shards, 12, seed=3)) == rows_of(read(shards, 12, seed=3))
    assert rows_of(read(shards, 12, seed=3)) != rows_of(read(shards, 12, seed=4))


def test_features_and_weights_stay_with_their_example(shards):
    for batch in read(shards, 4):
        query = batch.query
        assert int(query.num_records) == BATCH_SIZE
        assert (batch.query_rows.numpy() == 0).all()
        for record, row in enumerate(batch.item_rows.numpy().tolist()):
            expected = event(row)
            assert float(batch.example_weight[record]) == expected["example_weight"][0]
            mine = query.records.numpy() == record
            for slot, (name, offset) in enumerate((("taste", 0), ("history", NUM_EXAMPLES))):
                codes = query.codes.numpy()[mine & (query.slots.numpy() == slot)]
                assert codes.tolist() == [offset + code for code in expected[name]]
            np.testing.assert_array_equal(query.dense["face"][record], expected["face"] or [np.nan] * 2)


def test_queries_that_are_items_are_rows(shards):
    for batch in read(shards, 4, same_as_items=True):
        np.testing.assert_array_equal(batch.query_rows, batch.item_rows + 1000)
        assert int(batch.query.num_records) == 0
        assert len(batch.query.codes) == 0


def test_batches_have_a_static_size(shards):
    spec = stream(
        shards, lambda records: parse(records, LAYOUT, False), BATCH_SIZE, NUM_EXAMPLES, 10, 0, 0
    ).element_spec
    assert spec.item_rows.shape == spec.example_weight.shape == (BATCH_SIZE,)
