"""One SavedModel from raw query features to item ids: the towers and the index in one graph.

Signatures:
    embed_query, embed_item: the towers' own.
    recommend, serving_default: the raw query features, `k` int32 [num_queries] and `exclude` string [num_queries, any]
        padded with "" -> `item_ids` string [num_queries, max k], `scores` float32 [num_queries, max k], best first.
        Excluded ids are left out. Where fewer than its k items are left of a query, and beyond its k where others have
        more, the ids are "" and the scores the lowest float32: JSON, in which servers answer, has no infinity.

Every input has a row per query, so that servers can put requests together; k is `description.MAX_K` at most. What the
inputs mean lies in the SavedModel, see `description`.

The score is the dot product. With towers that know of repeats an item that the query has chosen before scores more,
see `training.export.export_towers`: the items of its history are scored by their own vectors and merged with what the
index finds, which need not know of that, since nothing scores less.

`export_scann` needs the ScaNN op where it is served; `export_inverted_lists` is plain TensorFlow and approximate, and
`export_brute_force` plain TensorFlow and exact.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from scann.scann_ops.py import scann_ops

from recsys_ssl import provenance
from recsys_ssl.index import description, embeddings, inverted_lists, raw_inputs, scann_index
from recsys_ssl.index.variables import take_rows
from recsys_ssl.spec import FeatureSpec

# Of the hashes of ids, which are int64.
_NUM_BUCKETS = 2**63 - 1
# Of inverted lists: what they recall of how many held-out queries.
_LEAST_RECALL, _NUM_QUERIES = 0.95, 500
# What ScaNN's serialisation leaves out when its method has no use for it.
_SCANN_TENSORS = {
    "scann_config": ("pb", b""),
    "serialized_partitioner": ("pb", b""),
    "datapoint_to_token": ("npy", np.int32(0)),
    "ah_codebook": ("pb", b""),
    "hashed_dataset": ("npy", np.uint8(0)),
    "int8_dataset": ("npy", np.int8(0)),
    "int8_multipliers": ("npy", np.float32(0)),
    "dp_norms": ("npy", np.float32(0)),
    "dataset": ("npy", np.float32(0)),
}


def export_scann(
    towers_dir: str | Path, index_dir: str | Path, out_dir: str | Path, spec: FeatureSpec | None = None
) -> None:
    """Writes the SavedModel that searches the saved index itself, so that its measured recall holds.

    Args:
        towers_dir: SavedModel with the signatures embed_query and embed_item.
        index_dir: an index from `scann_index.save_index`.
        out_dir: receives the SavedModel: 4 dim bytes an item and, unless exact, 1/8 of that for the hashes; with
            repeats 16 bytes an item more. Their vectors are those that ScaNN scores exactly by.
        spec: what its features mean, for the description that lies in the SavedModel; None says less there.

    Raises:
        FileNotFoundError: there is no index.
        ValueError: the towers lack a signature, or a feature is named `k` or `exclude`.
    """
    index = scann_index.load_index(index_dir)
    _export(towers_dir, index.item_ids, _Scann(index_dir, index.config), out_dir, spec)


def export_brute_force(
    towers_dir: str | Path, items_dir: str | Path, out_dir: str | Path, spec: FeatureSpec | None = None
) -> None:
    """Writes the SavedModel of plain TensorFlow ops that scores every item.

    A request takes 4 num_queries num_items bytes for its scores.

    Args:
        towers_dir: SavedModel with the signatures embed_query and embed_item.
        items_dir: item embeddings.
        out_dir: receives the SavedModel: 4 dim bytes an item, with repeats 16 more.
        spec: as `export_scann`.

    Raises:
        FileNotFoundError: there are no embeddings.
        ValueError: the towers lack a signature, or a feature is named `k` or `exclude`.
    """
    items = embeddings.read_items(items_dir)
    _export(towers_dir, items.item_ids, _BruteForce(items.vectors), out_dir, spec)


def export_inverted_lists(
    towers_dir: str | Path,
    items_dir: str | Path,
    queries_dir: str | Path,
    out_dir: str | Path,
    spec: FeatureSpec | None = None,
    seed: int = 0,
) -> None:
    """Writes the SavedModel of plain TensorFlow ops that scores the items of the nearest blocks, see `inverted_lists`.

    Of a catalogue that ScaNN would search exactly (`scann_index.EXACT_BELOW`) every item is scored. Of a larger one so
    many blocks are that at least 95% of the exact 50 best items are found for 500 held-out queries.

    Args:
        towers_dir: SavedModel with the signatures embed_query and embed_item.
        items_dir: item embeddings.
        queries_dir: query embeddings of a held-out split.
        out_dir: receives the SavedModel: 4 dim + 8 bytes an item and a sixth more, with repeats 16 more.
        spec: as `export_scann`.

    Raises:
        FileNotFoundError, ValueError: as `export_brute_force`.
    """
    items = embeddings.read_items(items_dir)
    index: tf.Module = _BruteForce(items.vectors)
    if len(items.vectors) >= scann_index.EXACT_BELOW:
        queries = embeddings.sample_query_vectors(queries_dir, _NUM_QUERIES, seed)
        index = make_inverted_lists(items.vectors, queries, seed)
    _export(towers_dir, items.item_ids, index, out_dir, spec)


def make_inverted_lists(
    vectors: np.ndarray,
    queries: np.ndarray,
    seed: int = 0,
    num_best: int = max(scann_index.RECALL_AT),
    least_recall: float = _LEAST_RECALL,
) -> inverted_lists.InvertedLists:
    """The inverted lists of [num_items, dim] items, set so that they find so much of the best of some queries."""
    blocks = inverted_lists.make_blocks(vectors, inverted_lists.choose_block_size(len(vectors)), seed)
    best, _ = scann_index.search_exactly(vectors, queries, num_best)
    num_probed = inverted_lists.choose_num_probed(blocks, queries, best, least_recall)
    return inverted_lists.InvertedLists(vectors, blocks, num_probed)


class _BruteForce(tf.Module):
    name_of_search = "exact"

    def __init__(self, vectors: np.ndarray):
        super().__init__()
        self.vectors = tf.Variable(vectors, trainable=False)

    def look_up(self, rows: tf.Tensor) -> tf.Tensor:
        """[..., dim] float32, the vectors of the items at `rows`."""
        return take_rows(self.vectors, rows)

    def search(self, queries: tf.Tensor, k: tf.Tensor, num_excluded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Scores and rows [num_queries, <= k + num_excluded] of the best items, best first."""
        fetched = tf.minimum(k + num_excluded, tf.shape(self.vectors)[0])
        return tf.math.top_k(tf.matmul(queries, self.vectors, transpose_b=True), fetched)


