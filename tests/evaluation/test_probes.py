"""Probes on made vectors whose classes are known to be separable, or not."""

import math

import numpy as np
import pytest

from recsys_ssl.evaluation.labels import encode
from recsys_ssl.evaluation.probes import (
    Labelled,
    few_shot,
    few_shot_hits,
    linear,
    linear_hits,
    nearest,
    nearest_hits,
    summarise,
)

RNG = np.random.default_rng(0)


def clouds(num, spread, seed=0, scale=1.0):
    """Three clouds on three axes of ten; labels are texts."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.arange(num) % 3)
    vectors = 3.0 * np.eye(3, 10)[classes] + spread * rng.normal(size=[num, 10])
    return Labelled(scale * vectors, np.array(["a", "b", "c"])[classes])


TRAIN, TEST = clouds(240, 0.3, 1), clouds(90, 0.3, 2)
NOISE = (
    Labelled(RNG.normal(size=[240, 10]), TRAIN.labels),
    Labelled(RNG.normal(size=[300, 10]), np.repeat(["a", "b", "c"], 100)),
)


@pytest.mark.parametrize("probe", [lambda *of: linear(*of).mean, nearest, lambda *of: few_shot(*of, 5).mean])
def test_clouds_that_lie_apart_are_told_and_noise_is_not(probe):
    assert probe(TRAIN, TEST) > 0.99
    assert probe(*NOISE) == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / 300))


def test_the_scale_of_a_dimension_is_all_one_to_a_linear_probe():
    scales = 10.0 ** np.arange(-4, 6)
    hard = clouds(240, 2.0, 3), clouds(200, 2.0, 4)
    scaled = [Labelled(part.vectors * scales, part.labels) for part in hard]
    assert linear(*scaled, seeds=[0]).mean == pytest.approx(linear(*hard, seeds=[0]).mean, abs=0.01)
    assert few_shot(*scaled, 5, seeds=[0]).mean == pytest.approx(few_shot(*hard, 5, seeds=[0]).mean, abs=0.01)


def test_the_penalty_is_chosen_on_a_part_of_train():
    """With more dimensions than records little penalty fits noise; a seed may choose another."""
    rng = np.random.default_rng(5)
    labels = np.arange(120) % 2
    vectors = rng.normal(size=[120, 100])
    vectors[:, 0] += 1.5 * labels
    train, test = Labelled(vectors[:60], labels[:60]), Labelled(vectors[60:], labels[60:])
    chosen = linear(train, test, seeds=[0, 1, 2])
    each = [linear(train, test, seeds=[0], penalties=[C]).mean for C in (1e-3, 1e-2, 1e-1, 1.0)]
    assert set(chosen.of_seeds) <= set(each)
    assert linear(train, test, seeds=[0, 1, 2]) == chosen


def test_nearest_is_a_weighted_vote_by_cosine():
    train = Labelled(np.array([[1.0, 0.0], [9.0, 9.0], [0.0, 2.0]]), np.array([0, 1, 1]))
    test = Labelled(np.array([[5.0, 0.5], [0.1, 3.0]]), np.array([0, 1]))
    assert nearest(train, test, k=1) == 1.0
    # Of three neighbours two are of class 1, but exp(cos / 0.07) of the one of class 0 is more.
    lengths = np.linalg.norm(train.vectors, axis=1) * np.linalg.norm(test.vectors[0])
    cosines = train.vectors @ test.vectors[0] / lengths
    votes = np.exp(cosines / 0.07)
    assert votes[0] > votes[1] + votes[2]
    assert nearest(train, test, k=3) == 1.0


def test_few_labels_are_drawn_of_each_class_by_the_seed():
    hard = clouds(240, 2.0, 3), clouds(300, 2.0, 4)
    one, ten = few_shot(*hard, 1), few_shot(*hard, 10)
    assert len(one.of_seeds) == 10
    assert len(set(one.of_seeds)) > 3
    assert ten.mean > one.mean + 0.05
    assert few_shot(*hard, 1, seeds=[3, 4]).of_seeds == one.of_seeds[3:5]
    # All records of a class are taken where there are fewer.
    assert few_shot(TRAIN, TEST, 1000, seeds=[0]).mean == 1.0


def test_the_interval_is_of_student():
    found = summarise([0.5, 0.6, 0.7])
    # t of 2 degrees of freedom at 97.5% is 4.303.
    half = 4.3027 * 0.1 / math.sqrt(3)
    assert (found.mean, found.low, found.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half), rel=1e-4)
    assert summarise([0.9, 1.0]).high == 1.0
    assert math.isnan(summarise([0.5]).low)


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (Labelled(TRAIN.vectors[:5], TRAIN.labels), TEST, "train must have records"),
        (TRAIN, Labelled(TEST.vectors[:0], TEST.labels[:0]), "test must have records"),
        (TRAIN, Labelled(TEST.vectors * np.nan, TEST.labels), "finite. Received: others in test"),
        (TRAIN, Labelled(TEST.vectors[:, :4], TEST.labels), "Received: dims 10 and 4"),
        (TRAIN, Labelled(TEST.vectors, np.full(90, "z")), "classes of train only. Received: 'z'"),
        (Labelled(TEST.vectors, np.full(90, "a")), Labelled(TEST.vectors, np.full(90, "a")), "two classes or more"),
    ],
    ids=["lengths", "empty", "NaN", "dims", "class", "one class"],
)
def test_bad_records(train, test, message):
    for probe in (linear, nearest, lambda *of: few_shot(*of, 1)):
        with pytest.raises(ValueError, match=message):
            probe(train, test)


def test_bad_settings():
    with pytest.raises(ValueError, match="k must be in 1-240"):
        nearest(TRAIN, TEST, k=241)
    with pytest.raises(ValueError, match="shots must be 1 or more"):
        few_shot(TRAIN, TEST, 0)
    with pytest.raises(ValueError, match="there must be a seed"):
        linear(TRAIN, TEST, seeds=[])
    single = Labelled(TRAIN.vectors[:3], np.array(["a", "b", "c"]))
    with pytest.raises(ValueError, match="two records or more"):
        linear(single, single)


# --- Several labels a record ---------------------------------------------------------------------------

PROBES = {
    "linear": lambda *of: linear(*of, seeds=[0]).mean,
    "nearest": nearest,
    "few": lambda *of: few_shot(*of, 5).mean,
}


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_one_label_each_is_the_same_in_either_form(probe):
    hard = clouds(240, 2.0, 3), clouds(200, 2.0, 4)
    encoded = [Labelled(part.vectors, encode(part.labels.tolist())) for part in hard]
    assert probe(*encoded) == probe(*hard) < 0.95


def encode_both(of_train, of_test):
    """Labels of the same classes."""
    both = encode([*of_train, *of_test])
    return both.take(np.arange(len(of_train))), both.take(np.arange(len(of_train), both.num_rows))


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_a_record_is_right_if_one_of_its_classes_is_told(probe):
    """The first cloud has two classes, of which either may be told; the test is wrong to say b and c of another."""
    of_train = [["a", "also"] if label == "a" else [label] for label in TRAIN.labels]
    of_test = [["a", "also"] if label == "a" else [label] for label in TEST.labels]
    train, test = encode_both(of_train, of_test)
    assert probe(Labelled(TRAIN.vectors, train), Labelled(TEST.vectors, test)) == 1.0
    others = [["b", "c"] if label == "a" else [label] for label in TEST.labels]
    train, test = encode_both(of_train, others)
    found = probe(Labelled(TRAIN.vectors, train), Labelled(TEST.vectors, test))
    assert found == pytest.approx((TEST.labels != "a").mean())


def test_pairs_of_a_record_weigh_as_one():
    """At one place lie 8 records of a and 12 of b, c and d: 8 against 4 each, not against 12."""
    vectors = np.concatenate([np.zeros([20, 1]), np.ones([20, 1])])
    labels = encode(["a"] * 8 + [["b", "c", "d"]] * 12 + ["e"] * 20)
    train, first = Labelled(vectors, labels), Labelled(np.zeros([1, 1]), labels.take(np.array([0])))
    assert few_shot(train, first, 20, seeds=[0], penalty=100.0).mean == 1.0


def test_a_class_with_one_record_is_fitted_and_never_held_out():
    single = Labelled(np.concatenate([TRAIN.vectors, [[0.0] * 9 + [30.0]]]), np.concatenate([TRAIN.labels, ["rare"]]))
    assert linear(single, TEST, seeds=[0]).mean > 0.99


@pytest.mark.parametrize("seed", range(3))
def test_a_penalty_is_chosen_where_a_class_is_rare_or_classes_are_many(seed):
    rng = np.random.default_rng(seed)
    rare = np.where(np.arange(3000) < 2, "rare", "common")
    vectors = rng.normal(size=[3000, 3]) + 9.0 * (rare == "rare")[:, np.newaxis]
    found = linear(Labelled(vectors, rare), Labelled(vectors, rare), [seed], choose_among=100)
    assert found.mean > 0.99
    many = np.repeat([f"c{number:02}" for number in range(20)], 10)
    corners = np.repeat(np.eye(20), 10, axis=0) + 0.01 * rng.normal(size=[200, 20])
    assert linear(Labelled(corners, many), Labelled(corners, many), [seed], choose_among=15).mean == 1.0


def test_hits_are_of_each_test_record():
    hard = clouds(240, 2.0, 3), clouds(200, 2.0, 4)
    hits = linear_hits(*hard, seeds=[0, 1])
    assert hits.shape == (2, 200)
    assert hits.mean(axis=1).tolist() == linear(*hard, seeds=[0, 1]).of_seeds
    assert nearest_hits(*hard).mean() == nearest(*hard)
    assert few_shot_hits(*hard, 3, seeds=[4]).mean() == few_shot(*hard, 3, seeds=[4]).mean


def test_labels_of_other_forms_are_errors():
    encoded = Labelled(TRAIN.vectors, encode(TRAIN.labels.tolist()))
    with pytest.raises(TypeError, match="one of each"):
        linear(encoded, TEST)
    with pytest.raises(ValueError, match="of the same classes"):
        linear(encoded, Labelled(TEST.vectors, encode(["z"] * 90)))
    with pytest.raises(ValueError, match="one without in train"):
        linear(
            Labelled(TRAIN.vectors, encode([None, *TRAIN.labels[1:]])),
            Labelled(TEST.vectors, encode(TEST.labels.tolist())),
        )
