"""Sums over a collection: what the E-steps of k-means and of reconstructions come down to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apache_beam as beam


class AddUp(beam.CombineFn):
    """Statistics of parts -> those of all; of no part, None. A worker holds the sums once or twice."""

    def __init__(self, add: Callable[[Any, Any], Any]):
        """Takes what adds two of them, a function of a module, which Beam sends to its workers."""
        super().__init__()
        self._add = add

    def create_accumulator(self):
        return None

    def add_input(self, accumulator, sums):
        return sums if accumulator is None else self._add(accumulator, sums)

    def merge_accumulators(self, accumulators):
        merged = None
        for sums in accumulators:
            merged = sums if merged is None else merged if sums is None else self._add(merged, sums)
        return merged

    def extract_output(self, accumulator):
        return accumulator
