"""Validation recall against a loop over the held-out events of the shop."""

import collections

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import examples
from recsys_ssl.evaluation.metrics import choose_k
from recsys_ssl.features.batch import Catalogue, lay_out
from recsys_ssl.models.two_tower import TowerConfig, TwoTower
from recsys_ssl.spec import Evaluation, Queries
from recsys_ssl.training.data import parse
from recsys_ssl.training.train import build_model
from recsys_ssl.training.validation import Validator, name_recall, read_recall


@pytest.mark.parametrize(
    ("num_items", "k"),
    [(1, 1), (9, 1), (19, 1), (20, 2), (45, 4), (50, 5), (499, 49), (500, 50), (501, 50), (1000, 50), (10**7, 50)],
)
def test_the_k_of_a_validation_is_a_tenth_of_a_small_catalogue_and_50_of_any_other(num_items, k):
    assert choose_k(num_items) == k


def test_the_figure_of_a_validation_has_its_k_in_its_name():
    assert name_recall(50) == "validation_recall_at_50"
    assert read_recall({"loss": 3.0, name_recall(4): 0.25}) == ("validation recall@4", 0.25)


@pytest.fixture(scope="module")
def model_and_catalogue(shop, shop_inputs, make_config):
    keras.utils.set_random_seed(1)
    return build_model(shop.spec, make_config(), shop_inputs)


def loop_recall(model, catalogue, directory, groups, k, mask_seen, events):
    """Recall@k over pairs, one ranking at a time; `groups` are lists of event indices, first event first."""
    shards = tf.data.TFRecordDataset(examples.list_shards(directory, "eval"), compression_type="GZIP")
    serialized = tf.stack(list(shards))
    queries = model.embed_queries(parse(serialized, model.query_layout, False).query).numpy()
    items = model.embed_items(catalogue.gather(tf.range(catalogue.num_items, dtype=tf.int64))).numpy()
    hits = pairs = 0
    for group in groups:
        scores = items @ queries[group[0]]
        positives = {events[event]["item_row"][0] for event in group}
        if mask_seen:
            scores[list(set(events[group[0]]["seen_rows"]) - positives)] = -np.inf
        # The place of a tie is the mean over its orders.
        ranks = [(1 + (scores > scores[row]).sum() + (scores >= scores[row]).sum()) / 2 for row in positives]
        hits += sum(rank <= k for rank in ranks)
        pairs += len(positives)
    return hits / pairs


@pytest.mark.parametrize("mask_seen", [True, False])
@pytest.mark.parametrize("group_by", ["event", "query"])
def test_recall_of_the_whole_split_is_that_of_a_loop(shop, model_and_catalogue, group_by, mask_seen):
    model, catalogue = model_and_catalogue
    spec = shop.spec.model_copy(update={"evaluation": Evaluation(group_by=group_by, mask_seen=mask_seen)})
    validator = Validator(spec, shop.encoded.interactions, catalogue, 10_000, seed=0)
    events, groups = shop.events["eval"], collections.defaultdict(list)
    for number, event in enumerate(events):
        groups[number if group_by == "event" else event["query_id"][0]].append(number)
    assert len(groups) == (150 if group_by == "event" else 97)
    for k in (1, 20, 50):
        found = validator.recall_at(model, k)
        expected = loop_recall(model, catalogue, shop.encoded.interactions, groups.values(), k, mask_seen, events)
        assert found == pytest.approx(expected)
    assert 0 < found < 1


@pytest.mark.parametrize("group_by", ["event", "query"])
def test_a_sample_has_whole_rankings_of_the_split_and_is_a_function_of_the_seed(shop, model_and_catalogue, group_by):
    _, catalogue = model_and_catalogue
    spec = shop.spec.model_copy(update={"evaluation": Evaluation(group_by=group_by)})

    def make(num_rankings, seed):
        return Validator(spec, shop.encoded.interactions, catalogue, num_rankings, seed).task

    whole, sample, again, other = make(10_000, 0), make(30, 0), make(30, 0), make(30, 1)
    assert sample.num_rankings == 30
    np.testing.assert_array_equal(sample.positive_rows, again.positive_rows)
    assert set(sample.query_ids) == set(again.query_ids)
    assert set(sample.query_ids) != set(other.query_ids)

    def pairs_of(task):
        queries = [task.query_ids[task.cluster[ranking]] for ranking in task.ranking_of_pair]
        return collections.Counter(zip(queries, task.positive_rows.tolist()))

    assert not pairs_of(sample) - pairs_of(whole)
    if group_by == "query":
        chosen = {pair: n for pair, n in pairs_of(whole).items() if pair[0] in set(sample.query_ids)}
        assert pairs_of(sample) == chosen


