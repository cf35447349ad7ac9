"""Held-out Recall@k of a model in memory: exact ranking of a split's queries, or of a fixed sample of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.coders import example_coder

from recsys_ssl import examples, lists, seeds
from recsys_ssl.evaluation.metrics import recall
from recsys_ssl.evaluation.queries import RankingTask, find_repeats, make_task
from recsys_ssl.evaluation.ranking import Ranked, rank
from recsys_ssl.evaluation.repeats import Repeats, make_repeats
from recsys_ssl.features.batch import Catalogue
from recsys_ssl.models.repeats import RepeatTerm
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.data import parse
from recsys_ssl.training.sequences import SequenceReader

_BLOCK = 4096
_NAME = "validation_recall_at_"


def name_recall(k: int) -> str:
    """The name of the figure of a validation, e.g. `validation_recall_at_50`."""
    return f"{_NAME}{k}"


def read_recall(figures: Mapping[str, float]) -> tuple[str, float]:
    """The figure that `name_recall` named, as people read it, and its value: ("validation recall@50", 0.25)."""
    name = next(name for name in figures if name.startswith(_NAME))
    return name.replace("_recall_at_", " recall@"), figures[name]


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
        num_rankings: rankings to sample; all when the split has fewer, or None. A query whose held-out items were all
            seen has no ranking, see `build_task`, and is not sampled.
        """
        self._catalogue = catalogue
        self._spec = spec
        self._reader: SequenceReader | None = None
        shards = examples.list_shards(interactions_dir, split)
        records = tf.data.TFRecordDataset(shards, compression_type="GZIP")
        with examples.reading_shards(shards):
            serialized = np.concatenate(list(records.batch(_BLOCK).as_numpy_iterator()))
        repeats = _find_repeats(spec, serialized)
        chosen = _choose_events(spec, serialized, repeats, num_rankings, seed)
        self.task = _make_task(spec, serialized[chosen], repeats[chosen], catalogue.num_items)
        self._serialized = serialized[chosen][self.task.event_rows]

    def recall_at(self, model: TwoTower, k: int = 50) -> float:
        """Share of the sampled held-out (query, item) pairs whose item ranks among the first k."""
        ranked = self.rank(model, k=1)
        hits, pairs = recall(ranked.ranks, self.task.positive_offsets, k)
        return float(hits.sum() / pairs.sum())

    def rank(self, model: TwoTower, k: int) -> Ranked:
        """The ranks of the held-out items, and the first k items of every ranking."""
        items, repeats = self.vectorize_items(model), self.score_repeats(model)
        return rank(self.task, self._vectorize_queries(model, items), items, k, repeats=repeats)

    def vectorize_items(self, model: TwoTower) -> np.ndarray:
        """[num_items, vector_dim] float32, the whole catalogue."""
        starts = range(0, self._catalogue.num_items, _BLOCK)
        rows = [np.arange(i, min(i + _BLOCK, self._catalogue.num_items)) for i in starts]
        return np.concatenate([_vectorize_items(model, self._catalogue, tf.constant(block)).numpy() for block in rows])

    def _vectorize_queries(self, model: TwoTower, items: np.ndarray) -> np.ndarray:
        blocks = [self._serialized[i : i + _BLOCK] for i in range(0, len(self._serialized), _BLOCK)]
        if self._spec.queries.same_as_items:
            parts = [_vectorize_query_rows(model, self._catalogue, tf.constant(block)) for block in blocks]
        elif model.history_encoder is None:
            parts = [_vectorize_queries(model, None, None, tf.constant(block)) for block in blocks]
        else:
            self._reader = self._reader or SequenceReader(self._spec, self._catalogue)
            table = tf.constant(items[:, : model.embedding_dim])
            parts = [_vectorize_queries(model, self._reader, table, tf.constant(block)) for block in blocks]
        return np.concatenate([part.numpy() for part in parts])

    def score_repeats(self, model: TwoTower) -> Repeats | None:
        """What items score in the rankings whose query chose them before; None for a model without that.

        Takes 12 bytes for an item of a history, and 8 bytes for a code of the id vocabulary.
        """
        term = model.repeats
        if term is None:
            return None
        row_of_code = np.full(term.end_of_known, -1, np.int64)
        codes = self._catalogue.read_codes(term.item_slot)
        known = (codes >= 0) & (codes < term.end_of_known)
        row_of_code[codes[known]] = np.flatnonzero(known)
        blocks = []
        for start in range(0, len(self._serialized), _BLOCK):
            found = _score_repeats(model, term, tf.constant(self._serialized[start : start + _BLOCK]))
            records, codes, scores = (part.numpy() for part in found)
            blocks.append((records + start, row_of_code[codes], scores))
        ranking, rows, scores = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return make_repeats(len(self._serialized), ranking, rows, scores, term.temperature)


