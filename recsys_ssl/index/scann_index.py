"""The approximate index of the catalogue, and how much it loses against exact search.

The score is the dot product; vectors may have any length.

References:
    Guo et al. 2020, Accelerating Large-Scale Inference with Anisotropic Vector Quantization, arXiv:1908.10396.
"""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Optional

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scann.scann_ops.py import scann_ops_pybind

from recsys_ssl import artifacts
from recsys_ssl.index import embeddings
from recsys_ssl.index.best import order_best

# Below the first size exact search takes about 0.1 ms; above the second, hashing every item does not.
EXACT_BELOW = 20_000
TREE_ABOVE = 100_000
_LEAST_OF_TREE = 16
"""ScaNN hashes into 16 centres."""

RECALL_AT = (10, 50)
_ASSETS_FILE = "scann_assets.pbtxt"
# Equal items score equally but for the rounding of a dot product of short vectors.
_TIE = 1e-6

Method = Literal["brute_force", "hash", "tree"]
# Method -> its settings.
_USED: dict[str, tuple[str, ...]] = {
    "brute_force": (),
    "hash": ("reorder",),
    "tree": ("num_leaves", "num_leaves_to_search", "reorder"),
}


@dataclass(frozen=True)
class IndexConfig:
    """How to search. None: chosen by the number of items, see `choose_config`."""

    method: Optional[Method] = None
    """Exact; asymmetric hashing of every item; or of the items in the leaves nearest to the query."""
    num_leaves: Optional[int] = None
    """tree: number of leaves, about sqrt(num_items)."""
    num_leaves_to_search: Optional[int] = None
    """tree: leaves searched per query; more is slower and recalls more."""
    reorder: Optional[int] = None
    """hash, tree: how many of the best by hash are scored again exactly."""

    def __post_init__(self):
        if self.method is not None and self.method not in _USED:
            raise ValueError(f"method must be one of {sorted(_USED)}. Received: method={self.method!r}.")
        for name in _USED["tree"]:
            value = getattr(self, name)
            if value is not None and self.method is not None and name not in _USED[self.method]:
                raise ValueError(f"{name} is no setting of method {self.method!r}. Remove it or set another method.")
            if value is not None and value < 1:
                raise ValueError(f"{name} must be positive. Received: {name}={value}.")


@dataclass(frozen=True)
class IndexReport:
    """The facts of one built index (index.json)."""

    num_items: int
    dim: int
    config: IndexConfig
    num_queries: int
    """Held-out queries that recall was measured on."""
    recall: dict[int, float]
    """k -> recall@k against exact search, in [0, 1]."""
    latency_p50_ms: float
    latency_p99_ms: float
    """Milliseconds for one query at the largest k."""
    build_s: float
    size_bytes: int

    def to_json(self) -> str:
        return artifacts.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> IndexReport:
        return artifacts.from_json(cls, text)


def choose_config(config: IndexConfig, num_items: int) -> IndexConfig:
    """Fills in what `config` leaves open.

    Below 20,000 items search is exact, up to 100,000 every item is hashed, above that only the items in the
    nearest fifth of sqrt(num_items) leaves; the best 500 by hash are scored again exactly.

    Raises:
        ValueError: a setting does not belong to the method, or is out of range.
    """
    if num_items < 1:
        raise ValueError(f"an index needs at least one item. Received: num_items={num_items}.")
    method = config.method or _method_for(num_items)
    for name in _USED["tree"]:
        if getattr(config, name) is not None and name not in _USED[method]:
            raise ValueError(f"{name} is no setting of method {method!r} ({num_items} items). Remove it or set method.")
    chosen = replace(config, method=method)
    if "reorder" in _USED[method]:
        chosen = replace(chosen, reorder=config.reorder or 500)
    if method == "tree":
        if num_items < _LEAST_OF_TREE:
            raise ValueError(
                f"a tree needs {_LEAST_OF_TREE} items or more. Received: {num_items}. Set index.method=brute_force."
            )
        num_leaves = config.num_leaves or round(math.sqrt(num_items))
        num_leaves_to_search = config.num_leaves_to_search or math.ceil(0.2 * num_leaves)
        chosen = replace(chosen, num_leaves=num_leaves, num_leaves_to_search=num_leaves_to_search)
        if not num_leaves_to_search <= num_leaves <= num_items:
            raise ValueError(
                "num_leaves_to_search <= num_leaves <= num_items must hold. Received: "
                f"{num_leaves_to_search}, {num_leaves}, {num_items}."
            )
    return chosen


