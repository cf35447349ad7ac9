"""Loading an exported recommender and asking it, with plain Python values.

`load_recommender` and `recommend` need the SavedModel only, and ScaNN only for a model that has its op. `Recommender`
also reads what the pipeline lays beside the model, see `lookup`: it filters, knows queries by their ids, and says when
an answer is not what training prepared.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np
import pyarrow as pa
import tensorflow as tf

from recsys_ssl import artifacts, lists
from recsys_ssl.index import embeddings, raw_inputs
from recsys_ssl.index.description import MAX_K
from recsys_ssl.serving import requests
from recsys_ssl.serving.filters import Attributes, parse_filter
from recsys_ssl.serving.lookup import Lookup
from recsys_ssl.serving.ranking import Ranked, Ranker, Repeats, Wanted, contains, order_best
from recsys_ssl.spec import TIME_INPUTS, IdFeature


class Recommendations(NamedTuple):
    """The best items of every query, best first; a query has fewer than k when no more items are left."""

    item_ids: list[list[str]]
    scores: list[list[float]]


def load_recommender(model_dir: str | Path):
    """Loads a SavedModel of `export`, and ScaNN's ops when the model needs them.

    Raises:
        FileNotFoundError: there is no SavedModel.
        DamagedError: it cannot be read.
        ImportError: the model needs ScaNN, which is not installed, or was built for another TensorFlow.
    """
    graph = Path(model_dir, "saved_model.pb")
    if not graph.exists():
        raise FileNotFoundError(f"no SavedModel in {model_dir}. Export the recommender first.")
    if b"Scann>" in graph.read_bytes():
        try:
            from scann.scann_ops.py import scann_ops  # noqa: F401  (registers the ops)
        except (ImportError, tf.errors.NotFoundError) as error:  # the second: the op does not link to this TensorFlow
            raise ImportError(
                f"{model_dir} needs the ScaNN op. Received: {error}. Install the scann that is made for TensorFlow "
                f"{tf.__version__} (`pip install 'scann[tf]'` takes a pair), or export the brute-force variant."
            ) from error
    return artifacts.load_saved_model(model_dir)


def list_features(model) -> list[str]:
    """The names of what a model of `export` takes of a query."""
    return [name for name in raw_inputs.input_specs(model, "recommend") if name not in ("k", "exclude")]


def recommend(
    model,
    features: Mapping[str, Sequence[Any]],
    k: int,
    exclude: Optional[Sequence[Sequence[str]]] = None,
) -> Recommendations:
    """The k best items of one or many queries.

    Args:
        model: from `load_recommender`.
        features: feature name -> one value per query: a string or number, or a list of them for a multi-valued
            feature, an item sequence or a dense vector; None, NaN or an empty list when missing. A single string in
            place of a list is one value. Of an item sequence, oldest first and each item as often as it was chosen, the
            model reads the last items, as many as its spec says. A feature that is left out is missing in every query;
            {} is one query that nothing is known of. With a transformer over the history a model also takes
            `history_us`, the times of its items, and `timestamp_us`, when the query asks: whole microseconds since
            1970.
        k: number of items, at least 1 and at most 10,000; of a smaller catalogue all.
        exclude: ids to leave out, one list per query.

    A list may be a tuple, a NumPy array, a tensor or a pandas Series as well.

    Raises:
        ValueError: k is not positive or too large, a feature is unknown, or lists have different lengths.
        TypeError: a value has the wrong type, or stands where a list of one value per query is meant.

    Examples:
        >>> model = load_recommender(model_dir)  # WORKDIR/recommender or WORKDIR/recommender-brute-force
        >>> recommend(model, {"user": ["7"], "history": [["12", "50"]]}, k=2, exclude=[["12", "50"]])
        Recommendations(item_ids=[['7', '3']], scores=[[0.75, 0.5]])
    """
    requests.check_k(k)
    specs = raw_inputs.input_specs(model, "recommend")
    query_specs = {name: specs[name] for name in list_features(model)}
    request = requests.read_request(features, query_specs, exclude=exclude)
    if request.num_records == 0:
        return Recommendations([], [])
    columns = dict(zip(request.features.schema.names, request.features.columns)) | request.ids
    records = pa.RecordBatch.from_pydict(columns)
    arrays = raw_inputs.to_arrays(records, query_specs | {"exclude": specs["exclude"]})
    tensors = {name: tf.constant(array, specs[name].dtype) for name, array in arrays.items()}
    # The answer is padded to k.
    most = min(k, model.item_ids.shape[0])
    if most > MAX_K:
        raise ValueError(f"k must be at most {MAX_K}. Received: k={k}.")
    shape = [request.num_records][: specs["k"].shape.rank]  # models of earlier versions take one k for all queries
    outputs = model.signatures["recommend"](k=tf.fill(shape, tf.constant(most, tf.int32)), **tensors)
    ids, scores = outputs["item_ids"].numpy().tolist(), outputs["scores"].numpy().tolist()
    # Padding comes last; no item has an empty id.
    found = [sum(map(bool, row)) for row in ids]
    return Recommendations(
        [[item_id.decode() for item_id in row[:count]] for row, count in zip(ids, found, strict=False)],
        [row[:count] for row, count in zip(scores, found, strict=False)],
    )


# --- With what lies beside the model ---------------------------------------------------------------------

CONTENT = "content"
"""The log has no such query; the answer comes from its features alone."""
POPULARITY = "popularity"
"""Nothing is known of the query: its items are those chosen most in training, and the scores say how often."""
UNKNOWN_ITEMS = "unknown_items"
"""The request names items that the catalogue does not have; they are passed over."""
EXACT = "exact"
"""The index found too few items that may be recommended, so that all of these were scored."""
FEWER = "fewer"
"""No more items may be recommended; there are fewer than k."""


_ITEM_TIMES = TIME_INPUTS[0]


class Answer(NamedTuple):
    """The best items of one query, best first; fewer than k when no more may be recommended."""

    item_ids: list[str]
    scores: list[float]
    flags: tuple[str, ...]
    """What the answer is besides the model's own: of CONTENT, POPULARITY, UNKNOWN_ITEMS, EXACT, FEWER."""


