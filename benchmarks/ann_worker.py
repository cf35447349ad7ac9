"""hnswlib and faiss in a process of their own: an environment that has them has no TensorFlow, and needs none.

Run by `benchmarks.ann`; this file imports NumPy alone, and the two libraries only as the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

NUM_BEST, TARGET = 10, 0.95
# What is found for the queries that a method is set by is a little more than for others.
MARGIN = 0.96


class Others:
    """The process, and what its methods were set to.

    Attributes:
        facts: method -> CPU seconds of building, and its setting.
    """

    def __init__(
        self,
        python: str,
        directory: Path,
        vectors: np.ndarray,
        tuning: np.ndarray,
        best: np.ndarray,
        queries: np.ndarray,
    ):
        for name, array in {"vectors": vectors, "tuning": tuning, "best": best, "queries": queries}.items():
            np.save(directory / f"{name}.npy", array)
        self._directory = directory
        self._process = subprocess.Popen(
            [python, os.path.abspath(__file__), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        self.facts = {name: (seconds, setting) for name, seconds, setting in self._read()}

    def search(self, name: str) -> tuple[np.ndarray, float]:
        """[num_queries, NUM_BEST] rows, and the CPU seconds that they took."""
        print(name, file=self._process.stdin, flush=True)
        spent = self._read()
        return np.load(self._directory / "found.npy"), spent

    def close(self) -> None:
        self._process.communicate()

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of hnswlib and faiss must answer. Received: exit {self._process.wait()}.")
        return json.loads(line)


def _work(directory: Path) -> None:
    import faiss
    import hnswlib

    faiss.omp_set_num_threads(1)
    vectors, tuning, best, queries = (
        np.load(directory / f"{name}.npy") for name in ("vectors", "tuning", "best", "queries")
    )
    searches, facts = {}, []

    begun = time.process_time()
    graph = hnswlib.Index(space="ip", dim=vectors.shape[1])
    graph.init_index(max_elements=len(vectors), ef_construction=100, M=16, random_seed=0)
    graph.set_num_threads(1)
    graph.add_items(vectors, num_threads=1)
    seconds = time.process_time() - begun
    searches["hnswlib"] = lambda query: graph.knn_query(query, NUM_BEST, num_threads=1)[0]
    setting = _set(graph.set_ef, searches["hnswlib"], [10, 20, 40, 80, 160, 320, 640], tuning, best)
    facts.append(["hnswlib", seconds, f"M 16, ef {setting}"])

    begun = time.process_time()
    num_lists = int(4 * len(vectors) ** 0.5)
    lists = faiss.index_factory(vectors.shape[1], f"IVF{num_lists},Flat", faiss.METRIC_INNER_PRODUCT)
    lists.train(vectors[: 50 * num_lists])
    lists.add(vectors)
    seconds = time.process_time() - begun
    searches["faiss_ivf"] = lambda query: lists.search(query, NUM_BEST)[1]
    choices = [1, 2, 4, 8, 16, 32, 64, 128, 256]
    setting = _set(lambda value: setattr(lists, "nprobe", value), searches["faiss_ivf"], choices, tuning, best)
    facts.append(["faiss_ivf", seconds, f"{setting} of {num_lists} lists"])

    print(json.dumps(facts), flush=True)
    for line in sys.stdin:
        search, begun = searches[line.strip()], time.process_time()
        found = np.concatenate([search(queries[i : i + 1]) for i in range(len(queries))])
        spent = time.process_time() - begun
        np.save(directory / "found.npy", found.astype(np.int64))
        print(json.dumps(spent), flush=True)


def _set(apply, search, choices, tuning: np.ndarray, best: np.ndarray) -> int:
    """The least of some settings that recalls enough; the largest where none does."""
    for choice in choices:
        apply(choice)
        found = search(tuning)
        shares = [len(set(own) & set(wanted)) / NUM_BEST for own, wanted in zip(found.tolist(), best.tolist())]
        if np.mean(shares) >= MARGIN:
            break
    return choice


if __name__ == "__main__":
    _work(Path(sys.argv[1]))
