"""Hashes of ids, and the parts of a table."""

import subprocess
import sys

import numpy as np
import pyarrow as pa

from recsys_ssl.logs.rows import hash_ids, split_by


def test_hashes_are_the_same_in_every_process_and_spread():
    ids = pa.array(["a", "b", "🎬", "a"], pa.large_string())
    here = hash_ids(ids)
    assert here[0] == here[3]
    program = (
        "import pyarrow as pa; from recsys_ssl.logs.rows import hash_ids;"
        "print(hash_ids(pa.array(['a', 'b', '\\U0001f3ac', 'a'], pa.large_string())).tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(here.tolist())
    many = hash_ids(pa.array([f"user-{n}" for n in range(8_000)], pa.large_string())) % np.uint64(8)
    sizes = np.bincount(many.astype(int), minlength=8)
    assert abs(sizes - 1_000).max() < 5 * np.sqrt(1_000)


def test_split_by_returns_every_record_once_in_order():
    table = pa.table({"x": list(range(6))})
    parts = dict(split_by(table, np.array([2, 0, 2, 2, 0, 3]), 4))
    assert {key: part["x"].to_pylist() for key, part in parts.items()} == {0: [1, 4], 2: [0, 2, 3], 3: [5]}
