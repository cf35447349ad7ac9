"""Tensors of arrays: equal to TensorFlow's own, and gone with the request."""

import gc
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.serving.eager import to_tensor
from recsys_ssl.serving.served_model import Question

ARRAYS = {
    "texts": np.array([[b"a", b""], [b"", b"\xff"]], object),
    "a text": np.array([b"u1"], object),
    "no texts": np.empty((0, 8), object),
    "numbers": np.float32([[0.5, np.nan]]),
    "no numbers": np.empty((0, 3), np.float32),
    "k": np.array([3, 4], np.int32),
    "a scalar": np.array(7, np.int32),
    "times": np.array([-1, 2**60], np.int64),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_it_is_the_tensor_of_the_array(array):
    expected = tf.constant(array, tf.string if array.dtype == object else array.dtype)
    found = to_tensor(array)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(found.numpy(), array)


def test_it_outlives_the_array():
    tensors = [to_tensor(np.full((4, 1024), value, np.float32)) for value in range(20)]
    gc.collect()
    others = [np.full((4, 1024), -1.0, np.float32) for _ in range(20)]
    np.testing.assert_array_equal([tensor.numpy()[0, 0] for tensor in tensors], range(20))
    assert len(others) == 20


KEPT_OF_A_CONSTANT = 300
"""Bytes, fewer than what `tf.constant` keeps of a single tensor; threads of the server make some of their own."""


def measure_growth(call, times=300):
    """Bytes of Python that stay after each call."""
    for _ in range(50):
        call()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(times):
            call()
        gc.collect()
        return (tracemalloc.get_traced_memory()[0] - before) / times
    finally:
        tracemalloc.stop()


def test_nothing_of_a_request_stays(server):
    model = server.running.models.get("films")
    taste = np.ones((1, 8), np.float32)
    row = {"user": np.array([b"u1"], object), "taste": taste, "history": np.array([[b"film-1"]], object)}
    row |= {"k": np.array([3], np.int32), "exclude": np.array([[b""]], object)}
    assert measure_growth(lambda: model.predict("", [row])) < KEPT_OF_A_CONSTANT
    for question in (Question({"taste": taste[0].tolist()}), Question(None, "u3", ("film-7",))):
        assert measure_growth(lambda question=question: model.answer([question], 5, None)) < KEPT_OF_A_CONSTANT
