"""Made-up tasks of ranking and arms on them, and the report that compares them."""

import numpy as np

from recsys_ssl.evaluation.compare import compare
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked

NUM_ITEMS = 400


def make_task(num_rankings=200, seed=0, per_query=1, catalogue=NUM_ITEMS):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 5, num_rankings)
    positives = [np.sort(rng.choice(catalogue, length, replace=False)) for length in lengths]
    cluster = np.arange(num_rankings) // per_query
    return RankingTask(
        num_items=NUM_ITEMS,
        event_rows=np.arange(num_rankings),
        cluster=cluster,
        query_ids=np.array([f"q{i}" for i in range(cluster.max() + 1)], object),
        positive_offsets=np.cumsum([0, *lengths]),
        positive_rows=np.concatenate(positives),
        masked_offsets=np.zeros(num_rankings + 1, np.int64),
        masked_rows=np.empty(0, np.int64),
        slices={"gender": np.where(np.arange(num_rankings) % 3 == 0, "F", "M").astype(object)},
    )


def make_arm(task, scale, seed=0, catalogue=NUM_ITEMS):
    """Ranks of mean about `scale`, and lists of any items; the same seed gives paired arms."""
    rng = np.random.default_rng(seed)
    ranks = 1 + np.floor(scale * rng.standard_exponential(task.num_pairs)) + rng.random(task.num_pairs) * 1e-6
    return Ranked(ranks, rng.integers(0, catalogue, (task.num_rankings, 50)).astype(np.int32))


def compare_once(task, control, treatment, popularity, *rest):
    """Compares arms of one training seed each."""
    return compare(task, [control], [treatment], popularity, *rest)


COUNTS = np.concatenate([np.zeros(100, int), np.arange(1, 301)])
CONFIG = EvaluationConfig(bootstrap_samples=400)


def judge(
    control_scale, treatment_scale, popularity_scale=900, checks=(), config=CONFIG, num_rankings=200, treatment_seed=0
):
    task = make_task(num_rankings)
    arms = [make_arm(task, control_scale), make_arm(task, treatment_scale, treatment_seed)]
    arms.append(make_arm(task, popularity_scale, seed=1))  # unpaired, so that its interval is never of no width
    return compare_once(task, *arms, COUNTS, checks, config)
