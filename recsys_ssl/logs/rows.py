"""Rows of tables by their ids: looked up, hashed, and spread over partitions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc


def find_rows(ids: pa.Array, sorted_or_not: pa.Array) -> np.ndarray:
    """[num_ids] int64, where each id stands in the other array, or -1."""
    return pc.fill_null(pc.index_in(ids, sorted_or_not), -1).to_numpy(zero_copy_only=False).astype(np.int64)


def hash_ids(ids: pa.Array) -> np.ndarray:
    """[num_ids] uint64, the same in every process and run (SipHash of the text with a fixed key)."""
    encoded = ids.dictionary_encode()
    hashes = pd.util.hash_array(encoded.dictionary.to_numpy(zero_copy_only=False).astype(object), categorize=False)
    return hashes[encoded.indices.to_numpy(zero_copy_only=False)]


def mix_hashes(left: np.ndarray, right: np.ndarray | np.uint64, seed: int) -> np.ndarray:
    """[n] uint64 hash of pairs of hashes (the finaliser of SplitMix64; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        state = left * np.uint64(0x9E3779B97F4A7C15) + right + np.uint64(seed % 2**64) * np.uint64(0xD1B54A32D192ED03)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


def split_by(table: pa.Table, keys: np.ndarray, num_keys: int) -> Iterator[tuple[int, pa.Table]]:
    """Yields (key, its records) for each key in 0..num_keys-1 that occurs.

    Records are copied, since a slice travels between workers with all the memory that it is a slice of.
    """
    order = np.argsort(keys, kind="stable")
    bounds = np.searchsorted(keys[order], np.arange(num_keys + 1))
    for key in np.flatnonzero(np.diff(bounds)).tolist():
        yield key, table.take(pa.array(order[bounds[key] : bounds[key + 1]]))
