import numpy as np
import pytest

from recsys_ssl.evaluation import labels
from recsys_ssl.evaluation.labels import LEFT_OUT, TEST, TRAIN


def test_texts_and_lists_become_codes_of_sorted_classes():
    found = labels.encode(["b", None, ["c", "a", "c"], "", [], "a"])
    assert found.classes == ("a", "b", "c")
    assert [found.names(row) for row in range(found.num_rows)] == [["b"], [], ["c", "a"], [], [], ["a"]]
    assert found.counts.tolist() == [1, 0, 2, 0, 0, 1]


def test_labels_of_some_rows_in_any_order():
    found = labels.encode([["a", "b"], None, "c", ["b", "c"]]).take(np.array([3, 0, 1]))
    assert [found.names(row) for row in range(3)] == [["b", "c"], ["a", "b"], []]
    assert found.classes == ("a", "b", "c")
    assert labels.encode(["a"]).take(np.array([], int)).num_rows == 0


def test_rare_classes_are_left_out_and_their_rows_with_them():
    """Of five rows with a label a share of 0.4 is two."""
    found = labels.keep_frequent(labels.encode(["a", ["b", "a"], None, "c", ["b", "d"], "b"]), 0.4)
    assert found.classes == ("a", "b")
    assert [found.names(row) for row in range(6)] == [["a"], ["b", "a"], [], [], ["b"], ["b"]]
    assert labels.keep_frequent(labels.encode([None, None]), 0.4).num_rows == 2


def test_a_split_leaves_out_what_has_no_label_and_is_a_function_of_the_seed():
    of = labels.encode([None if row % 10 == 0 else str(row % 3) for row in range(1000)])
    part = labels.split_rows(of, 0.3, seed=1)
    assert set(np.flatnonzero(part == LEFT_OUT)) == set(range(0, 1000, 10))
    assert (part == TEST).sum() == pytest.approx(900 * 0.3, abs=3 * np.sqrt(900 * 0.3 * 0.7))
    assert np.array_equal(part, labels.split_rows(of, 0.3, seed=1))
    assert not np.array_equal(part, labels.split_rows(of, 0.3, seed=2))


@pytest.mark.parametrize("seed", range(5))
def test_every_class_has_a_row_to_train_on(seed):
    of = labels.encode([*(["common"] * 50), *([["rare", "common"]] * 2), *map(str, range(20))])
    part = labels.split_rows(of, 0.9, seed)
    labels.check_split(of, part)  # raises where a class has none
    assert (part == TEST).sum() > 20


@pytest.mark.parametrize(
    ("values", "message"),
    [([None, None], "rows must have labels. Received: none for 2 rows"), (["a", "a"], "Received: 'a' alone")],
    ids=["none", "one class"],
)
def test_nothing_to_tell_apart_is_an_error(values, message):
    with pytest.raises(ValueError, match=message):
        labels.check_classes(labels.encode(values))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ([TEST, TEST, TEST], "train must have rows with a label"),
        ([TRAIN, TRAIN, TRAIN], "test must have rows with a label"),
        ([TRAIN, TRAIN], "Received: 2 parts of 3 rows"),
        ([TRAIN, TRAIN, TEST], "Received: 1 without, the first 'c'. Move a row of it to train"),
    ],
    ids=["no train", "no test", "length", "a class of test alone"],
)
def test_a_split_that_cannot_be_scored_is_an_error(part, message):
    with pytest.raises(ValueError, match=message):
        labels.check_split(labels.encode(["a", ["a", "b"], ["b", "c"]]), np.array(part, np.int8))


def test_a_row_of_train_or_test_without_a_label_is_an_error():
    found = labels.encode(["a", "b", None, "a", "b", None])
    labels.check_split(found, np.array([TRAIN, TRAIN, LEFT_OUT, TEST, TEST, LEFT_OUT], np.int8))
    with pytest.raises(ValueError, match="must have a label. Received: 1 without. Leave them out"):
        labels.check_split(found, np.array([TRAIN, TRAIN, LEFT_OUT, TEST, TEST, TEST], np.int8))


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_that_leaves_no_rows_is_an_error(share):
    with pytest.raises(ValueError, match="the share of test must lie in"):
        labels.split_rows(labels.encode(["a", "b"]), share)
