"""Embeddings of ids that start at the factors of the training positives."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp

from recsys_ssl import examples, ials, lists
from recsys_ssl.features.batch import Catalogue, lay_out
from recsys_ssl.features.encoding import EncodedFeature
from recsys_ssl.models.two_tower import TowerConfig, TwoTower
from recsys_ssl.pairs import read_pairs
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training import start
from recsys_ssl.training.config import StartConfig
from recsys_ssl.training.start import start_ids
from recsys_ssl.training.train import build_model, fit

WIDTH = 4


@pytest.fixture
def started(shop, shop_inputs, make_config):
    """Builds a model of the shop and starts its ids."""

    def build(**changes):
        settings = {"hidden": (), "feature_dim": WIDTH, "embedding_dim": WIDTH, "start.ids": "factors"}
        config = make_config(**settings | changes)
        model, catalogue = build_model(shop.spec, config, shop_inputs)
        before = model.table.numpy()
        told: list[str] = []
        start_ids(model, catalogue, shop.spec, config.start, 3, shop_inputs.interactions_dir, told.append)
        return SimpleNamespace(model=model, catalogue=catalogue, before=before, told=told, config=config)

    return build


def mean_length(vectors):
    return np.linalg.norm(vectors[vectors.any(axis=1)], axis=1).mean()


def test_items_and_queries_begin_at_their_factors_scaled_to_a_mean_length_of_1(shop, shop_inputs, started):
    found = started()
    pairs = read_pairs(shop_inputs.interactions_dir, "train")
    queries, items = ials.fit(pairs.to_matrix(len(shop.items)), ials.Settings(WIDTH, 5.0, 30.0, 0.0, 15), 3)
    table, layout = found.model.table.numpy(), found.model.item_layout
    slot = [feature.name for feature in layout.features].index("product")
    shards = examples.list_shards(shop_inputs.catalogue_dir, examples.CATALOGUE_SPLIT)
    codes = np.concatenate([lists.flat(batch, "product", pa.int64())[0] for batch in examples.read_batches(shards)])
    changed = set()
    for row, code in enumerate(codes):
        at = layout.offsets[slot] + code
        if items[row].any():
            assert table[at] == pytest.approx(items[row] / mean_length(items), abs=1e-6)
            changed.add(at)
        else:
            assert (table[at] == found.before[at]).all()
    # The shop's queries have no feature of their ids.
    untouched = sorted(set(range(len(table))) - changed)
    assert (table[untouched] == found.before[untouched]).all()
    assert found.told[-1] == f"start: factorises {len(queries):,} queries x {len(items):,} items, iteration 15/15"


def test_linear_towers_begin_by_passing_the_factors_through(started):
    found = started()
    kernel = found.model.item_mlp.layers[0].kernel.numpy()
    slot = [feature.name for feature in found.model.item_layout.features].index("product")
    assert (kernel[slot * WIDTH : (slot + 1) * WIDTH] == np.eye(WIDTH)).all()
    others = np.delete(kernel, np.arange(slot * WIDTH, (slot + 1) * WIDTH), axis=0)
    assert others.any(axis=1).all()
    assert len(others) == kernel.shape[0] - WIDTH


def test_hidden_layers_keep_their_random_weights(started):
    found = started(hidden=(8,))
    assert (found.model.table.numpy() != found.before).any()
    assert (
        np.count_nonzero(found.model.item_mlp.layers[0].kernel.numpy())
        == found.model.item_mlp.layers[0].kernel.shape.num_elements()
    )


def test_ids_start_at_random_when_asked_to_or_without_any(shop, shop_inputs, started):
    found = started(**{"start.ids": "random"})
    assert (found.model.table.numpy() == found.before).all()
    assert not found.told
    facts = shop.spec.model_dump()
    facts["items"]["features"] = [f for f in facts["items"]["features"] if f["kind"] != "id"]
    facts["items"]["title"] = None
    facts["queries"]["features"] = [f for f in facts["queries"]["features"] if f["kind"] != "item_sequence"]
    factors = started().config.start
    start_ids(found.model, found.catalogue, FeatureSpec.model_validate(facts), factors, 3, shop_inputs.interactions_dir)
    assert (found.model.table.numpy() == found.before).all()


# --- Sides with ids ----------------------------------------------------------------------------------

ITEMS = (EncodedFeature("page", "item/page", 5), EncodedFeature("topic", "item/topic", 2))
# Queries 0 and 1 have one code of their own each, 2 and 3 share that of unknown ones; item 4 was never chosen.
EVENTS = [(0, 1), (0, 2), (1, 0), (1, 3), (2, 3), (3, 0), (3, 1)]
CODES = (1, 0, 2, 2)


@pytest.fixture
def write(tmp_path, make_records):
    """Writes a catalogue whose item r has the code 4 - r, and the events of EVENTS."""
    rows = range(5)
    catalogue = {
        "item_row": [[row] for row in rows],
        "item_id": [[b"i%d" % row] for row in rows],
        "train_count": [[1]] * 5,
        "page": [[4 - row] for row in rows],
        "topic": [[]] * 5,
    }
    examples.write_shard(make_records(catalogue), str(tmp_path), "catalogue", "part-0")
    events = {
        "query_id": [[b"q%d" % query] for query, _ in EVENTS],
        "user": [[CODES[query]] for query, _ in EVENTS],
        "query_row": [[query] for query, _ in EVENTS],
        "item_row": [[item] for _, item in EVENTS],
    }
    examples.write_shard(make_records(events), str(tmp_path), "train", "part-0")
    return str(tmp_path)


def make_spec(same):
    users = [{"name": "user", "kind": "id"}, {"name": "history", "kind": "item_sequence"}]
    return FeatureSpec.model_validate(
        {
            "version": 1,
            "name": "pages",
            "events": {"paths": ["e.csv"], "query_id": "user", "item_id": "page", "timestamp": {"column": "time"}},
            "items": {
                "table": {"paths": ["i.csv"]},
                "id": "page",
                "features": [{"name": "page", "kind": "id"}, {"name": "topic", "kind": "categorical"}],
            },
            "queries": {"same_as_items": True} if same else {"id": "user", "features": users},
        }
    )


def factors_of(num_queries, factors):
    matrix = sp.csr_matrix((np.ones(len(EVENTS)), tuple(zip(*EVENTS))), (num_queries, 5))
    queries, items = ials.fit(matrix, ials.Settings(factors, 5.0, 30.0, 0.0, 15), 3)
    return queries / mean_length(queries), items / mean_length(items)


def test_queries_with_ids_and_their_histories_begin_at_the_factors(write):
    users = (EncodedFeature("user", "query/user", 3, unknown=1), EncodedFeature("history", "item/page", 5))
    (query, item), num_rows = lay_out([(users, [False, True]), (ITEMS, [False, False])])
    model = TwoTower(query, item, num_rows, TowerConfig(4, (), 4, trainable_default=True))
    before = model.table.numpy()
    start_ids(model, Catalogue(write, item), make_spec(same=False), StartConfig("factors"), 3, write)
    queries, items = factors_of(4, 4)
    table, at = model.table.numpy(), dict(zip(("user", "history"), query.offsets))
    # The length is that of the two that become embeddings.
    own = queries[[1, 0]] / mean_length(queries[[1, 0]])
    assert table[at["user"] : at["user"] + 2] == pytest.approx(own, abs=1e-6)
    assert (table[at["user"] + 2] == before[at["user"] + 2]).all()
    assert table[at["history"] + 1 : at["history"] + 5] == pytest.approx(items[[3, 2, 1, 0]], abs=1e-6)
    assert (table[at["history"]] == before[at["history"]]).all()
    assert (model.query_mlp.layers[0].kernel.numpy() == np.concatenate([np.eye(4), np.eye(4)])).all()


def test_where_queries_are_items_each_tower_reads_its_half_of_the_embedding(write):
    (layout, _), num_rows = lay_out([(ITEMS, [False, False])] * 2)
    model = TwoTower(layout, layout, num_rows, TowerConfig(6, (), 5, trainable_default=True))
    start_ids(model, Catalogue(write, layout), make_spec(same=True), StartConfig("factors"), 3, write)
    queries, items = factors_of(5, 3)
    table = model.table.numpy()[layout.offsets[0] : layout.offsets[0] + 5][::-1]  # by row
    assert table[:4, :3] == pytest.approx(queries[:4], abs=1e-6)
    assert table[:4, 3:] == pytest.approx(items[:4], abs=1e-6)
    first, second = np.eye(6, 5)[:, :5] * (np.arange(5) < 3), np.roll(np.eye(6, 5) * (np.arange(5) < 3), 3, axis=0)
    assert (model.query_mlp.layers[0].kernel.numpy()[:6] == first).all()
    assert (model.item_mlp.layers[0].kernel.numpy()[:6] == second).all()


def test_two_roles_need_an_embedding_of_two_halves(write):
    (layout, _), num_rows = lay_out([(ITEMS, [False, False])] * 2)
    model = TwoTower(layout, layout, num_rows, TowerConfig(1, (), 5, trainable_default=True))
    with pytest.raises(ValueError, match=r"room for two roles.*feature_dim=1\. Raise it"):
        start_ids(model, Catalogue(write, layout), make_spec(same=True), StartConfig("factors"), 3, write)


def test_the_rows_that_ids_share_are_nobodys():
    assert start._own_rows(np.array([3, -1, 5, 3, 7, -1])).tolist() == [-1, -1, 5, -1, 7, -1]


def test_a_run_that_goes_on_does_not_factorise_again(shop, shop_inputs, make_config, tmp_path, monkeypatch):
    config = make_config(steps=2, eval_every=1, logq="none", ssl_regularizer="none", **{"start.ids": "factors"})
    told: list[str] = []
    whole = fit(shop.spec, config, shop_inputs, str(tmp_path), tell=told.append)
    assert len(told) == config.start.iterations
    monkeypatch.setattr(ials, "fit", lambda *_: pytest.fail("factorised again"))
    again = fit(shop.spec, config, shop_inputs, str(tmp_path))
    assert again.outcome.best_score == whole.outcome.best_score
