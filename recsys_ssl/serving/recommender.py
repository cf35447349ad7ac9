"""Loading an exported recommender and asking it, with plain Python values.

The only module of the package that a server needs; it imports ScaNN only for a model that has its op.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Optional

import pyarrow as pa
import tensorflow as tf

from recsys_ssl.index import raw_inputs


class Recommendations(NamedTuple):
    """The best items of every query, best first; a query has fewer than k when no more items are left."""

    item_ids: list[list[str]]
    scores: list[list[float]]


def load_recommender(model_dir: str | Path):
    """Loads a SavedModel of `export`, and ScaNN's ops when the model needs them.

    Raises:
        FileNotFoundError: there is no SavedModel.
        ImportError: the model needs ScaNN, which is not installed.
    """
    graph = Path(model_dir, "saved_model.pb")
    if not graph.exists():
        raise FileNotFoundError(f"no SavedModel in {model_dir}. Export the recommender first.")
    if b"Scann>" in graph.read_bytes():
        try:
            from scann.scann_ops.py import scann_ops  # noqa: F401  (registers the ops)
        except ImportError as error:
            raise ImportError(
                f"{model_dir} needs the ScaNN op. Received: {error}. Install scann or export the brute-force variant."
            ) from error
    return tf.saved_model.load(str(model_dir))


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
            feature, an item sequence or a dense vector; None or an empty list when missing. A feature that is left
            out is missing in every query; {} is one query that nothing is known of.
        k: number of items, at least 1.
        exclude: ids to leave out, one list per query.

    Raises:
        ValueError: k is not positive, a feature is unknown, or lists have different lengths.
        TypeError: a value has the wrong type.

    Examples:
        >>> model = load_recommender(model_dir)  # WORKDIR/recommender or WORKDIR/recommender-brute-force
        >>> recommend(model, {"user": ["7"], "history": [["12", "50"]]}, k=2, exclude=[["12", "50"]])
        Recommendations(item_ids=[['7', '3']], scores=[[0.75, 0.5]])
    """
    if k < 1:
        raise ValueError(f"k must be positive. Received: k={k}.")
    specs = raw_inputs.input_specs(model, "recommend")
    query_specs = {name: spec for name, spec in specs.items() if name not in ("k", "exclude")}
    unknown = sorted(set(features) - set(query_specs))
    if unknown:
        raise ValueError(f"features must be among {sorted(query_specs)}. Received: {unknown}.")
    counts = {name: len(values) for name, values in features.items()}
    counts |= {} if exclude is None else {"exclude": len(exclude)}
    num_queries = next(iter(counts.values()), 1)
    if any(count != num_queries for count in counts.values()):
        raise ValueError(f"every feature and exclude must have one value per query. Received: {counts} values.")
    if num_queries == 0:
        return Recommendations([], [])
    absent = [None] * num_queries
    columns = {name: _list_column(name, features.get(name, absent), spec.dtype) for name, spec in query_specs.items()}
    columns["exclude"] = _list_column("exclude", exclude or absent, tf.string)
    arrays = raw_inputs.to_arrays(pa.RecordBatch.from_pydict(columns), query_specs | {"exclude": specs["exclude"]})
    tensors = {name: tf.constant(array, specs[name].dtype) for name, array in arrays.items()}
    outputs = model.signatures["recommend"](k=tf.constant(k, tf.int32), **tensors)
    ids, scores = outputs["item_ids"].numpy().tolist(), outputs["scores"].numpy().tolist()
    # Padding comes last.
    found = [sum(score > float("-inf") for score in row) for row in scores]
    return Recommendations(
        [[item_id.decode() for item_id in row[:count]] for row, count in zip(ids, found, strict=False)],
        [row[:count] for row, count in zip(scores, found, strict=False)],
    )


def _list_column(name: str, values: Sequence[Any], dtype: tf.DType) -> pa.Array:
    lists = [value if isinstance(value, (list, tuple)) else [] if value is None else [value] for value in values]
    if dtype == tf.string:
        wrong = next((value for row in lists for value in row if not isinstance(value, (str, bytes))), None)
        if wrong is not None:
            raise TypeError(f"{name!r} takes strings. Received: {wrong!r}. Write it as in the log.")
        return pa.array(lists, pa.large_list(pa.large_binary()))
    wrong = next((value for row in lists for value in row if isinstance(value, (str, bytes))), None)
    if wrong is not None:
        raise TypeError(f"{name!r} takes numbers. Received: {wrong!r}.")
    return pa.array(lists, pa.large_list(pa.float32()))