def _method_for(num_items: int) -> Method:
    if num_items < EXACT_BELOW:
        return "brute_force"
    return "hash" if num_items <= TREE_ABOVE else "tree"


# --- The index -------------------------------------------------------------------------------------


class ScannIndex:
    """A ScaNN searcher with the ids of its items."""

    def __init__(self, searcher, item_ids: pa.Array, config: IndexConfig):
        self.searcher = searcher
        self.item_ids = item_ids
        self.config = config

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The approximately best items of every query.

        Args:
            queries: [num_queries, dim] float32.
            k: number of items.

        Returns:
            Item rows [num_queries, k] int64 and scores [num_queries, k] float32, best first. Where fewer than k
            items were found the rows end in -1 and the scores in -inf.
        """
        rows, scores = self.searcher.search_batched(
            queries, final_num_neighbors=k, pre_reorder_num_neighbors=max(self.config.reorder or 0, k)
        )
        # ScaNN says "nothing more" by the score NaN. Its rows are unsigned: NumPy 2 would turn -1 into the largest one.
        found = ~np.isnan(scores)
        return np.where(found, rows.astype(np.int64), -1), np.where(found, scores, -np.inf).astype(np.float32)


def build_index(items: embeddings.ItemEmbeddings, config: IndexConfig = IndexConfig()) -> ScannIndex:
    """Builds the index of the embedded catalogue; holds the vectors twice.

    Raises:
        ValueError: there is no item, a vector is not finite, or the config does not fit.
    """
    chosen = choose_config(config, len(items.vectors))
    norms = np.linalg.norm(items.vectors, axis=1)
    if not np.isfinite(norms).all():
        row = int((~np.isfinite(norms)).argmax())
        raise ValueError(f"item vectors must be finite. Received: length {norms[row]:.4g} in row {row}. Train anew.")
    builder = scann_ops_pybind.builder(items.vectors, max(RECALL_AT), "dot_product")
    if chosen.num_leaves is not None:  # of a tree
        builder = builder.tree(
            chosen.num_leaves, chosen.num_leaves_to_search, training_sample_size=max(100_000, 50 * chosen.num_leaves)
        )
    if chosen.method == "brute_force":
        builder = builder.score_brute_force()
    else:
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(chosen.reorder)
    return ScannIndex(builder.build(), items.item_ids, chosen)


def save_index(index: ScannIndex, out_dir: str | Path) -> None:
    """Writes a stand-alone index (local disk): ScaNN's files, `item_ids.parquet` and `config.json`.

    Replaces the whole directory: what this method does not write must not be left over from another one.
    """
    with artifacts.whole_directory(out_dir) as unfinished:
        index.searcher.serialize(str(unfinished))
        assets = unfinished / _ASSETS_FILE
        text = assets.read_text(encoding="utf-8").replace(str(unfinished), artifacts.finished_name(out_dir))
        assets.write_text(text, encoding="utf-8")
        pq.write_table(pa.table({"item_id": index.item_ids}), unfinished / "item_ids.parquet")
        (unfinished / "config.json").write_text(artifacts.to_json(index.config), encoding="utf-8")


def load_index(index_dir: str | Path) -> ScannIndex:
    """The index that `save_index` wrote, wherever the directory lies now.

    Raises:
        FileNotFoundError: there is no index.
    """
    assets = Path(index_dir, _ASSETS_FILE)
    if not assets.exists():
        raise FileNotFoundError(f"no index in {index_dir}. Build it first.")
    # ScaNN records absolute paths, which break when the directory is moved.
    moved = re.sub(
        r'asset_path: "([^"]*)"',
        lambda match: f'asset_path: "{os.path.join(os.path.abspath(index_dir), os.path.basename(match[1]))}"',
        assets.read_text(encoding="utf-8"),
    )
    searcher = scann_ops_pybind.ScannSearcher(scann_ops_pybind.scann_pybind.ScannNumpy(str(index_dir), moved))
    config = artifacts.from_json(IndexConfig, artifacts.read_text(Path(index_dir, "config.json")))
    return ScannIndex(searcher, read_item_ids(index_dir), config)


def read_item_ids(index_dir: str | Path) -> pa.Array:
    """[num_items] binary: the ids of the items of a saved index."""
    return pq.read_table(os.path.join(index_dir, "item_ids.parquet"))["item_id"].combine_chunks()


# --- What the approximation costs -------------------------------------------------------------------


def search_exactly(
    vectors: np.ndarray, queries: np.ndarray, k: int, block_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """The best items of every query by brute force; equal scores in the order of the rows.

    Args:
        vectors: [num_items, dim] float32.
        queries: [num_queries, dim] float32.
        k: number of items; at most num_items are returned.
        block_size: queries scored at a time: 4 block_size num_items bytes.

    Returns:
        Item rows [num_queries, min(k, num_items)] int64 and their scores, best first.
    """
    rows, best_scores = [], []
    for start in range(0, len(queries), block_size):
        block = queries[start : start + block_size] @ vectors.T
        best = np.stack([order_best(scores, k) for scores in block])
        rows.append(best)
        best_scores.append(np.take_along_axis(block, best, axis=1))
    return np.concatenate(rows), np.concatenate(best_scores)


def measure_recall(
    index: ScannIndex, vectors: np.ndarray, queries: np.ndarray, ks: Sequence[int] = RECALL_AT
) -> dict[int, float]:
    """Recall@k of the index against exact search: the mean share of the k best items that it finds.

    An item that ties with the k-th best one counts as found, since exact search might have named it as well.
    Range 0 to 1, higher is better; with fewer than k items, k is their number.

    Args:
        vectors: [num_items, dim] float32, what the index was built from.
        queries: [num_queries, dim] float32, real held-out queries: recall is a property of the data.

    Raises:
        ValueError: there are no queries.
    """
    if len(queries) == 0:
        raise ValueError("recall needs at least one held-out query. Received: none.")
    largest = min(max(ks), len(vectors))
    _, exact_scores = search_exactly(vectors, queries, largest)
    found, _ = index.search(queries, largest)
    found_scores = np.einsum("qkd,qd->qk", vectors[found], queries)
    found_scores[found < 0] = -np.inf
    recall = {}
    for k in ks:
        first = min(k, largest)
        hits = found_scores[:, :first] >= exact_scores[:, first - 1 : first] - _TIE
        recall[k] = float(hits.mean())
    return recall


def measure_latency_ms(index: ScannIndex, queries: np.ndarray, k: int) -> np.ndarray:
    """[num_queries] milliseconds that each query alone took, after a warm-up."""
    reorder = max(index.config.reorder or 0, k)
    milliseconds = np.empty(len(queries))
    for i, query in enumerate(np.concatenate([queries[:20], queries])):
        start = time.perf_counter()
        index.searcher.search(query, final_num_neighbors=k, pre_reorder_num_neighbors=reorder)
        if i >= len(queries[:20]):
            milliseconds[i - len(queries[:20])] = 1e3 * (time.perf_counter() - start)
    return milliseconds


def index_items(
    items_dir: str | Path,
    queries_dir: str | Path,
    out_dir: str | Path,
    config: IndexConfig = IndexConfig(),
    num_queries: int = 1000,
    seed: int = 0,
) -> IndexReport:
    """Builds and saves the index of the embedded catalogue, and measures it on held-out queries.

    Args:
        items_dir: item embeddings.
        queries_dir: query embeddings of a held-out split.
        out_dir: receives the index and `index.json`, the report that is returned.
        num_queries: at most so many events, drawn with `seed`, are searched.
    """
    items = embeddings.read_items(items_dir)
    queries = embeddings.sample_query_vectors(queries_dir, num_queries, seed)
    start = time.perf_counter()
    index = build_index(items, config)
    build_s = time.perf_counter() - start
    save_index(index, out_dir)
    latency = measure_latency_ms(index, queries, min(max(RECALL_AT), len(items.vectors)))
    report = IndexReport(
        num_items=len(items.vectors),
        dim=items.vectors.shape[1],
        config=index.config,
        num_queries=len(queries),
        recall=measure_recall(index, items.vectors, queries),
        latency_p50_ms=float(np.percentile(latency, 50)),
        latency_p99_ms=float(np.percentile(latency, 99)),
        build_s=build_s,
        size_bytes=sum(file.stat().st_size for file in Path(out_dir).iterdir()),
    )
    artifacts.write_text(Path(out_dir, artifacts.INDEX_REPORT_FILE), report.to_json())
    return report
