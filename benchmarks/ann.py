"""Measures approximate search: ScaNN, inverted lists in plain TensorFlow, hnswlib and faiss against brute force.

python -m benchmarks.ann --others PYTHON

Items and queries are drawn around the same centres, of length 1, as embeddings of towers are. Each method is set by the
first half of the queries to the cheapest of its settings that recalls at least 0.95 of the ten best, and measured on
the second half: recall@10, and CPU seconds of one query after the other on one thread, in rounds in which every method
takes its turn. Figures are medians over rounds, with the smallest and largest ratio to brute force of the same round as
the interval. PYTHON is an interpreter with numpy, hnswlib and faiss-cpu; its methods run in a process of their own and
their CPU seconds are measured there. Without it they are left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import tensorflow as tf

from benchmarks.ann_worker import MARGIN, NUM_BEST, TARGET, Others
from benchmarks.claims import RESULTS, describe_hardware, record
from benchmarks.processes import use_one_thread
from recsys_ssl.index import embeddings, export, scann_index

COMMAND = "python -m benchmarks.ann"
Search = Callable[[np.ndarray], np.ndarray]
"""[dim] query -> [<= NUM_BEST] rows."""


class Measured(NamedTuple):
    """What a method does."""

    recall: float
    cpu_ms: np.ndarray
    """[num_rounds] CPU milliseconds a query."""
    build_cpu_s: float
    setting: str


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--centres", type=int, default=5000)
    parser.add_argument("--queries", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--others", help="interpreter with hnswlib and faiss")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    vectors, queries = draw(options.items, options.queries, options.dim, options.centres, options.seed)
    best, _ = scann_index.search_exactly(vectors, queries, NUM_BEST)
    half = len(queries) // 2
    measured = measure(vectors, queries[:half], queries[half:], best, options.rounds, options.others)
    given = sys.argv[1:] if arguments is None else arguments
    command = " ".join([COMMAND, *("PYTHON" if word == options.others else word for word in given)])
    size = "1m" if options.items == 1_000_000 else f"{options.items // 1000}k"
    print(f"{options.items:,} x {options.dim}, {describe_hardware()}")
    exact = measured["brute_force"].cpu_ms
    for name, one in measured.items():
        ratio = exact / one.cpu_ms
        print(
            f"{name:15} {one.setting:24} recall@{NUM_BEST} {one.recall:.3f}  {np.median(one.cpu_ms):7.3f} ms  "
            f"x {np.median(ratio):6.1f}  built in {one.build_cpu_s:6.1f} s of CPU"
        )
        if one.recall < TARGET:
            continue
        what = (
            f"{name} ({one.setting}), {options.items:,} items x {options.dim}, one thread, recall@10 {one.recall:.3f}"
        )
        claim = {"command": command, "seconds": time.monotonic() - started, "results": results}
        record(
            "serving",
            id=f"{name}_cpu_ms_{size}",
            what=f"CPU milliseconds of one query: {what}",
            value=float(np.median(one.cpu_ms)),
            interval=(float(one.cpu_ms.min()), float(one.cpu_ms.max())),
            unit="ms",
            **claim,
        )
        record("serving", id=f"{name}_recall_at_10_{size}", what=f"Recall@10: {what}", value=one.recall, **claim)
        if name != "brute_force":
            record(
                "serving",
                id=f"{name}_qps_vs_brute_force_{size}",
                what=f"Queries a second against brute force of plain TensorFlow, by CPU seconds: {what}",
                value=float(np.median(ratio)),
                interval=(float(ratio.min()), float(ratio.max())),
                unit="x",
                **claim,
            )


def draw(num_items: int, num_queries: int, dim: int, num_centres: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """[num_items, dim] and [num_queries, dim] float32 of length 1, as far from their centres as these are long."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((num_centres, dim), np.float32)
    rows = np.empty((num_items + num_queries, dim), np.float32)
    for first in range(0, len(rows), 100_000):
        part = rows[first : first + 100_000]
        part[:] = centres[rng.integers(num_centres, size=len(part))] + rng.standard_normal(part.shape, np.float32)
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return rows[:num_items], rows[num_items:]


