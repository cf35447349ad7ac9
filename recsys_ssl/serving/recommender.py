"""Loading an exported recommender and asking it, with plain Python values.

The only module of the package that a server needs; it imports ScaNN only for a model that has its op.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pyarrow as pa
import tensorflow as tf

from recsys_ssl import artifacts
from recsys_ssl.index import raw_inputs
from recsys_ssl.index.description import MAX_K


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
    if not isinstance(k, Integral) or isinstance(k, bool):
        raise TypeError(f"k must be a whole number. Received: k={k!r}. Write it as one, e.g. k=10.")
    if k < 1:
        raise ValueError(f"k must be positive. Received: k={k}.")
    if k > tf.int32.max:
        raise ValueError(f"k must be at most {tf.int32.max}. Received: k={k}. No catalogue has as many items.")
    if not isinstance(features, Mapping):
        raise TypeError(
            f"features must be a dict of lists. Received: {features!r:.99}. Write {{'user': ['7']}}, of a pandas "
            "DataFrame its .to_dict('list')."
        )
    specs = raw_inputs.input_specs(model, "recommend")
    query_specs = {name: specs[name] for name in list_features(model)}
    unknown = sorted(set(features) - set(query_specs))
    if unknown:
        raise ValueError(f"features must be among {sorted(query_specs)}. Received: {unknown}.")
    given = {name: _per_query(name, values) for name, values in features.items()}
    if exclude is not None:
        given["exclude"] = [_excluded(values) for values in _per_query("exclude", exclude)]
    counts = {name: len(values) for name, values in given.items()}
    num_queries = next(iter(counts.values()), 1)
    if any(count != num_queries for count in counts.values()):
        raise ValueError(f"every feature and exclude must have one value per query. Received: {counts} values.")
    if num_queries == 0:
        return Recommendations([], [])
    absent = [None] * num_queries
    columns = {name: _list_column(name, given.get(name, absent), spec.dtype) for name, spec in query_specs.items()}
    columns["exclude"] = _list_column("exclude", given.get("exclude", absent), tf.string)
    arrays = raw_inputs.to_arrays(pa.RecordBatch.from_pydict(columns), query_specs | {"exclude": specs["exclude"]})
    tensors = {name: tf.constant(array, specs[name].dtype) for name, array in arrays.items()}
    # The answer is padded to k.
    most = min(k, model.item_ids.shape[0])
    if most > MAX_K:
        raise ValueError(f"k must be at most {MAX_K}. Received: k={k}.")
    shape = [num_queries][: specs["k"].shape.rank]  # models of earlier versions take one k for all queries
    outputs = model.signatures["recommend"](k=tf.fill(shape, tf.constant(most, tf.int32)), **tensors)
    ids, scores = outputs["item_ids"].numpy().tolist(), outputs["scores"].numpy().tolist()
    # Padding comes last; no item has an empty id.
    found = [sum(map(bool, row)) for row in ids]
    return Recommendations(
        [[item_id.decode() for item_id in row[:count]] for row, count in zip(ids, found, strict=False)],
        [row[:count] for row, count in zip(scores, found, strict=False)],
    )


def _per_query(name: str, values: Any) -> list:
    """The values of a feature, one per query; a text or a dict would be taken apart."""
    found = _as_list(values)
    if found is None:
        raise TypeError(
            f"{name!r} must be a list of one value per query. Received: {values!r:.99}. "
            f"Pass a list, of a single query [{values!r:.99}]."
        )
    return found


def _excluded(values: Any) -> Optional[list]:
    """The ids of one query; a single text might be meant as one of a list for a single query."""
    found = _as_list(values)
    if found is None and not _is_missing(values):
        raise TypeError(
            f"'exclude' must be one list of ids per query. Received: {values!r:.99} in place of such a list. "
            f"Pass lists, for a single query [[{values!r:.99}]]."
        )
    return found


def _as_list(values: Any) -> Optional[list]:
    """A list, tuple, array, tensor or Series as a list; None for what is none of these."""
    if isinstance(values, tf.Tensor):
        values = values.numpy()
    if hasattr(values, "tolist") and not isinstance(values, (str, bytes)):
        values = values.tolist()  # of one number a number
    if isinstance(values, (str, bytes, bytearray, memoryview)) or not isinstance(values, Sequence):
        return None
    return list(values)


def _is_missing(value: Any) -> bool:
    """Whether a value is None, or what pandas puts in its place."""
    return _is_none(value) or (isinstance(value, Real) and value != value)


def _is_none(value: Any) -> bool:
    # Nobody has pandas' NA who has not loaded pandas.
    return value is None or ("pandas" in sys.modules and value is sys.modules["pandas"].NA)


def _list_column(name: str, values: Sequence[Any], dtype: tf.DType) -> pa.Array:
    """[num_queries] lists of values as the model takes them."""
    takes = {tf.string: "strings", tf.int64: "whole numbers"}.get(dtype, "numbers")
    rows = []
    for value in values:
        row = [] if _is_missing(value) else _as_list(value)
        row = [value] if row is None else row
        for one in row:
            if _is_none(one):
                raise TypeError(f"{name!r} takes {takes}. Received: {one} in {row!r:.99}. Leave it out of the list.")
            if takes == "strings" and not isinstance(one, (str, bytes)):
                raise TypeError(f"{name!r} takes strings. Received: {one!r}. Write it as in the log.")
            kind = Integral if takes == "whole numbers" else Real
            if takes != "strings" and (not isinstance(one, kind) or isinstance(one, bool)):
                raise TypeError(f"{name!r} takes {takes}. Received: {one!r}.")
        rows.append([float(one) for one in row] if takes == "numbers" else row)
    arrow = {"strings": pa.large_binary(), "whole numbers": pa.int64(), "numbers": pa.float32()}
    return pa.array(rows, pa.large_list(arrow[takes]))
