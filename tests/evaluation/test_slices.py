import numpy as np
import pytest

from recsys_ssl.evaluation.slices import ITEM_SLICES, item_slices, query_groups, share_by_slice


def names(counts):
    return [ITEM_SLICES[index] for index in item_slices(np.array(counts))]


def test_hand_arithmetic():
    # 10 trained items: head = 1 of them; the other 9 hold 50 events, of which 80% = 40 = 20 + 10 + 6 + 4.
    counts = [0, 100, 20, 10, 6, 4, 4, 2, 2, 1, 1, 0]
    expected = ["cold", "head", *["torso"] * 4, *["tail"] * 5, "cold"]
    assert names(counts) == expected


def test_the_item_that_reaches_the_mass_is_torso():
    # The rest holds 10: 7 is less than 8, so the next item (7 + 2 >= 8) is torso too.
    assert names([50, 7, 2, 1]) == ["head", "torso", "torso", "tail"]


def test_head_is_rounded_up():
    assert names([3]) == ["head"]
    assert names([1] * 11).count("head") == 2
    assert names([1] * 20).count("head") == 2


def test_equal_counts_are_ordered_by_row():
    assert names([1] * 11)[:2] == ["head", "head"]


@pytest.mark.parametrize("counts", [[0, 0, 0], []], ids=["untrained", "empty"])
def test_without_training_everything_is_cold(counts):
    assert names(counts) == ["cold"] * len(counts)


def test_slices_follow_the_order_of_counts():
    counts = np.random.default_rng(0).zipf(1.6, 500) - 1
    slices = item_slices(counts)
    assert (np.diff(slices[np.argsort(-counts, kind="stable")]) >= 0).all()
    assert ((slices == ITEM_SLICES.index("cold")) == (counts == 0)).all()


def test_frequent_values_come_first_and_rare_ones_are_joined():
    values = np.array(["b"] * 150 + ["a"] * 47 + ["", ""] + ["x", "y"][:1], object)
    index, group_names = query_groups(values)
    assert group_names == ["b", "a", "(missing)", "other"]  # 2 of 200 is 1%, 1 of 200 is less
    assert np.bincount(index).tolist() == [150, 47, 2, 1]


def test_without_rare_values_there_is_no_other():
    index, group_names = query_groups(np.array(["u", "v", "u"], object))
    assert group_names == ["u", "v"]
    assert index.tolist() == [0, 1, 0]


def test_values_that_are_called_as_what_is_joined_stay_apart():
    values = np.array(["other"] * 150 + ["(missing)"] * 47 + ["", ""] + ["x"], object)
    index, group_names = query_groups(values)
    assert group_names == ["other", "(missing)", "((missing))", "(other)"]
    assert np.bincount(index).tolist() == [150, 47, 2, 1]


def test_values_of_one_frequency_are_ordered_by_name():
    names = [f"v{i:02}" for i in range(60)]
    values = np.array(names[::2] * 3 + names[1::2] * 5, object)
    assert query_groups(np.random.default_rng(0).permutation(values))[1] == names[1::2] + names[::2]


def test_shares_leave_out_places_without_an_item():
    slices = np.array([0, 1, 3, 3])
    assert share_by_slice(np.array([[0, 2, 3], [1, -1, -1]]), slices).tolist() == [1 / 4, 1 / 4, 0, 2 / 4]
    assert share_by_slice(np.array([[-1]]), slices).tolist() == [0, 0, 0, 0]
