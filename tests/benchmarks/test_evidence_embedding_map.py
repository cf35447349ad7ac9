import itertools
import json
import math

import numpy as np
import pytest

from benchmarks.evidence import embedding_map, tables
from benchmarks.evidence.embedding_map import SHUFFLED
from benchmarks.evidence.measurements import FILES, load_measurements


def test_the_accuracy_is_that_of_the_best_assignment_by_hand():
    #                     a  a  a  b  b  c
    codes = np.array([0, 0, 0, 1, 1, 2])
    clusters = np.array([7, 7, 9, 9, 9, 9])
    # 7 -> a finds two, 9 -> b finds two; c has no cluster of its own.
    assert embedding_map.measure_accuracy(clusters, codes) == pytest.approx(4 / 6)


def test_the_accuracy_is_that_of_the_best_of_all_assignments():
    rng = np.random.default_rng(0)
    codes, clusters = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    assignments = itertools.permutations(range(4))
    best = max(np.mean(np.array(names)[clusters] == codes) for names in assignments)
    assert embedding_map.measure_accuracy(clusters, codes) == pytest.approx(best)


@pytest.mark.parametrize(
    ("clusters", "expected"),
    [
        ([5, 5, 3, 3], {"nmi": 1.0, "ami": 1.0, "accuracy": 1.0}),
        # Each cluster is half of each category: they tell nothing.
        ([0, 1, 0, 1], {"nmi": 0.0, "accuracy": 0.5}),
        ([0, 0, 0, 0], {"nmi": 0.0, "ami": 0.0, "accuracy": 0.5}),
        # H(codes) = log 2, H(clusters) = 2 log 2, and the clusters tell all: 2 log 2 / (log 2 + 2 log 2).
        ([0, 1, 2, 3], {"nmi": 2 / 3, "accuracy": 0.5}),
    ],
    ids=["same", "independent", "one_cluster", "singletons"],
)
def test_agreement_of_known_partitions(clusters, expected):
    found = embedding_map.measure_agreement(np.array(clusters), np.array([0, 0, 1, 1]))
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_agreement_does_not_change_with_the_order_of_the_items():
    rng = np.random.default_rng(1)
    codes, clusters, order = rng.integers(0, 5, 80), rng.integers(0, 6, 80), rng.permutation(80)
    found = embedding_map.measure_agreement(clusters, codes)
    assert embedding_map.measure_agreement(clusters[order], codes[order]) == pytest.approx(found)


def test_separate_clusters_are_found_and_shuffled_categories_agree_by_chance_only():
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(4), 100)
    embeddings = 10.0 * np.eye(4)[codes] + rng.normal(0.0, 0.1, [400, 4])
    found, chance = embedding_map.judge_clusters(embeddings, codes)
    assert found == pytest.approx({"nmi": 1.0, "ami": 1.0, "accuracy": 1.0})
    assert 0.0 < chance["nmi"] < 0.05
    assert abs(chance["ami"]) < 0.02
    assert 0.25 < chance["accuracy"] < 0.35


def test_rare_and_unknown_categories_are_none_and_the_rest_is_numbered_by_frequency():
    codes = np.array([2] * 60 + [0] * 30 + [1] * 1 + [-1] * 5 + [3] * 4)  # 3 is beyond the vocabulary
    labels = embedding_map.keep_frequent(codes, ["few", "one", "most"], least_share=0.02)
    assert labels.names == ("most", "few")
    np.testing.assert_array_equal(labels.codes, [0] * 60 + [1] * 30 + [-1] * 10)


def test_the_least_share_is_of_all_items():
    codes = np.array([0] * 98 + [1, 1])
    assert embedding_map.keep_frequent(codes, ["a", "b"], least_share=0.02).names == ("a", "b")
    assert embedding_map.keep_frequent(codes, ["a", "b"], least_share=0.021).names == ("a",)


def test_items_are_split_by_whether_they_were_trained():
    codes = np.repeat([0, -1, 1], 100)
    counts = np.tile([0, 3], 150)
    parts = embedding_map.split_items(codes, counts)
    np.testing.assert_array_equal(parts["all"], [*range(100), *range(200, 300)])
    np.testing.assert_array_equal(parts["cold"], [*range(0, 100, 2), *range(200, 300, 2)])
    np.testing.assert_array_equal(parts["trained"], [*range(1, 100, 2), *range(201, 300, 2)])


def test_too_few_cold_items_are_left_out():
    counts = np.ones(200, np.int64)
    counts[:10] = 0
    assert list(embedding_map.split_items(np.zeros(200, np.int64), counts)) == ["all", "trained"]


def test_scores_are_means_over_seeds_with_students_interval():
    half = 4.302653 * 0.1 / math.sqrt(3)  # t at 97.5% with two degrees of freedom; the deviation is 0.1
    found = embedding_map.average([{"nmi": 0.4}, {"nmi": 0.5}, {"nmi": 0.6}])
    assert found["nmi"] == pytest.approx([0.5, half], abs=1e-5)
    assert embedding_map.average([{"nmi": 0.4}]) == {"nmi": [0.4, None]}


def test_the_map_is_small_and_the_same_numbers_give_the_same_bytes(tmp_path):
    rng = np.random.default_rng(3)
    codes = rng.integers(-1, 10, 120)
    embeddings = {arm: rng.normal(size=[120, 8]).astype(np.float32) for arm in embedding_map.ARMS}
    labels = embedding_map.Labels(codes, tuple("abcdefghij"))
    first, second = (embedding_map.draw(embeddings, labels, tmp_path / name / "map.png") for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 150_000


def test_the_table_has_a_row_per_part_and_arm(tmp_path):
    assert "not measured yet" in tables.RENDERERS["embeddings"]({})
    scores = {"nmi": [0.25, 0.03], "ami": [0.2, None], "accuracy": [0.3, 0.01]}
    arms = (SHUFFLED, *embedding_map.ARMS)
    found = {
        "feature": "category",
        "categories": 24,
        "items": {"all": 3395, "cold": 448},
        "labels": {arm: f"label of {arm}" for arm in arms},
        "seeds": 3,
        "scores": {part: dict.fromkeys(arms, scores) for part in ("all", "cold")},
    }
    path = tmp_path / FILES["embeddings"]
    path.parent.mkdir()
    path.write_text(json.dumps({"frappe": found}))
    text = tables.RENDERERS["embeddings"](load_measurements(tmp_path))
    rows = [line for line in text.splitlines() if line.startswith("| Frappe")]
    assert len(rows) == 2 * len(arms)
    assert rows[1] == "| Frappe, `category` | all (3,395) | label of none | 0.250 ± 0.030 | 0.200 | 0.300 ± 0.010 |"
    assert "(Frappe 24)" in text