@pytest.mark.parametrize("group_by", ["event", "query"])
def test_held_out_repeats_are_in_no_ranking_and_take_no_place_in_a_sample(
    shop, model_and_catalogue, make_records, tmp_path, group_by
):
    """Query q chose item q before: of 40 queries the even ones hold out that alone, the odd ones q + 100 too."""
    _, catalogue = model_and_catalogue
    rows = [(query, item) for query in range(40) for item in ([query, query + 100] if query % 2 else [query])]
    columns = {
        "query_id": [[b"q%d" % query] for query, _ in rows],
        "item_row": [[item] for _, item in rows],
        "timestamp_us": [[time] for time in range(len(rows))],
        "seen_rows": [[query, 199] for query, _ in rows],
        "example_weight": [[1.0]] * len(rows),
    }
    examples.write_shard(make_records(columns), tmp_path, "eval", "part-0")

    def make(num_rankings, mask_seen, directory=tmp_path):
        spec = shop.spec.model_copy(update={"evaluation": Evaluation(group_by=group_by, mask_seen=mask_seen)})
        return Validator(spec, str(directory), catalogue, num_rankings, 0).task

    whole = make(None, True)
    assert whole.positive_rows.tolist() == list(range(101, 140, 2))
    # In the order of the file, by which baselines find the events.
    assert [rows[event] for event in whole.event_rows] == [(query, query + 100) for query in range(1, 40, 2)]
    assert whole.masked_rows.tolist() == [row for query in range(1, 40, 2) for row in (query, 199)]
    assert whole.num_repeats == 40
    sample = make(15, True)
    assert sample.num_rankings == 15
    assert set(sample.positive_rows) < set(whole.positive_rows)
    everything = make(None, False)
    assert (everything.num_pairs, everything.num_repeats, len(everything.masked_rows)) == (60, 0, 0)

    # Where there are no others they are kept, and nothing is masked.
    alone = {
        name: [values[i] for i, (query, item) in enumerate(rows) if query == item] for name, values in columns.items()
    }
    examples.write_shard(make_records(alone), tmp_path / "alone", "eval", "part-0")
    repeats = make(15, True, tmp_path / "alone")
    assert (repeats.num_pairs, repeats.num_repeats, len(repeats.masked_rows)) == (15, 0, 0)


def test_queries_that_are_items_are_ranked_without_themselves(
    shop, shop_inputs, model_and_catalogue, make_records, tmp_path
):
    """Item towers that embed alike find every item nearest to itself, which is masked."""
    _, catalogue = model_and_catalogue
    spec = shop.spec.model_copy(update={"queries": Queries(same_as_items=True)})
    columns = {
        "query_id": [[b"p-%d" % row] for row in range(40)],
        "item_row": [[(row + 1) % 200] for row in range(40)],
        "query_row": [[row] for row in range(40)],
        "example_weight": [[1.0]] * 40,
    }
    examples.write_shard(make_records(columns), tmp_path, "eval", "part-0")
    features = (catalogue.layout.features, [False] * 6)
    (layout, _), num_rows = lay_out([features, features])
    model = TwoTower(layout, layout, num_rows, TowerConfig(4, (8,), 4, trainable_default=True))
    catalogue = Catalogue(shop_inputs.catalogue_dir, layout)
    rows = tf.range(200, dtype=tf.int64)
    scores = model.embed_queries(catalogue.gather(rows)).numpy() @ model.embed_items(catalogue.gather(rows)).numpy().T
    np.fill_diagonal(scores, -np.inf)
    ranks = [1 + (scores[row] > scores[row, row + 1]).sum() for row in range(40)]
    validator = Validator(spec, str(tmp_path), catalogue, 1000, seed=0)
    for k in (10, 100):
        assert validator.recall_at(model, k) == pytest.approx(np.mean(np.array(ranks) <= k))