def measure(
    vectors: np.ndarray, tuning: np.ndarray, queries: np.ndarray, best: np.ndarray, num_rounds: int, others: str | None
) -> dict[str, Measured]:
    """Method -> what it does, brute force first.

    Args:
        tuning, queries: what methods are set by, and what they are measured on.
        best: [num_tuning + num_queries, NUM_BEST] exact rows of both.
    """
    of_tuning, of_queries = best[: len(tuning)], best[len(tuning) :]
    searches: dict[str, Search] = {}
    facts: dict[str, tuple[float, str]] = {}
    for name, build in (("brute_force", _brute_force), ("scann", _scann), ("inverted_lists", _inverted_lists)):
        begun = time.process_time()
        searches[name], setting = build(vectors, tuning, of_tuning)
        facts[name] = time.process_time() - begun, setting
    with tempfile.TemporaryDirectory() as directory:
        worker = None
        if others is not None:
            worker = Others(others, Path(directory), vectors, tuning, of_tuning, queries)
            facts |= worker.facts
        found: dict[str, np.ndarray] = {}
        times: dict[str, list[float]] = {name: [] for name in facts}
        for _ in range(num_rounds):
            for name in facts:
                if name in searches:
                    begun = time.process_time()
                    found[name] = np.stack([_pad(searches[name](query)) for query in queries])
                    spent = time.process_time() - begun
                else:
                    found[name], spent = worker.search(name)
                times[name].append(1e3 * spent / len(queries))
        if worker is not None:
            worker.close()
    return {
        name: Measured(measure_recall(found[name], of_queries), np.array(times[name]), *facts[name]) for name in facts
    }


def measure_recall(found: np.ndarray, best: np.ndarray) -> float:
    """The mean share of the exact rows among those found."""
    return (
        float(np.mean([len(set(own) & set(wanted)) for own, wanted in zip(found.tolist(), best.tolist())])) / NUM_BEST
    )


def _pad(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows, np.full(NUM_BEST - len(rows), -1, rows.dtype)])


def _brute_force(vectors: np.ndarray, tuning: np.ndarray, best: np.ndarray) -> tuple[Search, str]:
    """As the exact model ranks."""
    items = tf.constant(vectors)
    search = tf.function(
        lambda query: tf.math.top_k(tf.matmul(query, items, transpose_b=True), NUM_BEST).indices,
        input_signature=[tf.TensorSpec([None, vectors.shape[1]])],
    )
    return lambda query: search(tf.constant(query[np.newaxis])).numpy()[0], "exact"


def _inverted_lists(vectors: np.ndarray, tuning: np.ndarray, best: np.ndarray) -> tuple[Search, str]:
    """As it is exported, but set to the ten best."""
    index = export.make_inverted_lists(vectors, tuning, num_best=NUM_BEST, least_recall=MARGIN)
    search = tf.function(
        lambda query: index.search(query, NUM_BEST, 0)[1], input_signature=[tf.TensorSpec([None, vectors.shape[1]])]
    )
    told = f"{index.num_probed} of {index.num_blocks} blocks"
    return lambda query: search(tf.constant(query[np.newaxis])).numpy()[0], told


def _scann(vectors: np.ndarray, tuning: np.ndarray, best: np.ndarray) -> tuple[Search, str]:
    """As `build_index` builds it; of its leaves so few are searched, and so few scored again, as recall allows."""
    ids = pa.array([b"%d" % row for row in range(len(vectors))], pa.binary())
    items = embeddings.ItemEmbeddings(ids, vectors, np.zeros(len(vectors), np.int64))
    index = scann_index.build_index(items)
    leaves = [None] if index.config.num_leaves is None else [2**n for n in range(3, 11)]
    setting = {}
    for num_leaves in leaves:
        for reorder in (30, 60, 100, 200):
            setting = {"pre_reorder_num_neighbors": reorder}
            if num_leaves is not None:
                setting["leaves_to_search"] = num_leaves
            found = np.stack([_scann_search(index, query, setting) for query in tuning])
            if measure_recall(found, best) >= MARGIN:
                told = f"{num_leaves} leaves, {reorder} again" if num_leaves else f"{reorder} again"
                return (lambda query, setting=setting: _scann_search(index, query, setting)), told
    return (lambda query: _scann_search(index, query, setting)), "recall not reached"


def _scann_search(index: scann_index.ScannIndex, query: np.ndarray, setting: dict) -> np.ndarray:
    return index.searcher.search(query, final_num_neighbors=NUM_BEST, **setting)[0].astype(np.int64)


if __name__ == "__main__":
    use_one_thread()
    main()
