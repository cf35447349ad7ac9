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

from recsys_ssl import provenance
from recsys_ssl.index import embeddings, raw_inputs
from recsys_ssl.index.best import order_best
from recsys_ssl.index.description import MAX_K
from recsys_ssl.index.warmup import replay_warmup
from recsys_ssl.serving import requests
from recsys_ssl.serving.eager import to_tensor
from recsys_ssl.serving.filters import Attributes, parse_filter
from recsys_ssl.serving.items import read_features
from recsys_ssl.serving.known_queries import Asked, QueryReader
from recsys_ssl.serving.limits import Limits, limit
from recsys_ssl.serving.live import Change, LiveCatalogue
from recsys_ssl.serving.live_items import LiveIndex, LiveItems
from recsys_ssl.serving.lookup import Lookup
from recsys_ssl.serving.ranking import Ranked, Ranker, Repeats, Wanted, contains

_TRAIN_COUNT = "train_count"


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
    return provenance.load_saved_model(model_dir)


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
NEW_ITEMS = "new_items"
"""Some of the items were added since training; they are placed by their features alone."""
UNKNOWN_ITEMS = "unknown_items"
"""The request names items that the model's catalogue does not have; they are passed over in a history, and they can be
recommended or left out only where the live catalogue has them."""
EXACT = "exact"
"""All items that may be recommended were scored: they are few, or the index found too few of them."""
FEWER = "fewer"
"""No more items may be recommended; there are fewer than k."""


class Answer(NamedTuple):
    """The best items of one query, best first; fewer than k when no more may be recommended."""

    item_ids: list[str]
    scores: list[float]
    flags: tuple[str, ...]
    """What the answer is besides the model's own: of CONTENT, POPULARITY, NEW_ITEMS, UNKNOWN_ITEMS, EXACT, FEWER."""


