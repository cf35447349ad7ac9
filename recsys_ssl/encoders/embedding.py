"""All vectors of some content from an embedder that streams them, whatever its kind."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from recsys_ssl.encoders.contract import Embedder


def embed_all(
    embedder: Embedder, contents: Iterable, rejected: list | None, workers: int, rule: str, unlike: str
) -> np.ndarray:
    """See `contract.Embedder.embed`.

    Args:
        rule: what must hold of the contents, e.g. "all images must be readable".
        unlike: how those are told that break it, e.g. "are not".

    Raises:
        ValueError: some of it gives no vector and `rejected` is None.
    """
    contents = list(contents)
    found: list = []
    vectors = np.full([len(contents), embedder.dim], np.nan, np.float32)
    for batch in embedder.embed_stream(contents, found, workers):
        vectors[batch.rows] = batch.vectors
    if rejected is None and found:
        row, reason, text = found[0]
        raise ValueError(
            f"{rule}. Received: {len(found)} of {len(contents)} that {unlike}, the first {text!r:.99} at {row} "
            f"({reason}). Remove them, or pass rejected=[] to have them listed."
        )
    if rejected is not None:
        rejected.extend(found)
    return vectors
