"""Where the embeddings of ids start: at the factors of a matrix factorisation in place of noise.

The towers learn ids by steps of a few hundred examples; a factorisation solves for all of them in seconds. It sees
nothing but who chose what, so content, new items and new queries stay with the towers, which go on from it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from recsys_ssl import examples, ials, lists
from recsys_ssl.features.batch import Catalogue, FeatureLayout
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.pairs import read_pairs
from recsys_ssl.spec import FeatureSpec, IdFeature
from recsys_ssl.training.config import StartConfig

News = Callable[[str], None]
"""Hears a sentence about what happens before the first step."""


class _Ids(NamedTuple):
    """The ids of one side of the matrix: which row of the embedding table each has."""

    rows: np.ndarray
    """[num_ids] int64 row of the table; -1 for an id without one of its own."""
    slots: list[int]
    """The slots of the tower that read these rows."""


def start_ids(
    model: TwoTower,
    catalogue: Catalogue,
    spec: FeatureSpec,
    config: StartConfig,
    seed: int,
    interactions_dir: str,
    tell: News | None = None,
) -> None:
    """Sets the embeddings of the ids of items and queries to the factors of the training positives.

    Each side's vectors are scaled to a mean length of 1, with which the other embeddings start. The tower without
    hidden layers begins by passing the factors through: the block of its weights that reads them is the identity.
    Where queries are items, an item has two vectors, one for each role: they share its embedding, half of it each, and
    each tower reads its own half. Ids without training positives, and those that share an embedding, stay as they are.

    Nothing happens where items have no id among their features. Memory: that of `ials.fit`; the factors take no more
    than the embeddings that they become.

    Args:
        interactions_dir: encoded interactions, of which the train split is read.
        tell: hears how far the factorisation is.

    Raises:
        ValueError: `feature_dim` is too small for two roles.

    References:
        Hu, Koren and Volinsky 2008, "Collaborative Filtering for Implicit Feedback Datasets".
    """
    if config.ids == "random" or spec.item_id_feature is None:
        return
    same = spec.queries.same_as_items
    width, depth = model.table.shape[1], model.item_mlp.output_shape[-1]
    factors = min(width // 2 if same else width, depth)
    if not factors:
        raise ValueError(
            "train.start.ids=factors needs room for two roles of an item. "
            f"Received: train.feature_dim={width}. Raise it or set train.start.ids=random."
        )
    slot = [feature.name for feature in model.item_layout.features].index(spec.item_id_feature.name)
    items = _Ids(_own_rows(catalogue.read_codes(slot)), [slot])
    if same:
        matrix, queries = _read_links(interactions_dir, catalogue.num_items), items
    else:
        pairs = read_pairs(interactions_dir, "train")
        matrix = pairs.to_matrix(catalogue.num_items)
        queries = _find_queries(spec, model.query_layout, interactions_dir, pairs.query_codes, len(pairs.query_ids))
        # An item_sequence has the vocabulary of the items' ids. The states of a history encoder are no factors.
        shared = model.item_layout.features[slot].vocabulary
        if model.history_encoder is None:
            queries.slots.extend(n for n, f in enumerate(model.query_layout.features) if f.vocabulary == shared)
    of_queries, of_items = _factorise(matrix, config, factors, seed, tell)

    table = model.table.numpy()
    place = factors if same else 0
    for ids, vectors, first in ((queries, of_queries, 0), (items, of_items, place)):
        known = (ids.rows >= 0) & vectors.any(axis=1)
        if known.any():
            scaled = vectors[known] / np.linalg.norm(vectors[known], axis=1).mean()
            table[ids.rows[known], first : first + factors] = scaled
    model.table.assign(table)
    _pass_through(model.query_mlp, queries.slots, width, 0, factors)
    _pass_through(model.item_mlp, items.slots, width, place, factors)


def _pass_through(mlp, slots: list[int], width: int, first: int, factors: int) -> None:
    """Lets a linear tower begin with the factors of its slots as the embedding: it reads nothing else of them."""
    if len(mlp.layers) > 1:
        return
    kernel = mlp.layers[0].kernel.numpy()
    for slot in slots:
        block = kernel[slot * width : (slot + 1) * width]
        block[:] = 0.0
        block[first : first + factors] = np.eye(factors, kernel.shape[1])
    mlp.layers[0].kernel.assign(kernel)


# --- Ids -------------------------------------------------------------------------------------------------


def _find_queries(
    spec: FeatureSpec, layout: FeatureLayout, interactions_dir: str, query_codes: np.ndarray, num_queries: int
) -> _Ids:
    """The ids of queries that are a feature, by the records of the train split; else none has a row.

    Args:
        query_codes: [num_events] int64, the query of each record.
    """
    columns = [(f, spec.queries.id) for f in spec.queries.features]
    columns += [(f, spec.events.query_id) for f in spec.events.features]
    names = [f.name for f, column in columns if isinstance(f, IdFeature) and f.source_column == column]
    rows, slots = np.full(num_queries, -1, np.int64), []
    for slot, feature in enumerate(layout.features):
        if feature.name in names:
            codes = [
                lists.first(*lists.flat(batch, feature.name, pa.int64()), -1)
                for batch in examples.read_batches(examples.list_shards(interactions_dir, "train"))
            ]
            found = np.concatenate(codes)
            rows[query_codes[found >= 0]] = found[found >= 0] + layout.offsets[slot]
            slots.append(slot)
            break
    return _Ids(_own_rows(rows), slots)


def _own_rows(rows: np.ndarray) -> np.ndarray:
    """The rows, with -1 for those that several ids share."""
    known = np.flatnonzero(rows >= 0)
    shared = np.bincount(rows[known])[rows[known]] > 1
    own = rows.copy()
    own[known[shared]] = -1
    return own


# --- Factors ---------------------------------------------------------------------------------------------


def _read_links(interactions_dir: str, num_items: int) -> sp.csr_matrix:
    """[num_items, num_items] float32, 1 where the first item, as a query, has the second as a positive."""
    queries, items = [], []
    for batch in examples.read_batches(examples.list_shards(interactions_dir, "train")):
        queries.append(lists.flat(batch, "query_row", pa.int64())[0])
        items.append(lists.flat(batch, "item_row", pa.int64())[0])
    rows, columns = np.concatenate(queries), np.concatenate(items)
    return sp.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), (num_items, num_items))


def _factorise(
    matrix: sp.csr_matrix, config: StartConfig, factors: int, seed: int, tell: News | None
) -> tuple[np.ndarray, np.ndarray]:
    """[num_queries, factors] and [num_items, factors] float32."""

    def report(done: int, of: int) -> None:
        if tell is not None:
            tell(f"start: factorises {matrix.shape[0]:,} queries x {matrix.shape[1]:,} items, iteration {done}/{of}")

    settings = ials.Settings(factors, config.alpha, config.regularization, config.frequency_exponent, config.iterations)
    return ials.fit(matrix, settings, seed, report)