class _Scann(tf.Module):
    name_of_search = "ScaNN, approximate"

    def __init__(self, index_dir: str | Path, config: scann_index.IndexConfig):
        super().__init__()
        self._reorder = config.reorder or 0
        self.state = scann_ops.ScannState(_read_scann_tensors(index_dir))

    def look_up(self, rows: tf.Tensor) -> tf.Tensor:
        """As `_BruteForce.look_up`, of the vectors by which ScaNN scores its best again."""
        return take_rows(self.state.dataset, rows)

    def search(self, queries: tf.Tensor, k: tf.Tensor, num_excluded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """As `_BruteForce.search`, approximately. Where nothing more is found the score is -inf and the row 0."""
        searcher = scann_ops.searcher_from_module(self.state)
        fetched = k + num_excluded
        found = searcher.search_batched_parallel(queries, fetched, tf.maximum(self._reorder + num_excluded, fetched))
        # ScaNN says "nothing more" by the score NaN.
        nothing = tf.math.is_nan(found.distances)
        return tf.where(nothing, -np.inf, found.distances), tf.where(nothing, 0, found.indices)


def _read_scann_tensors(index_dir: str | Path) -> list:
    tensors = []
    for name, (suffix, absent) in _SCANN_TENSORS.items():
        path = Path(index_dir, f"{name}.{suffix}")
        if not path.exists():
            tensors.append(absent)
        else:
            tensors.append([path.read_bytes()] if suffix == "pb" else np.load(path))
    return tensors


def _export(
    towers_dir: str | Path, item_ids: pa.Array, index: tf.Module, out_dir: str | Path, spec: FeatureSpec | None
) -> None:
    towers = provenance.load_saved_model(towers_dir)
    query_specs, item_specs = (raw_inputs.input_specs(towers, name) for name in ("embed_query", "embed_item"))
    taken = sorted({"k", "exclude"} & set(query_specs))
    if taken:
        raise ValueError(
            f"recommend has inputs of its own named k and exclude. Received features: {taken}. Rename them."
        )
    module = tf.Module()
    # Everything that the functions below read must hang on the module, or it is not saved.
    module.towers, module.index = towers, index
    module.item_ids = tf.Variable(item_ids.to_numpy(zero_copy_only=False), dtype=tf.string, trainable=False)
    embed_query = towers.signatures["embed_query"]
    if embeddings.REPEAT_IDS in embed_query.structured_outputs:
        module.rows = IdRows(module.item_ids)

    @tf.function
    def recommend(k, exclude, **features):
        checks = [
            tf.debugging.assert_positive(k, "k must be positive"),
            tf.debugging.assert_less_equal(k, description.MAX_K, f"k must be at most {description.MAX_K}"),
        ]
        with tf.control_dependencies(checks):
            embedded = embed_query(**features)
        num_excluded = tf.reduce_sum(tf.cast(tf.not_equal(exclude, ""), tf.int32), axis=1)
        # Of no queries there is no largest k.
        most = tf.maximum(tf.reduce_max(k), 1)
        scores, rows = index.search(embedded["embedding"], most, tf.maximum(tf.reduce_max(num_excluded), 0))
        ids = tf.gather(module.item_ids, rows)
        if embeddings.REPEAT_IDS in embedded:
            ids, scores = _merge_repeats(ids, scores, embedded, index, module.rows)
        ids, scores = keep_best(ids, scores, exclude, k)
        return {"item_ids": ids, "scores": scores}

    module.find, module.look_up = _parts(index, embed_query, query_specs)
    recommend_specs = {
        "k": tf.TensorSpec([None], tf.int32, "k"),
        "exclude": tf.TensorSpec([None, None], tf.string, "exclude"),
    }
    answer = recommend.get_concrete_function(**recommend_specs, **query_specs)
    signatures = {
        "embed_query": _embed(towers, "embed_query").get_concrete_function(**query_specs),
        "embed_item": _embed(towers, "embed_item").get_concrete_function(**item_specs),
        "recommend": answer,
        tf.saved_model.DEFAULT_SERVING_SIGNATURE_DEF_KEY: answer,
    }
    options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
    tf.saved_model.save(module, str(out_dir), signatures=signatures, options=options)
    inputs = {"recommend": query_specs | recommend_specs, "embed_query": query_specs, "embed_item": item_specs}
    description.write(out_dir, inputs, len(item_ids), index.name_of_search, spec)


def _parts(
    index, embed_query, query_specs: dict[str, tf.TensorSpec]
) -> tuple[tf.types.experimental.GenericFunction, tf.types.experimental.GenericFunction]:
    """For who ranks by more than `recommend` knows; no signatures.

    Returns:
        Queries and k -> the outputs of `embed_query`, and `rows` and `scores` [num_queries, <= k] of the index's best;
        rows -> the vectors of items.
    """
    dim = index.look_up(tf.zeros([1], tf.int64)).shape[1]

    @tf.function(input_signature=[query_specs, tf.TensorSpec([], tf.int32)])
    def find(queries, k):
        embedded = embed_query(**queries)
        vectors = tf.ensure_shape(embedded["embedding"], [None, dim])
        scores, rows = index.search(vectors, k, 0)
        return embedded | {"rows": rows, "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def look_up(rows):
        return index.look_up(rows)

    return find, look_up


def _embed(towers, signature: str) -> tf.types.experimental.GenericFunction:
    @tf.function
    def embed(**features):
        return towers.signatures[signature](**features)

    return embed


def _merge_repeats(
    ids: tf.Tensor, scores: tf.Tensor, embedded: dict[str, tf.Tensor], index, rows: IdRows
) -> tuple[tf.Tensor, tf.Tensor]:
    """Found items by dot product and, in their place where they are among them, those that the queries chose before.

    Args:
        ids: [num_queries, num_fetched] string.
        scores: [num_queries, num_fetched] float32.
        embedded: outputs of `embed_query`, [num_queries, width] items of the histories among them.
        index: `_BruteForce` or `_Scann`.

    Returns:
        Ids and scores [num_queries, num_fetched + width], -inf for what is no item.
    """
    queries, repeats = embedded["embedding"], embedded[embeddings.REPEAT_IDS]
    temperature = embedded[embeddings.REPEAT_TEMPERATURE][:, tf.newaxis]
    own_rows = rows.find(repeats)
    own_scores = tf.einsum("qd,qrd->qr", queries, index.look_up(tf.maximum(own_rows, 0)))
    # T log(e^(s / T) + e^(r / T)) is s and something more.
    own_scores += temperature * tf.nn.softplus((embedded[embeddings.REPEAT_SCORES] - own_scores) / temperature)
    scores = [tf.where(is_excluded(ids, repeats), -np.inf, scores), tf.where(own_rows < 0, -np.inf, own_scores)]
    return tf.concat([ids, repeats], axis=1), tf.concat(scores, axis=1)


class IdRows(tf.Module):
    """Finds items by their ids: a binary search among the hashes of all, 16 bytes an item."""

    def __init__(self, item_ids: tf.Variable):
        """Args:
        item_ids: [num_items] string, distinct.
        """
        super().__init__()
        self.item_ids = item_ids
        self._key, hashes = 0, _hash(item_ids, 0).numpy()
        while len(np.unique(hashes)) < len(hashes):  # two ids of one hash: once in 10^6 catalogues of 10^7 items
            self._key += 1
            hashes = _hash(item_ids, self._key).numpy()
        order = np.argsort(hashes)
        self.order = tf.Variable(order, trainable=False)
        self.hashes = tf.Variable(hashes[order], trainable=False)

    def find(self, ids: tf.Tensor) -> tf.Tensor:
        """The rows of ids of any shape, int64; -1 for what is no item."""
        flat = tf.reshape(ids, [-1])
        places = tf.searchsorted(self.hashes, _hash(flat, self._key))
        rows = tf.gather(self.order, tf.minimum(places, tf.size(self.hashes) - 1))
        return tf.reshape(tf.where(tf.gather(self.item_ids, rows) == flat, rows, -1), tf.shape(ids))


def _hash(ids: tf.Tensor, key: int) -> tf.Tensor:
    return tf.strings.to_hash_bucket_strong(ids, _NUM_BUCKETS, key=[key, 0])


def keep_best(ids: tf.Tensor, scores: tf.Tensor, exclude: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The k best of the fetched items that are not excluded.

    Args:
        ids: [num_queries, num_fetched] string.
        scores: [num_queries, num_fetched] float32; -inf marks no item.
        exclude: [num_queries, num_excluded] string.
        k: [num_queries] int32, positive.

    Returns:
        Ids [num_queries, max k] and scores [num_queries, max k], best first and padded with "" and the lowest float32.
    """
    scores = tf.where(is_excluded(ids, exclude), -np.inf, scores)
    most = tf.maximum(tf.reduce_max(k), 0)
    missing = tf.maximum(most - tf.shape(scores)[1], 0)
    scores = tf.pad(scores, [[0, 0], [0, missing]], constant_values=-np.inf)
    ids = tf.pad(ids, [[0, 0], [0, missing]], constant_values="")
    best, positions = tf.math.top_k(scores, most)
    nothing = tf.math.is_inf(best) | (tf.range(most) >= k[:, tf.newaxis])
    ids = tf.where(nothing, "", tf.gather(ids, positions, batch_dims=1))
    return ids, tf.where(nothing, best.dtype.min, best)


def is_excluded(ids: tf.Tensor, exclude: tf.Tensor) -> tf.Tensor:
    """[num_queries, num_fetched] bool: whether an id is among its own query's exclusions.

    Every string becomes a number and every (query, number) a key, so that the cost is that of a sort, not
    num_fetched x num_excluded comparisons of strings.
    """
    strings = tf.concat([ids, exclude], axis=1)
    distinct, codes = tf.unique(tf.reshape(strings, [-1]), tf.int64)
    first_keys = tf.size(distinct, tf.int64) * tf.range(tf.shape(strings, tf.int64)[0])
    keys = tf.reshape(codes, tf.shape(strings)) + first_keys[:, tf.newaxis]
    fetched, excluded = tf.split(keys, [tf.shape(ids)[1], tf.shape(exclude)[1]], axis=1)
    # One key that no id has, so that there is always something to compare with.
    excluded = tf.sort(tf.concat([tf.reshape(excluded, [-1]), [tf.int64.max]], axis=0))
    positions = tf.searchsorted(excluded, tf.reshape(fetched, [-1]))
    return tf.equal(tf.reshape(tf.gather(excluded, positions), tf.shape(fetched)), fetched)
