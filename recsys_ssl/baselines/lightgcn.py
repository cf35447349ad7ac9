"""LightGCN of RecBole 1.2.1, trained by an interpreter of its own.

RecBole needs PyTorch and releases of SciPy and pandas that do not fit beside this package, hence an environment of
its own, made once with Python 3.11:

    python3.11 -m venv build/lightgcn-venv
    build/lightgcn-venv/bin/pip install recbole==1.2.1 torch==2.13.0 'numpy<2' 'scipy<1.12' 'pandas<3' 'setuptools<81'

PyTorch without CUDA is enough. `lightgcn_worker.py` is what that interpreter runs. One core, one thread.

References:
    He et al. 2020, "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", arXiv:2002.02126.
    Zhao et al. 2021, "RecBole: Towards a Unified, Comprehensive and Efficient Framework for Recommendation
    Algorithms", arXiv:2011.01731.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsys_ssl.baselines.environment import check_codes, complete_settings, run_worker

PYTHON = Path("build/lightgcn-venv/bin/python")
WORKER = Path(__file__).with_name("lightgcn_worker.py")

DEFAULTS: dict[str, int | float] = {
    "embedding_dim": 64,
    "num_layers": 2,
    "learning_rate": 0.02,
    "reg_weight": 1e-5,
    "batch_size": 8192,
    "num_epochs": 40,
}


def fit_lightgcn(
    train_query_codes: np.ndarray,
    train_item_rows: np.ndarray,
    num_queries: int,
    num_items: int,
    settings: Mapping[str, int | float] | None = None,
    seed: int = 0,
    python: str | Path = PYTHON,
) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of every query and item that LightGCN learns from pairs; a score is their dot product.

    Queries and items are the two sides of one graph. With A its adjacency, D its degrees and E(0) the learned
    embeddings, E(k+1) = D^-1/2 A D^-1/2 E(k), and a vector is the mean of E(0) ... E(num_layers). E(0) minimises
    the batch mean of -log sigmoid(score(query, item) - score(query, negative)), one negative a pair, uniform among the
    items that the query has no pair with, plus reg_weight / batch_size times the Frobenius norms of the batch's
    queries, items and negatives in E(0); the norms are not squared, so a weight of 1e-5 hardly acts. A query or item
    without pairs has no neighbours: the item is only ever a negative, the query keeps its random start.

    Args:
        train_query_codes: [num_pairs] int64 in [0, num_queries).
        train_item_rows: [num_pairs] int64 in [0, num_items).
        num_queries: queries that get a vector, whether or not they have pairs.
        num_items: items that get a vector, whether or not they have pairs.
        settings: what differs from `DEFAULTS`. Time is proportional to num_epochs / batch_size: every step
            propagates over the whole graph, whatever the batch, so a larger graph asks for a larger batch.
        seed: of the initial embeddings, the order of the pairs and the negatives.
        python: the interpreter that has RecBole.

    Returns:
        [num_queries, embedding_dim] and [num_items, embedding_dim] float32.

    Raises:
        ValueError: a setting is unknown, a code or row is out of range, or the two arrays differ in length.
        FileNotFoundError: the interpreter is missing.
        RuntimeError: the worker failed; the message ends with what it printed.
    """
    completed = complete_settings(DEFAULTS, settings)
    if len(train_query_codes) != len(train_item_rows) or len(train_query_codes) == 0:
        raise ValueError(
            "train_query_codes and train_item_rows must have one length, at least 1. "
            f"Received: {len(train_query_codes)} and {len(train_item_rows)}."
        )
    check_codes("train_query_codes", train_query_codes, num_queries)
    check_codes("train_item_rows", train_item_rows, num_items)
    found = run_worker(
        "LightGCN",
        python,
        WORKER,
        {
            "query_codes": np.asarray(train_query_codes, np.int64),
            "item_rows": np.asarray(train_item_rows, np.int64),
            "num_queries": num_queries,
            "num_items": num_items,
            "seed": seed,
        },
        completed,
        made_by=__file__,
    )
    return found["queries"], found["items"]