class _Embedded(NamedTuple):
    """What the towers make of queries."""

    vectors: np.ndarray
    repeats: list[Optional[Repeats]]
    """Of each query; None of a model that does not know of repeats."""


class Recommender:
    """A served model, and what the pipeline laid beside it; threads may share it.

    Attributes:
        model: the SavedModel.
        spec: of the catalogue and the log.
        features: names of what it takes of a query.
        item_features: names of what it takes of an item.
        num_items: of the catalogue.

    Examples:
        >>> recommender = Recommender(model_dir)  # WORKDIR/recommender
        >>> recommender.recommend({"user": ["7"]}, k=2, filters={"genres": ["noir", "war"]})
        [Answer(item_ids=['7', '3'], scores=[0.75, 0.5], flags=())]
        >>> recommender.recommend_ids(["no such user"], k=1)
        [Answer(item_ids=['50'], scores=[583.0], flags=('popularity',))]
    """

    def __init__(self, model_dir: str | Path):
        """
        Raises:
            FileNotFoundError: there is no SavedModel, or nothing lies beside it.
            ValueError: an earlier version exported the model; DamagedError: a file cannot be read.
            ImportError: see `load_recommender`.
        """
        self._lookup = Lookup(model_dir)
        self.spec = self._lookup.spec
        self._attributes = Attributes(model_dir, self.spec)
        self.model = load_recommender(model_dir)
        self._ranker = Ranker(self.model)
        self.num_items = self._ranker.num_items
        if len(self._attributes.train_counts) != self.num_items:
            raise ValueError(
                f"{model_dir} must have as many items beside the model as in it. Received: "
                f"{len(self._attributes.train_counts)} and {self.num_items}. Export it again."
            )
        self._item_ids = self.model.item_ids.numpy()
        self._by_count = np.argsort(-self._attributes.train_counts, kind="stable")
        self._query_specs = raw_inputs.input_specs(self.model, "embed_query")
        self._item_specs = raw_inputs.input_specs(self.model, "embed_item")
        self.features, self.item_features = list(self._query_specs), list(self._item_specs)
        self._sequences = [sequence.name for sequence in self.spec.item_sequences if sequence.name in self.features]
        of_query = self.spec.item_features if self.spec.queries.same_as_items else self.spec.query_features
        own = self.spec.items.id if self.spec.queries.same_as_items else self.spec.queries.id
        # The features that hold the id of the query itself.
        self._own_ids = [f.name for f in of_query if isinstance(f, IdFeature) and f.source_column == own]

    # --- Questions ---------------------------------------------------------------------------------------

    def recommend(
        self,
        queries: Mapping[str, Sequence[Any]],
        k: int,
        exclude: Optional[Sequence[Sequence[str]]] = None,
        allow: Optional[Sequence[Optional[Sequence[str]]]] = None,
        filters: Optional[Mapping[str, Any]] = None,
    ) -> list[Answer]:
        """The k best items of one or many queries, given by their raw features.

        Args:
            queries: feature name -> one value per query, see `recommend` of this module.
            k: number of items, at least 1.
            exclude: ids to leave out, one list per query.
            allow: the only ids that may be recommended, one list per query; None for a query that may get any.
            filters: what attributes of the items must be, for all queries, see `filters`.

        Raises:
            ValueError, TypeError: the request says something that cannot be, see `recommend` and `parse_filter`.
        """
        requests.check_k(k)
        request = requests.read_request(queries, self._query_specs, exclude=exclude, allow=allow)
        return self._answer(request.features, self._is_known(request.features), k, request.ids, None, filters)

    def recommend_ids(
        self,
        query_ids: Sequence[str],
        k: int,
        exclude: Optional[Sequence[Sequence[str]]] = None,
        allow: Optional[Sequence[Optional[Sequence[str]]]] = None,
        filters: Optional[Mapping[str, Any]] = None,
    ) -> list[Answer]:
        """The k best items of queries of the log, by their ids alone, as after their last events.

        What the spec leaves out of recommendations (`evaluation.mask_seen`, `mask_disliked`) is left out here. Of a
        query that the log does not have nothing is known, unless queries are items and the catalogue has it.

        Args:
            query_ids: as in the log; the other arguments are those of `recommend`.
        """
        requests.check_k(k)
        given = requests.list_column("query_ids", requests.per_query("query_ids", query_ids), tf.string)
        ids = [b"".join(one).decode("utf-8", "replace") for one in given.to_pylist()]
        of_ids = requests.read_request({}, {}, len(ids), exclude=exclude, allow=allow).ids
        records, is_known, seen = self._look_up(ids)
        return self._answer(records, is_known, k, of_ids, seen, filters)

    def embed_query(self, queries: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """[num_queries, dim] float32 vectors of queries given by their raw features, see `recommend`."""
        return self._embed(requests.read_request(queries, self._query_specs).features).vectors

    def embed_item(self, items: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """[num_items, dim] float32 vectors of items given by their raw features; of content packed as in the examples.

        The dot product of a query's and an item's vector is the score, but for what repeats add.
        """
        records = requests.read_request(items, self._item_specs).features
        return self._call("embed_item", self._item_specs, records)["embedding"]

    # --- Parts of an answer ------------------------------------------------------------------------------

    def _answer(
        self,
        records: pa.RecordBatch,
        is_known: list[Optional[bool]],
        k: int,
        of_ids: Mapping[str, pa.Array],
        seen: Optional[list[np.ndarray]],
        filters: Optional[Mapping[str, Any]],
    ) -> list[Answer]:
        """Answers to records of features.

        Args:
            is_known: whether the log has each query; None for one that does not say who it is.
            of_ids: the columns `exclude` and `allow`, where they are given.
            seen: rows that each query leaves out besides; none when None.
        """
        num_records, conditions = len(records), () if filters is None else parse_filter(filters, self.spec)
        if num_records == 0:
            return []
        excluded, allowed = (_texts(of_ids.get(name), num_records) for name in ("exclude", "allow"))
        histories = [_texts(lists.column(records, name), num_records) for name in self._sequences]
        named = [
            [item_id for of_name in (excluded, allowed, *histories) for item_id in of_name[i] or []]
            for i in range(num_records)
        ]
        rows = self._lookup.find_rows(itertools.chain.from_iterable(named))
        embedded = self._embed(records)
        wanted = []
        for i in range(num_records):
            barred = _to_rows(rows, excluded[i] or [])
            if seen is not None:
                barred = np.union1d(barred, seen[i])
            may = None if allowed[i] is None else _to_rows(rows, allowed[i])
            if conditions:
                passing = self._attributes.match(conditions)
                may = passing if may is None else np.intersect1d(may, passing, assume_unique=True)
            wanted.append(Wanted(embedded.vectors[i], barred, may, embedded.repeats[i]))
        by_popularity = self._list_unknown(records, is_known, histories, rows)
        asked = [i for i in range(num_records) if i not in by_popularity]
        ranked = dict(zip(asked, self._ranker.rank([wanted[i] for i in asked], k))) if asked else {}
        answers = []
        for i in range(num_records):
            found = ranked[i] if i in ranked else self._rank_by_count(wanted[i], k)
            flags = {
                POPULARITY: i not in ranked,
                CONTENT: i in ranked and is_known[i] is False,
                UNKNOWN_ITEMS: any(item_id not in rows for item_id in named[i]),
                EXACT: found.is_exact,
                FEWER: len(found.rows) < k,
            }
            ids = [item_id.decode() for item_id in self._item_ids[found.rows]]
            answers.append(Answer(ids, found.scores.tolist(), tuple(name for name, holds in flags.items() if holds)))
        return answers

    def _embed(self, records: pa.RecordBatch) -> _Embedded:
        outputs = self._call("embed_query", self._query_specs, records)
        repeats: list[Optional[Repeats]] = [None] * len(records)
        if embeddings.REPEAT_IDS in outputs:
            ids, scores, temperatures = (outputs[name] for name in embeddings.REPEATS)
            texts = [[item_id.decode() for item_id in row if item_id] for row in ids]
            rows = self._lookup.find_rows(itertools.chain.from_iterable(texts))
            for i, own in enumerate(texts):
                known = [place for place, item_id in enumerate(own) if item_id in rows]
                of_items = np.array([rows[own[place]] for place in known], np.int64)
                repeats[i] = Repeats(of_items, scores[i][known], float(temperatures[i]))
        return _Embedded(outputs["embedding"], repeats)

    def _call(
        self, signature: str, specs: Mapping[str, tf.TensorSpec], records: pa.RecordBatch
    ) -> dict[str, np.ndarray]:
        arrays = raw_inputs.to_arrays(records, specs)
        tensors = {name: tf.constant(array, specs[name].dtype) for name, array in arrays.items()}
        return {name: output.numpy() for name, output in self.model.signatures[signature](**tensors).items()}

    def _look_up(self, ids: list[str]) -> tuple[pa.RecordBatch, list[Optional[bool]], list[np.ndarray]]:
        """The features of queries of the log, whether the log has them, and what they leave out."""
        logged, of_items = self._lookup.find_queries(ids), {}
        if self.spec.queries.same_as_items:
            of_items = self._lookup.find_items(ids)
        records, seen = [], []
        for query_id in ids:
            own = logged.get(query_id)
            record: dict[str, Any] = {name: [query_id.encode()] for name in self._own_ids}
            if own is not None:
                record |= own.record | {name: list(self._item_ids[own.history]) for name in self._sequences}
                record |= {_ITEM_TIMES: own.times_us.tolist()}
            records.append(record | of_items.get(query_id, {}))
            seen.append(np.empty(0, np.int64) if own is None else own.seen)
        if self.spec.queries.same_as_items:
            own_rows = self._lookup.find_rows(ids)
            seen = [np.union1d(rows, [own_rows[i]]) if i in own_rows else rows for rows, i in zip(seen, ids)]
        columns = {
            name: requests.list_column(name, [record.get(name) for record in records], spec.dtype)
            for name, spec in self._query_specs.items()
        }
        return pa.RecordBatch.from_pydict(columns), [i in logged or i in of_items for i in ids], seen

    def _is_known(self, records: pa.RecordBatch) -> list[Optional[bool]]:
        """Whether the log has queries that say who they are; None for one that does not."""
        names = [name for name in self._own_ids if name in self._query_specs][:1]
        if not names:
            return [None] * len(records)
        ids = [own[0] if own else None for own in _texts(lists.column(records, names[0]), len(records))]
        said = [one for one in ids if one is not None]
        known = self._lookup.list_known(said)
        if self.spec.queries.same_as_items:
            known |= set(self._lookup.find_rows(said))
        return [None if one is None else one in known for one in ids]

    def _list_unknown(
        self,
        records: pa.RecordBatch,
        is_known: list[Optional[bool]],
        histories: list[list[list[str]]],
        rows: Mapping[str, int],
    ) -> set[int]:
        """The queries that nothing is known of: no id of the log, no feature, no known item that they chose."""
        told = np.array([bool(known) for known in is_known])
        for name in set(self.features) - {*self._own_ids, *self._sequences, *TIME_INPUTS}:
            told |= lists.flatten(lists.column(records, name), pa.large_binary())[1] > 0
        for history in histories:
            told |= np.array([any(item_id in rows for item_id in own) for own in history])
        return set(np.flatnonzero(~told).tolist())

    def _rank_by_count(self, wanted: Wanted, k: int) -> Ranked:
        """The rows chosen most in training, and how often."""
        counts = self._attributes.train_counts
        if wanted.allowed is None:
            rows = self._by_count[: k + len(wanted.barred)]
            rows = rows[~contains(wanted.barred, rows)][:k]
        else:
            rows = wanted.allowed[~contains(wanted.barred, wanted.allowed)]
            rows = rows[order_best(counts[rows], k)]
        return Ranked(rows.astype(np.int64), counts[rows].astype(np.float32), False)


def _texts(column: Optional[pa.Array], num_records: int) -> list:
    """[num_records] lists of texts; None where nothing is said."""
    if column is None:
        return [None] * num_records
    return [None if row is None else [text.decode("utf-8", "replace") for text in row] for row in column.to_pylist()]


def _to_rows(rows: Mapping[str, int], item_ids: Sequence[str]) -> np.ndarray:
    """The rows of items that the catalogue has, distinct and ascending."""
    return np.unique(np.array([rows[item_id] for item_id in item_ids if item_id in rows], np.int64))