class Recommender:
    """A served model, what the pipeline laid beside it, and a live catalogue; threads may share it.

    Attributes:
        spec: of the catalogue and the log.
        features: names of what it takes of a query.
        item_features: names of what it takes of an item.
        num_items: of the model's own catalogue.
        model: the SavedModel, loaded.
        lookup: items and queries by their ids.

    Examples:
        recommender = Recommender("WORKDIR/recommender")
        recommender.recommend({"user": ["7"]}, k=2, filters={"genres": ["noir", "war"]})
        recommender.recommend_ids(["no such user"], k=1)  # answers with the flag `popularity`
    """

    def __init__(self, model_dir: str | Path, live_path: str | Path | None = None):
        """
        Args:
            model_dir: a SavedModel of the pipeline.
            live_path: file of a live catalogue, see `live`, which is made when it is missing; no items are live when
                None.

        Raises:
            FileNotFoundError: there is no SavedModel, or nothing lies beside it.
            ValueError: an earlier version exported the model; DamagedError: a file cannot be read.
            ImportError: see `load_recommender`.
        """
        self.lookup = Lookup(model_dir)
        self.spec = self.lookup.spec
        self._attributes = Attributes(model_dir, self.spec)
        self.model, self._model_dir = load_recommender(model_dir), model_dir
        self._ranker = Ranker(self.model)
        self.num_items = self._ranker.num_items
        if len(self._attributes.train_counts) != self.num_items:
            raise ValueError(
                f"{model_dir} must have as many items beside the model as in it. Received: "
                f"{len(self._attributes.train_counts)} and {self.num_items}. Export it again."
            )
        self._item_ids = self.model.item_ids.numpy()
        self._by_count = np.argsort(-self._attributes.train_counts, kind="stable")
        self._queries = QueryReader(self.lookup, raw_inputs.input_specs(self.model, "embed_query"), self._item_ids)
        self._item_specs = raw_inputs.input_specs(self.model, "embed_item")
        self.features, self.item_features = list(self._queries.specs), list(self._item_specs)
        dim = self._ranker.look_up(np.zeros(1)).shape[1]
        self._nothing_live = LiveItems(0, {}, frozenset(), dim)
        self._live: Optional[LiveIndex] = None
        if live_path is not None:
            self.follow(live_path)

    def follow(self, live_path: str | Path) -> None:
        """Serves the items of a live catalogue from now on."""
        dim = self._nothing_live.vectors.shape[1]
        self._live = LiveIndex(LiveCatalogue(live_path), self.lookup, self._embed_records, dim)

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
        request = requests.read_request(queries, self._queries.specs, exclude=exclude, allow=allow)
        return self._answer(self._queries.read(request.features), k, request.ids, filters)

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
        ids = ["".join(texts) for texts in requests.to_texts(given)]
        of_ids = requests.read_request({}, {}, len(ids), exclude=exclude, allow=allow).ids
        return self._answer(self._queries.find(ids), k, of_ids, filters)

    def embed_query(self, queries: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """[num_queries, dim] float32 vectors of queries given by their raw features, see `recommend`."""
        features = requests.read_request(queries, self._queries.specs).features
        return self._call("embed_query", self._queries.specs, features)["embedding"]

    def embed_item(self, items: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """[num_items, dim] float32 vectors of items, each given by its raw features alone, see `items.read_features`.

        The dot product of a query's and an item's vector is the score, but for what repeats add.
        """
        records = [read_features(self.spec, None, item) for item in items]
        return self._embed_records(records, np.full(len(records), -1))

    def find_items(self, item_ids: Sequence[str]) -> dict[str, dict[str, list]]:
        """Id -> raw features, [] or absent where missing, of the items that the catalogue has or that are live."""
        live = self._nothing_live if self._live is None else self._live.now()
        found = self.lookup.find_items(item_ids)
        removed = set(live.hidden.tolist())
        found = {item_id: found[item_id] for item_id, row in self.lookup.find_rows(found).items() if row not in removed}
        return found | {item_id: live.record_of(item_id) for item_id in item_ids if item_id in live.places}

    def item_ids(self, rows: np.ndarray) -> list[str]:
        """The ids of some rows of the model's catalogue."""
        return [item_id.decode() for item_id in self._item_ids[rows]]

    def find_nearest(self, item_id: str, k: int) -> tuple[list[str], list[float]]:
        """The k items of the model's catalogue whose vectors are the most like an item's, and their cosines.

        None where the catalogue lacks the item. Every item is looked at, a block at a time.
        """
        row = self.lookup.find_rows([item_id]).get(item_id)
        if row is None:
            return [], []
        found = self._ranker.find_nearest(row, k)
        return self.item_ids(found.rows), found.scores.tolist()

    def replay_samples(self) -> tuple[int, float]:
        """Asks the model for its own sample requests: their number, and the largest difference of a score expected."""
        return replay_warmup(self.model, self._model_dir)

    # --- The live catalogue ------------------------------------------------------------------------------

    def change_items(self, changes: Sequence[Change]) -> int:
        """Adds, changes and removes items: all or none, durable and found by every request that begins after this.

        Returns:
            The number of the last change, see `live`.

        Raises:
            ValueError: there is no live catalogue; an item that is added is there, or another is not; or the model
                makes no finite vector of an item.
        """
        if self._live is None:
            raise ValueError("the recommender must have a live catalogue. Received: none. Give it a live_path.")
        added = [change.record for change in changes if change.operation == "add"]
        if added and not np.isfinite(self._embed_records(added, np.full(len(added), -1))).all():
            raise ValueError("an item must have a finite vector. Received: NaN or infinity. Check its numbers.")
        number = self._live.catalogue.apply(changes, self.lookup.find_rows)
        self._live.now()
        return number

    # --- Parts of an answer ------------------------------------------------------------------------------

    def _answer(
        self, asked: Asked, k: int, of_ids: Mapping[str, pa.Array], filters: Optional[Mapping[str, Any]]
    ) -> list[Answer]:
        num_queries = len(asked.is_known)
        conditions = () if filters is None else parse_filter(filters, self.spec)
        if num_queries == 0:
            return []
        live = self._nothing_live if self._live is None else self._live.now()
        excluded = requests.to_texts(of_ids["exclude"]) if "exclude" in of_ids else [[]] * num_queries
        allowed = _or_none(of_ids.get("allow"), num_queries)
        named = [[*out, *(only or []), *past] for out, only, past in zip(excluded, allowed, asked.histories)]
        rows = self.lookup.find_rows(itertools.chain.from_iterable(named))
        passing = self._attributes.match(conditions) if conditions else None
        limits = [
            limit(out, only, seen, conditions, passing, rows, live)
            for out, only, seen in zip(excluded, allowed, asked.seen)
        ]
        unknown = asked.list_unknown(rows, self._queries.silent)
        known = [i for i in range(num_queries) if i not in unknown]
        ranked = {i: self._rank_by_count(limits[i], live, k) for i in unknown}
        if known:
            ranked |= zip(known, self._rank(asked.features, known, limits, live, k))
        answers = []
        for i in range(num_queries):
            item_ids, scores, is_exact = ranked[i]
            flags = {
                POPULARITY: i in unknown,
                CONTENT: i not in unknown and asked.is_known[i] is False,
                NEW_ITEMS: any(live.is_new(item_id) for item_id in item_ids),
                UNKNOWN_ITEMS: any(item_id not in rows for item_id in named[i]),
                EXACT: is_exact,
                FEWER: len(item_ids) < k,
            }
            answers.append(Answer(item_ids, scores, tuple(name for name, holds in flags.items() if holds)))
        return answers

    def _rank(
        self, features: pa.RecordBatch, places: Sequence[int], limits: Sequence[Limits], live: LiveItems, k: int
    ) -> list[_Ranking]:
        """The best items of the queries at some places of a request, by the model."""
        some = features if len(places) == len(features) else features.take(places)
        inputs = self._to_tensors(self._queries.specs, some)
        wanted = [Wanted(limits[i].barred, limits[i].allowed) for i in places]
        found = self._ranker.find(inputs, wanted, k, len(live.hidden))
        repeats = self._read_repeats(found.outputs)
        rankings = []
        ranked = self._ranker.rank(found, wanted, k, repeats)
        for i, vector, own, of_model in zip(places, found.vectors, repeats, ranked, strict=True):
            scores = live.vectors @ vector
            if own is not None and len(live.rows):
                scores = own.add_to_rows(live.rows, scores)
            rankings.append(self._merge(of_model, live, scores, limits[i].may_live, k))
        return rankings

    def _rank_by_count(self, limits: Limits, live: LiveItems, k: int) -> _Ranking:
        """The items chosen most in training, and how often; a new item never was."""
        counts = self._attributes.train_counts
        if limits.allowed is None:
            rows = self._by_count[: k + len(limits.barred)]
            rows = rows[~contains(limits.barred, rows)][:k]
        else:
            rows = limits.allowed[~contains(limits.barred, limits.allowed)]
            rows = rows[order_best(counts[rows], k)]
        of_live = np.where(live.rows < 0, 0, counts[live.rows]).astype(np.float32)
        found = Ranked(rows.astype(np.int64), counts[rows].astype(np.float32), False)
        return self._merge(found, live, of_live, limits.may_live, k)

    def _merge(self, found: Ranked, live: LiveItems, scores: np.ndarray, may_live: np.ndarray, k: int) -> _Ranking:
        """The k best of what was found in the model's catalogue and of live items."""
        item_ids = self.item_ids(found.rows)
        if not may_live.any():
            return _Ranking(item_ids, found.scores.tolist(), found.is_exact)
        places = np.flatnonzero(may_live)
        merged = np.concatenate([found.scores, scores[places]])
        item_ids += [live.item_ids[place] for place in places]
        best = order_best(merged, k)
        return _Ranking([item_ids[i] for i in best], merged[best].tolist(), found.is_exact)

    def _read_repeats(self, outputs: Mapping[str, np.ndarray]) -> list[Optional[Repeats]]:
        """What each query's earlier items score for that; None of a model that does not know of repeats."""
        if embeddings.REPEAT_IDS not in outputs:
            return [None] * len(outputs["embedding"])
        ids, scores, temperatures = (outputs[name] for name in embeddings.REPEATS)
        texts = [[item_id.decode() for item_id in row] for row in ids]
        rows = self.lookup.find_rows(itertools.chain.from_iterable(texts))
        repeats: list[Optional[Repeats]] = []
        for own, of_query, temperature in zip(texts, scores, temperatures):
            known = [place for place, item_id in enumerate(own) if item_id in rows]
            own_rows = np.array([rows[own[place]] for place in known], np.int64)
            repeats.append(Repeats(own_rows, of_query[known], float(temperature)))
        return repeats

    def _embed_records(self, records: Sequence[Mapping[str, list]], rows: np.ndarray) -> np.ndarray:
        """See `live_items.Embed`."""
        if not len(records):
            return np.empty((0, self._nothing_live.vectors.shape[1]), np.float32)
        counted = [
            {**record, _TRAIN_COUNT: [float(self._attributes.train_counts[row])]} if row >= 0 else record
            for record, row in zip(records, rows)
        ]
        return self._call("embed_item", self._item_specs, requests.to_batch(counted, self._item_specs))["embedding"]

    def _call(
        self, signature: str, specs: Mapping[str, tf.TensorSpec], records: pa.RecordBatch
    ) -> dict[str, np.ndarray]:
        outputs = self.model.signatures[signature](**self._to_tensors(specs, records))
        return {name: output.numpy() for name, output in outputs.items()}

    @staticmethod
    def _to_tensors(specs: Mapping[str, tf.TensorSpec], records: pa.RecordBatch) -> dict[str, tf.Tensor]:
        arrays = raw_inputs.to_arrays(records, dict(specs))
        return {name: to_tensor(array) for name, array in arrays.items()}


class _Ranking(NamedTuple):
    """The best items of one query."""

    item_ids: list[str]
    scores: list[float]
    is_exact: bool


def _or_none(column: Optional[pa.Array], num_records: int) -> list[Optional[list[str]]]:
    """[num_records] lists of texts; None where nothing is said."""
    if column is None:
        return [None] * num_records
    return [texts if said else None for texts, said in zip(requests.to_texts(column), column.is_valid().to_pylist())]
