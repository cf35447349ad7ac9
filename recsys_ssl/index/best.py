"""The best of many scores."""

from __future__ import annotations

import numpy as np


def order_best(scores: np.ndarray, k: int) -> np.ndarray:
    """[min(k, num_scores)] places of the best scores, best first; equal ones in their order."""
    if len(scores) > 4 * k:
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
        places = np.flatnonzero(scores >= bound)
        return places[np.argsort(-scores[places], kind="stable")[:k]]
    return np.argsort(-scores, kind="stable")[:k]
