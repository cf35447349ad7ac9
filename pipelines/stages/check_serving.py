"""The check before a model is served: it answers logged queries as the pipeline does."""

from __future__ import annotations

from pathlib import Path

from pipelines.progress import PROGRESS
from recsys_ssl.serving.recommender import Recommender
from recsys_ssl.serving.skew import measure_skew

MOST_SKEW = 1e-5
"""Of a score, which is a dot product of vectors about as long as 1."""


class SkewError(ValueError):
    """What is served is not what the pipeline computed and the report judged."""


def check_serving(model_dir: str, is_exact: bool, items_dir: str, queries_dir: str, interactions_dir: str) -> None:
    """Loads a model of `export` as a server does; see `require_no_skew`."""
    name = Path(model_dir).parent.parent.name if Path(model_dir).name == "Format-Serving" else Path(model_dir).name
    require_no_skew(Recommender(model_dir), name, is_exact, items_dir, queries_dir, interactions_dir)


def require_no_skew(
    recommender: Recommender, name: str, is_exact: bool, items_dir: str, queries_dir: str, interactions_dir: str
) -> float:
    """Asks a model for up to 10,000 logged queries, and for its own sample requests.

    Returns:
        The largest absolute difference of a score.

    Raises:
        SkewError: it is more than 1e-5.
    """
    skew = measure_skew(recommender, items_dir, queries_dir, interactions_dir, is_exact)
    num_samples, of_samples = recommender.replay_samples()
    largest = max(skew.max_abs, of_samples)
    PROGRESS.info(f"{name}: {skew.num_queries:,} queries and {num_samples} samples, largest difference {largest:.1e}")
    if largest > MOST_SKEW:
        raise SkewError(
            f"served scores must equal the pipeline's to {MOST_SKEW:g}. Received: a difference of {largest:.3g} of "
            f"{name} in {skew.num_queries:,} logged queries or {num_samples} samples. Embed and index again."
        )
    return largest
