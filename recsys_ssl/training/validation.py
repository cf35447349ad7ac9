"""Held-out Recall@k of a model in memory: exact ranking of a split's queries, or of a fixed sample of them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.coders import example_coder

from recsys_ssl import examples, lists, seeds
from recsys_ssl.evaluation.metrics import recall
from recsys_ssl.evaluation.queries import RankingTask, make_task
from recsys_ssl.evaluation.ranking import Ranked, rank
from recsys_ssl.features.batch import Catalogue
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.data import parse

_BLOCK = 4096


class Validator:
    """Ranks the whole catalogue for queries of a held-out split.

    Holds the split's serialized examples while it is built and the sampled ones afterwards (roughly
    200 bytes each); a validation holds the catalogue's embeddings, 4 * vector_dim bytes an item.
    """

    def __init__(
        self,
        spec: FeatureSpec,
        interactions_dir: str,
        catalogue: Catalogue,
        num_rankings: int | None,
        seed: int,
        split: str = "eval",
    ):
        """Args:
        interactions_dir: encoded interactions; `split` of them is read.
        num_rankings: rankings to sample; all when the split has fewer, or None.
        """
        self._catalogue = catalogue
        self._same_as_items = spec.queries.same_as_items
        shards = examples.list_shards(interactions_dir, split)
        records = tf.data.TFRecordDataset(shards, compression_type="GZIP")
        serialized = np.concatenate(list(records.batch(_BLOCK).as_numpy_iterator()))
        chosen = _choose_events(spec, serialized, num_rankings, seed)
        self.task = _make_task(spec, serialized[chosen], catalogue.num_items)
        self._serialized = serialized[chosen][self.task.event_rows]

    def recall_at(self, model: TwoTower, k: int = 50) -> float:
        """Share of the sampled held-out (query, item) pairs whose item ranks among the first k."""
        ranked = self.rank(model, k=1)
        hits, pairs = recall(ranked.ranks, self.task.positive_offsets, k)
        return float(hits.sum() / pairs.sum())

    def rank(self, model: TwoTower, k: int) -> Ranked:
        """The ranks of the held-out items, and the first k items of every ranking."""
        return rank(self.task, self._vectorize_queries(model), self.vectorize_items(model), k)

    def vectorize_items(self, model: TwoTower) -> np.ndarray:
        """[num_items, vector_dim] float32, the whole catalogue."""
        starts = range(0, self._catalogue.num_items, _BLOCK)
        rows = [np.arange(i, min(i + _BLOCK, self._catalogue.num_items)) for i in starts]
        return np.concatenate([_vectorize_items(model, self._catalogue, tf.constant(block)).numpy() for block in rows])

    def _vectorize_queries(self, model: TwoTower) -> np.ndarray:
        blocks = [self._serialized[i : i + _BLOCK] for i in range(0, len(self._serialized), _BLOCK)]
        vectorize = _vectorize_query_rows if self._same_as_items else _vectorize_queries
        return np.concatenate([vectorize(model, self._catalogue, tf.constant(block)).numpy() for block in blocks])


@tf.function(autograph=False, reduce_retracing=True)
def _vectorize_items(model: TwoTower, catalogue: Catalogue, rows: tf.Tensor) -> tf.Tensor:
    return model.vectorize_items(catalogue.gather(rows), tf.gather(catalogue.train_counts, rows))


@tf.function(autograph=False, reduce_retracing=True)
def _vectorize_queries(model: TwoTower, catalogue: Catalogue, serialized: tf.Tensor) -> tf.Tensor:
    return model.vectorize_queries(parse(serialized, model.query_layout, same_as_items=False).query)


@tf.function(autograph=False, reduce_retracing=True)
def _vectorize_query_rows(model: TwoTower, catalogue: Catalogue, serialized: tf.Tensor) -> tf.Tensor:
    rows = parse(serialized, model.query_layout, same_as_items=True).query_rows
    return model.vectorize_queries(catalogue.gather(rows))


def _choose_events(spec: FeatureSpec, serialized: np.ndarray, num_rankings: int | None, seed: int) -> np.ndarray:
    """Indices of the events of at most `num_rankings` queries (or of as many events) drawn at random."""
    if spec.evaluation.group_by == "query":
        batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(list(serialized))
        groups = _encode_queries(batch).indices.to_numpy()
    else:
        groups = np.arange(len(serialized))
    drawn = seeds.generator(seed).permutation(groups.max() + 1)[:num_rankings]
    return np.flatnonzero(np.isin(groups, drawn))


def _encode_queries(batch: pa.RecordBatch) -> pa.DictionaryArray:
    return lists.flatten(lists.column(batch, "query_id"), pa.large_binary())[0].dictionary_encode()


def _make_task(spec: FeatureSpec, serialized: np.ndarray, num_items: int) -> RankingTask:
    batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(list(serialized))

    def integers(name: str) -> np.ndarray | None:
        return lists.flat(batch, name, pa.int64())[0] if name in batch.schema.names else None

    def read_seen(events: np.ndarray) -> np.ndarray:
        seen = lists.column(batch, "seen_rows").take(pa.array(events))
        rows, lengths = lists.read("seen_rows", seen, pa.int64())
        return np.unique(lists.owners(lengths) * np.int64(num_items) + rows)

    queries = _encode_queries(batch)
    return make_task(
        spec,
        num_items,
        query_codes=queries.indices.to_numpy().astype(np.int64),
        query_ids=queries.dictionary.to_numpy(zero_copy_only=False),
        item_rows=lists.flat(batch, "item_row", pa.int64())[0],
        times=integers("timestamp_us"),
        query_rows=integers("query_row"),
        read_seen=read_seen,
        slices={},
    )
