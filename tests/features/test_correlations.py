import itertools
import json
from collections import Counter, defaultdict
from math import log

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.metrics import mutual_info_score

from recsys_ssl import examples
from recsys_ssl.features import correlations
from recsys_ssl.features.correlations import Correlate, Correlations, correlate

LISTS = pa.large_list(pa.int64())


def make_batch(columns):
    """{feature: one list of indices per item} as transformed records."""
    return pa.RecordBatch.from_pydict({name: pa.array(lists, LISTS) for name, lists in columns.items()})


def write_catalogue(path, columns, shard_size):
    batch = make_batch(columns)
    for start in range(0, len(batch), shard_size):
        examples.write_shard(batch.slice(start, shard_size), path, "catalogue", f"part-{start:06d}")
    return str(path)


def correlate_lists(columns):
    """The same functions as the Beam job calls, without Beam."""
    batch, features = make_batch(columns), tuple(columns)
    groups = defaultdict(list)
    for key, counts in correlations.count_batch(batch, features, num_partitions=4):
        groups[key].append(counts)
    sums = correlations.merge_sums(correlations.sum_counts(group) for group in groups.items())
    return correlations.conclude(sums, features)


def singles(values):
    return [[int(value)] for value in values]


def entropy(shares):
    return -sum(share * log(share) for share in shares)


def slow_information(left, right):
    """The definition, one value pair at a time."""
    pairs, lefts, rights = Counter(), Counter(), Counter()
    for f, g in zip(left, right, strict=True):
        f, g = f or ["missing"], g or ["missing"]
        for v in f:
            for w in g:
                share = 1 / (len(f) * len(g) * len(left))
                pairs[v, w] += share
                lefts[v] += share
                rights[w] += share
    return sum(p * log(p / (lefts[v] * rights[w])) for (v, w), p in pairs.items())


def random_lists(num_items, vocabulary, longest, seed):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, vocabulary, rng.integers(0, longest + 1)).tolist() for _ in range(num_items)]


# --- By hand ----------------------------------------------------------------------------------------


def test_single_values_by_hand():
    # Pairs (0,0) x2, (0,1), (1,1): P(f) = 3/4, 1/4; P(g) = 1/2, 1/2.
    result = correlate_lists({"f": singles([0, 0, 0, 1]), "g": singles([0, 0, 1, 1])})
    h_f, h_g, h_fg = entropy([3 / 4, 1 / 4]), log(2), entropy([1 / 2, 1 / 4, 1 / 4])
    np.testing.assert_allclose(result.entropies, [h_f, h_g])
    information = h_f + h_g - h_fg
    np.testing.assert_allclose(result.mutual_information, [[h_f, information], [information, h_g]])
    ratio = information / (h_f * h_g) ** 0.5
    np.testing.assert_allclose(result.normalised, [[1, ratio], [ratio, 1]])
    assert result.num_items == 4
    assert result.distinct_values == (2, 2)


def test_several_values_share_the_weight_of_their_item():
    # Item 0 has f in {1, 2}, g = 1, item 1 has f = 1, g = 2: P(1,1) = 1/4, P(2,1) = 1/4, P(1,2) = 1/2.
    result = correlate_lists({"f": [[1, 2], [1]], "g": [[1], [2]]})
    h_f, h_g, h_fg = entropy([3 / 4, 1 / 4]), log(2), entropy([1 / 4, 1 / 4, 1 / 2])
    np.testing.assert_allclose(result.entropies, [h_f, h_g])
    assert result.mutual_information[0, 1] == pytest.approx(h_f + h_g - h_fg)


def test_a_value_listed_twice_counts_twice():
    result = correlate_lists({"f": [[5, 5, 6], [6]]})
    assert result.entropies[0] == pytest.approx(entropy([2 / 6, 4 / 6]))


def test_missing_is_a_value_of_its_own():
    # Index 0 is not "missing".
    result = correlate_lists({"f": [[], [], [0], [0]], "g": [[3], [3], [4], [4]]})
    np.testing.assert_allclose(result.mutual_information, log(2))
    assert result.distinct_values == (2, 2)


def test_constant_and_empty_features_tell_nothing():
    columns = {"constant": singles([7, 7, 7]), "empty": [[], [], []], "id": singles([0, 1, 2])}
    result = correlate_lists(columns)
    np.testing.assert_allclose(result.mutual_information, np.diag([0, 0, log(3)]), atol=1e-12)
    np.testing.assert_allclose(result.normalised, np.diag([0, 0, 1.0]))


# --- Against other implementations ------------------------------------------------------------------------