@tf.function(autograph=False, reduce_retracing=True)
def _vectorize_items(model: TwoTower, catalogue: Catalogue, rows: tf.Tensor) -> tf.Tensor:
    return model.vectorize_items(catalogue.gather(rows), tf.gather(catalogue.train_counts, rows))


@tf.function(autograph=False, reduce_retracing=True)
def _vectorize_queries(
    model: TwoTower, reader: SequenceReader | None, item_embeddings: tf.Tensor | None, serialized: tf.Tensor
) -> tf.Tensor:
    batch = parse(serialized, model.query_layout, False, reader)
    return model.vectorize_queries(batch.query, model.read_histories(batch.histories, item_embeddings))


@tf.function(autograph=False, reduce_retracing=True)
def _vectorize_query_rows(model: TwoTower, catalogue: Catalogue, serialized: tf.Tensor) -> tf.Tensor:
    rows = parse(serialized, model.query_layout, same_as_items=True).query_rows
    return model.vectorize_queries(catalogue.gather(rows))


@tf.function(autograph=False, reduce_retracing=True)
def _score_repeats(model: TwoTower, term: RepeatTerm, serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    query = parse(serialized, model.query_layout, same_as_items=False).query
    choices, scores = term.score(query.history, query.num_records)
    return choices.records, choices.codes, scores


def _find_repeats(spec: FeatureSpec, serialized: np.ndarray) -> np.ndarray:
    """[num_events] bool, the events that a mask leaves out of every ranking; a block is decoded at a time."""
    repeats = np.zeros(len(serialized), bool)
    decoder = example_coder.ExamplesToRecordBatchDecoder()
    for start in range(0, len(serialized) if spec.evaluation.masks else 0, _BLOCK):
        batch = decoder.DecodeBatch(list(serialized[start : start + _BLOCK]))
        item_rows, seen = (lists.flat(batch, name, pa.int64()) for name in ("item_row", "seen_rows"))
        repeats[start : start + _BLOCK] = find_repeats(item_rows[0], *seen)
    return repeats


def _choose_events(
    spec: FeatureSpec, serialized: np.ndarray, repeats: np.ndarray, num_rankings: int | None, seed: int
) -> np.ndarray:
    """Indices of the events of at most `num_rankings` queries (or of as many events) drawn at random.

    Only queries (or events) that give a ranking are drawn, see `build_task`; where all are, every event of the split is
    returned.
    """
    if spec.evaluation.group_by == "query":
        batch = example_coder.ExamplesToRecordBatchDecoder().DecodeBatch(list(serialized))
        groups = _encode_queries(batch).indices.to_numpy()
    else:
        groups = np.arange(len(serialized))
    ranked = np.unique(groups if repeats.all() else groups[~repeats])
    if num_rankings is None or num_rankings >= len(ranked):
        return np.arange(len(serialized))
    drawn = ranked[seeds.generator(seed).permutation(len(ranked))[:num_rankings]]
    return np.flatnonzero(np.isin(groups, drawn))


def _encode_queries(batch: pa.RecordBatch) -> pa.DictionaryArray:
    return lists.flatten(lists.column(batch, "query_id"), pa.large_binary())[0].dictionary_encode()


def _make_task(spec: FeatureSpec, serialized: np.ndarray, repeats: np.ndarray, num_items: int) -> RankingTask:
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
        repeats=repeats,
        read_seen=read_seen,
        slices={},
    )
