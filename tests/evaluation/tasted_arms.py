"""Arms that see a true taste through different noise, evaluated once."""

from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.evaluate import evaluate_arms

NUM_ITEMS, NUM_QUERIES, DIM = 300, 120, 16
CONFIG = EvaluationConfig(bootstrap_samples=300)


CUTS = {"cuts_us": {"eval": 900_000_000, "test": 1_000_000_000}}


def evaluate_once(spec, control, treatment, *rest, **named):
    """Evaluates arms of one training each."""
    return evaluate_arms(spec, [control], [treatment], *rest, **named)
