"""Parquet embeddings and specs, written as the contract says."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.evaluation.evaluate import Arm
from recsys_ssl.spec import FeatureSpec
from tests.evaluation.tasted_arms import DIM, NUM_ITEMS, NUM_QUERIES


def _spec(same_as_items=False, **evaluation):
    item = {"name": "item", "column": "item_id", "kind": "id"}
    topic = {"name": "topic", "kind": "categorical"}
    if same_as_items:
        queries = {"same_as_items": True}
    else:
        queries = {"table": {"paths": ["q.csv"]}, "features": [{"name": "gender", "kind": "categorical"}]}
    return FeatureSpec.model_validate(
        {
            "name": "made-up",
            "events": {
                "paths": ["log.csv"],
                "query_id": "query_id",
                "item_id": "item_id",
                "timestamp": {"column": "time"},
            },
            "items": {"table": {"paths": ["items.csv"]}, "features": [item, topic]},
            "queries": queries,
            "evaluation": evaluation,
        }
    )


def _vectors(vectors):
    vectors = np.asarray(vectors, np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])


def _write(directory: Path, columns: dict, rows_per_file):
    directory.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    step = rows_per_file or max(1, table.num_rows)
    for part, start in enumerate(range(0, max(1, table.num_rows), step)):
        pq.write_table(table.slice(start, step), directory / f"part-{part:05d}.parquet")
    return directory


def _write_queries(directory, query_ids, item_rows, vectors, seen=None, times=None, rows_per_file=None, **columns):
    seen = [[]] * len(query_ids) if seen is None else seen
    fixed = {
        "query_id": pa.array([q if isinstance(q, bytes) else q.encode() for q in query_ids], pa.binary()),
        "item_row": pa.array(item_rows, pa.int64()),
        "seen_rows": pa.array(seen, pa.list_(pa.int64())),
        "timestamp_us": pa.array([None] * len(query_ids) if times is None else times, pa.int64()),
        "vector": _vectors(vectors),
    }
    return _write(Path(directory), fixed | {name: pa.array(values) for name, values in columns.items()}, rows_per_file)


def _write_items(directory, vectors, train_counts, ids=None, rows=None, rows_per_file=None):
    n = len(train_counts)
    ids = [f"item-{row}".encode() for row in range(n)] if ids is None else ids
    columns = {
        "item_row": pa.array(range(n) if rows is None else rows, pa.int64()),
        "item_id": pa.array(ids, pa.binary()),
        "vector": _vectors(vectors),
        "train_count": pa.array(train_counts, pa.int64()),
    }
    return _write(Path(directory), columns, rows_per_file)


@pytest.fixture
def make_spec():
    return _spec


@pytest.fixture
def write_queries():
    return _write_queries


@pytest.fixture
def write_items():
    return _write_items


@pytest.fixture
def make_arms(tmp_path, write_queries, write_items):
    """Two arms that see the true taste through different noise; items are chosen by taste."""
    rng = np.random.default_rng(0)
    taste, items = rng.normal(size=(NUM_QUERIES, DIM)), rng.normal(size=(NUM_ITEMS, DIM))
    chosen = np.argsort(-(taste @ items.T) + rng.normal(scale=2, size=(NUM_QUERIES, NUM_ITEMS)), axis=1)[:, :6]
    queries = np.repeat(np.arange(NUM_QUERIES), 4)
    counts = rng.poisson(3, NUM_ITEMS)

    def make(control_noise=1.0, treatment_noise=0.1, below="."):
        arms = []
        for name, noise in (("plain", control_noise), ("regularised", treatment_noise)):
            seen = np.repeat(chosen[:, 4:], 4, axis=0).tolist()
            vectors = (taste + np.random.default_rng(1).normal(scale=noise, size=taste.shape))[queries]
            write_queries(
                tmp_path / below / name / "queries",
                [f"<user {query}>" for query in queries],
                chosen[:, :4].ravel(),
                vectors,
                seen=seen,
                times=np.arange(len(queries)) + 1_000_000_000,
                gender=np.where(queries % 2, "F", "M").tolist(),
            )
            write_items(tmp_path / below / name / "items", items, counts)
            arms.append(
                Arm(
                    name,
                    str(tmp_path / below / name / "items"),
                    str(tmp_path / below / name / "queries"),
                    {"noise": noise, "steps": 10},
                    {10: 0.99, 50: 0.97},
                )
            )
        return arms

    return make