def test_beam_job_equals_the_definition(tmp_path):
    columns = {
        "single": singles(np.random.default_rng(0).integers(0, 7, 150)),
        "text": random_lists(150, 40, 12, seed=1),
        "tags": random_lists(150, 9, 4, seed=2),
    }
    catalogue_dir = write_catalogue(tmp_path / "catalogue", columns, shard_size=60)
    result = correlate(catalogue_dir, list(columns), str(tmp_path / "out"))
    assert result.num_items == 150
    assert result.feature_names == ("single", "text", "tags")
    for (f, left), (g, right) in itertools.permutations(enumerate(columns.values()), 2):
        assert result.mutual_information[f, g] == pytest.approx(slow_information(left, right), abs=1e-10)


def test_equals_scikit_learn_for_single_values():
    rng = np.random.default_rng(0)
    f = rng.integers(0, 12, 500)
    g = (f // 3 + rng.integers(0, 3, 500)) % 5
    result = correlate_lists({"f": singles(f), "g": singles(g)})
    assert result.mutual_information[0, 1] == pytest.approx(mutual_info_score(f, g), abs=1e-10)


# --- Properties -------------------------------------------------------------------------------------------


def test_identical_features_share_their_entropy():
    values = np.random.default_rng(0).integers(0, 30, 300)
    result = correlate_lists({"f": singles(values), "copy": singles(values), "renamed": singles(values * 3 + 1)})
    np.testing.assert_allclose(result.mutual_information, mutual_info_score(values, values))
    np.testing.assert_allclose(result.normalised, 1.0)


def test_independent_features_share_nothing():
    # Every pair of values occurs equally often, so that the estimate has no bias.
    f, g = np.meshgrid(np.arange(8), np.arange(9))
    result = correlate_lists({"f": singles(f.ravel()), "g": singles(g.ravel())})
    assert result.mutual_information[0, 1] == pytest.approx(0.0, abs=1e-12)


def test_order_of_items_and_values_does_not_matter():
    f, g = random_lists(80, 10, 5, seed=1), random_lists(80, 6, 3, seed=2)
    order = np.random.default_rng(3).permutation(80)
    first = correlate_lists({"f": f, "g": g})
    second = correlate_lists({"f": [f[i][::-1] for i in order], "g": [g[i] for i in order]})
    assert first.to_json() == second.to_json()


@pytest.fixture(scope="module")
def ragged(tmp_path_factory):
    columns = {"f": random_lists(200, 30, 9, seed=1), "g": random_lists(200, 12, 6, seed=2), "h": singles(range(200))}
    root = tmp_path_factory.mktemp("ragged")
    catalogue_dir = write_catalogue(root / "catalogue", columns, shard_size=70)
    return catalogue_dir, tuple(columns), correlate(catalogue_dir, columns, str(root / "out"))


@pytest.mark.parametrize(("batch_size", "num_partitions"), [(1, 2), (33, 64), (4096, 16)])
def test_batches_and_partitions_change_nothing(ragged, tmp_path, batch_size, num_partitions):
    catalogue_dir, features, expected = ragged
    with beam.Pipeline() as root:
        _ = root | Correlate(catalogue_dir, features, str(tmp_path), batch_size, num_partitions)
    assert (tmp_path / "correlations.json").read_text() == expected.to_json()


@pytest.mark.parametrize("block_size", [1, 40, 1 << 20])
def test_blocks_change_nothing(ragged, block_size):
    catalogue_dir, features, _ = ragged
    (records,) = examples.read_batches(examples.list_shards(catalogue_dir, "catalogue")[:1])
    expected = dict(correlations.count_batch(records, features, 4))
    counts = dict(correlations.count_batch(records, features, 4, block_size))
    assert counts.keys() == expected.keys()
    for key, (keys, weights) in counts.items():
        np.testing.assert_array_equal(keys, expected[key][0])
        np.testing.assert_allclose(weights, expected[key][1])


def test_partitions_are_disjoint_and_complete(ragged):
    catalogue_dir, features, _ = ragged
    (records,) = examples.read_batches(examples.list_shards(catalogue_dir, "catalogue")[:1])
    counts = dict(correlations.count_batch(records, features, 8))
    pairs = set()
    for f, g in zip(records["f"].to_pylist(), records["g"].to_pylist(), strict=True):
        pairs |= set(itertools.product(f or ["missing"], g or ["missing"]))
    keys = np.concatenate([counts[0, 1, partition][0] for partition in range(8)])
    assert len(np.unique(keys)) == len(keys) == len(pairs)
    weight = sum(counts[0, 1, partition][1].sum() for partition in range(8))
    assert weight == pytest.approx(len(records))


def test_largest_index_is_kept_apart():
    largest = 2**32 - 2
    result = correlate_lists({"f": singles([0, largest, 1, largest]), "g": singles([largest, 0, 1, 2])})
    assert result.distinct_values == (3, 4)
    assert result.mutual_information[0, 1] == pytest.approx(entropy([1 / 4, 1 / 4, 1 / 2]))


# --- Near-unique features, files --------------------------------------------------------------------------


def test_near_unique_by_values_or_by_entropy():
    rows = np.arange(1000)
    # 500 values of which one takes half of the items: half as many values as items, but little entropy.
    columns = {"id": singles(rows), "hundreds": singles(rows % 100), "tail": singles(np.maximum(rows - 500, 0))}
    result = correlate_lists(columns)
    assert result.entropies[1] == pytest.approx(log(100))
    assert result.entropies[2] == pytest.approx(entropy([501 / 1000] + [1 / 1000] * 499))
    assert result.near_unique == ("id", "tail")


@pytest.mark.parametrize(
    ("distinct", "entropy_share", "expected"),
    [(50, 0.5, ("f",)), (49, 0.5, ()), (49, 0.901, ("f",)), (49, 0.899, ())],
)
def test_limits_of_near_unique(distinct, entropy_share, expected):
    entropies = np.array([entropy_share * log(100)])
    assert Correlations(("f",), np.diag(entropies), entropies, (distinct,), 100).near_unique == expected


def test_one_item():
    result = correlate_lists({"f": [[3]], "g": [[]]})
    np.testing.assert_array_equal(result.mutual_information, np.zeros((2, 2)))
    np.testing.assert_array_equal(result.normalised, np.zeros((2, 2)))


def test_json_round_trip_and_heat_map(ragged, tmp_path):
    _, features, result = ragged
    again = Correlations.from_json(result.to_json())
    assert again.to_json() == result.to_json()
    assert again.feature_names == features
    np.testing.assert_array_equal(again.mutual_information, result.mutual_information)
    np.testing.assert_array_equal(again.mutual_information, again.mutual_information.T)
    values = json.loads(result.to_json())
    assert values["near_unique"] == ["h"]
    assert values["normalised_mutual_information"] == result.normalised.tolist()
    correlations.write_correlations(result, str(tmp_path))
    assert (tmp_path / "correlations.json").read_text() == result.to_json()
    pixels = np.asarray(Image.open(tmp_path / "correlations.png").convert("RGB")).astype(int)
    # Nothing depends on colour.
    assert np.ptp(pixels, axis=2).max() == 0
    assert pixels.min() == 0


def test_heat_map_writes_every_number_and_name(ragged):
    _, _, result = ragged
    first, second = correlations.draw_heat_map(result).axes
    for axes, matrix in ((first, result.mutual_information), (second, result.normalised)):
        assert [text.get_text() for text in axes.texts] == [f"{value:.2f}" for value in matrix.ravel()]
        assert [label.get_text() for label in axes.get_xticklabels()] == ["f", "g", "h *"]


# --- Errors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (["genre"], Exception, r"feature 'genre' is no column of the catalogue\. Received: \['f', 'raw'\]"),
        (["f", "raw"], Exception, r"feature 'raw' must hold vocabulary indices \(int64\)\. Received: large_binary"),
        ([], ValueError, "distinct names, at least one"),
        (["f", "f"], ValueError, "distinct names, at least one"),
    ],
)
def test_bad_features_are_explained(tmp_path, features, error, message):
    batch = pa.RecordBatch.from_pydict(
        {"f": pa.array([[1]], LISTS), "raw": pa.array([[b"a"]], pa.large_list(pa.large_binary()))}
    )
    examples.write_shard(batch, tmp_path, "catalogue", "a")
    with pytest.raises(error, match=message):
        correlate(str(tmp_path), features, str(tmp_path / "out"))


def test_bad_catalogues_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="Run the stage that writes them first"):
        correlate(str(tmp_path), ["f"], str(tmp_path / "out"))
    examples.write_shard(pa.RecordBatch.from_pydict({"f": pa.array([], LISTS)}), tmp_path, "catalogue", "a")
    with pytest.raises(Exception, match="the catalogue must have at least one item"):
        correlate(str(tmp_path), ["f"], str(tmp_path / "out"))
    records = pa.RecordBatch.from_pydict({"f": pa.array([[-1]], LISTS)})
    with pytest.raises(ValueError, match=r"indices of 'f' must be in 0\.\.2\*\*32 - 2\. Received: -1\.\.-1"):
        correlations.list_values("f", records)
    with pytest.raises(ValueError, match="power of two"):
        Correlate(str(tmp_path), ("f",), str(tmp_path), num_partitions=12)
