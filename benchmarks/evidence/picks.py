"""What validation picks: the best arm of the towers, and the best model without towers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.evidence.run import search
from benchmarks.evidence.trials import BASELINES, PLAIN, REGULARIZERS, Trial, is_of

TOWERS = ("none", "item_masks", "across_towers")
PEERS = ("popular", "own_counts", "itemknn", "ease", "ials")
"""What validation picks from: arms that must have been tuned. Others join them once they are."""


def pick_towers(trials: Sequence[Trial], dataset: str, share: float = 1.0) -> str | None:
    return pick_best(trials, dataset, share, TOWERS, [arm for arm in REGULARIZERS if arm != "random_start"])


def pick_regularizer(trials: Sequence[Trial], dataset: str, share: float = 1.0) -> str | None:
    arms = [arm for arm in REGULARIZERS if arm not in PLAIN]
    return pick_best(trials, dataset, share, TOWERS[1:], arms)


def pick_peer(trials: Sequence[Trial], dataset: str, share: float = 1.0) -> str | None:
    return pick_best(trials, dataset, share, PEERS, BASELINES)


def pick_best(
    trials: Sequence[Trial], dataset: str, share: float, needed: Sequence[str], arms: Iterable[str]
) -> str | None:
    """The arm whose finished search found the best validation; None where an arm that is needed lacks trials."""
    known = {trial.key: trial.validation_recall_at_50 for trial in trials}
    found = {}
    for arm in arms:
        if is_of(arm, dataset):
            best, missing = search(trials, dataset, share, arm)
            if not missing:
                found[arm] = known[Trial("tune", dataset, arm, share, settings=best).key] or 0.0
            elif arm in needed:
                return None
    return max(found, key=lambda arm: found[arm])
