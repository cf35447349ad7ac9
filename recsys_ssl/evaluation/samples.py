"""A few rankings to look at: both arms' first ten with the held-out items marked, wins and losses included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recsys_ssl.evaluation import metrics
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked

_LISTED = 10
_SEEN = 5


def pick_samples(
    task: RankingTask, control: Ranked, treatment: Ranked, names: Sequence[str] | np.ndarray, seed: int = 0
) -> list[dict[str, Any]]:
    """Picks ten rankings: three wins and three losses by NDCG@10, and four at random from all the others.

    Wins and losses are drawn at random among all rankings that the treatment wins or loses, not picked as the
    largest, so that they show the usual and not the extreme; fewer than three mean that there are no more.

    Args:
        names: [num_items] what people read for an item (title or id).

    Returns:
        JSON-able, each with `why`, `query`, `held_out`, `seen`, `slices`, and `control` and `treatment`: `ndcg_at_10`
        and `items` of `name` and `hit`, whether it was held out.
    """
    rng = np.random.default_rng(seed)
    scores = [_ndcg(arm, task) for arm in (control, treatment)]
    gain = scores[1] - scores[0]
    picked: dict[int, str] = {}
    for why, among, count in (
        ("win", np.flatnonzero(gain > 0), 3),
        ("loss", np.flatnonzero(gain < 0), 3),
        ("at random", np.arange(task.num_rankings), 4),
    ):
        left = np.setdiff1d(among, np.fromiter(picked, np.int64, len(picked)))
        picked.update({int(ranking): why for ranking in rng.choice(left, min(count, len(left)), replace=False)})
    return [_describe(task, ranking, why, control, treatment, scores, names) for ranking, why in picked.items()]


def _ndcg(arm: Ranked, task: RankingTask) -> np.ndarray:
    return metrics.ndcg(arm.ranks, task.positive_offsets, _LISTED)[0]


def _describe(
    task: RankingTask,
    ranking: int,
    why: str,
    control: Ranked,
    treatment: Ranked,
    scores: Sequence[np.ndarray],
    names: Sequence[str] | np.ndarray,
) -> dict[str, Any]:
    positives = task.positive_rows[task.positive_offsets[ranking] : task.positive_offsets[ranking + 1]]
    masked = task.masked_rows[task.masked_offsets[ranking] : task.masked_offsets[ranking + 1]]
    query = str(task.query_ids[task.cluster[ranking]])
    if task.query_rows is not None:
        query = str(names[task.query_rows[ranking]])
        masked = masked[masked != task.query_rows[ranking]]

    def listing(arm: Ranked, score: np.ndarray) -> dict[str, Any]:
        rows = [int(row) for row in arm.top_rows[ranking, :_LISTED] if row >= 0]
        hits = set(positives.tolist())
        return {
            "ndcg_at_10": float(score[ranking]),
            "items": [{"name": str(names[row]), "hit": row in hits} for row in rows],
        }

    return {
        "why": why,
        "query": query,
        "slices": {name: str(values[ranking]) for name, values in task.slices.items()},
        "held_out": [str(names[row]) for row in positives[:_LISTED]],
        "num_held_out": len(positives),
        "masked": [str(names[row]) for row in masked[:_SEEN]],
        "num_masked": len(masked),
        "control": listing(control, scores[0]),
        "treatment": listing(treatment, scores[1]),
    }
