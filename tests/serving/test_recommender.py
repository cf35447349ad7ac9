"""What a model that reads times is given: whole numbers, -1 where nothing is known."""

from types import SimpleNamespace

import pytest
import tensorflow as tf

from recsys_ssl.serving.recommender import list_features, recommend

TIMES = {"history_us": tf.TensorSpec([None, None], tf.int64), "timestamp_us": tf.TensorSpec([None], tf.int64)}
OTHERS = {"k": tf.TensorSpec([], tf.int32), "exclude": tf.TensorSpec([None, None], tf.string)}


@pytest.fixture(scope="module")
def model():
    """Answers with the times that it was given, the query's first, as ids."""

    @tf.function
    def answer(**given):
        times = tf.concat([given["timestamp_us"][:, tf.newaxis], given["history_us"]], axis=1)
        return {"item_ids": tf.strings.as_string(times), "scores": tf.zeros(tf.shape(times))}

    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in (OTHERS | TIMES).items()}
    return SimpleNamespace(
        signatures={"recommend": answer.get_concrete_function(**specs)}, item_ids=tf.zeros([9], tf.string)
    )


def test_times_are_whole_and_padded_with_minus_one(model):
    assert sorted(list_features(model)) == ["history_us", "timestamp_us"]
    # A float of 32 or 64 bits would round the second.
    times = [1_700_000_000_000_001, 2**62 + 1]
    found = recommend(model, {"history_us": [times, []], "timestamp_us": [None, 7]}, k=9).item_ids
    assert found == [[str(time) for time in (-1, *times)] + ["-1"] * 6, ["7"] + ["-1"] * 8]


@pytest.mark.parametrize("time", [1.5, True, "2020"])
def test_a_time_that_is_no_whole_number_is_refused(model, time):
    with pytest.raises(TypeError, match=f"'timestamp_us' takes whole numbers. Received: {time!r}"):
        recommend(model, {"timestamp_us": [time]}, k=1)
