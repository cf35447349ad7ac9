"""From trainings with fresh seeds to what a search gains, and what the defaults lose, with intervals."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks.tuning.compare import find_interval
from benchmarks.tuning.trained import DEFAULT, Outcome
from benchmarks.tuning.trainings import Compared
from benchmarks.tuning.untuned import Untuned

LEAST_PAIRS = 3
UNSEEN = "movielens-100k"


class Gain(NamedTuple):
    """What the best settings of a search gain over the defaults on the test; positive where they are better.

    Attributes:
        default, tuned: mean scores.
        interval: of `gain`, 95%, of Student's t over pairs.
        pairs: seeds, or splits, that both were trained with.
    """

    default: float
    tuned: float
    gain: float
    interval: tuple[float, float]
    pairs: int

    @property
    def relative(self) -> tuple[float, float, float]:
        """Gain and interval over the mean score of the defaults, which is taken as known."""
        low, high = self.interval
        return self.gain / self.default, low / self.default, high / self.default


def find_gain(default: Sequence[float], tuned: Sequence[float], larger_is_better: bool) -> Gain | None:
    """The gain over pairs; None for fewer than three.

    Args:
        default, tuned: [num_pairs] scores on the test, paired.
    """
    if len(default) < LEAST_PAIRS:
        return None
    gains = (np.array(tuned) - np.array(default)) * (1 if larger_is_better else -1)
    low, high = find_interval(gains)
    return Gain(float(np.mean(default)), float(np.mean(tuned)), float(gains.mean()), (low, high), len(gains))


def gain_of(compared: Compared) -> Gain | None:
    """Of a search on one split, over training seeds."""
    return find_gain(compared.default, compared.tuned, larger_is_better=True)


class Splits(NamedTuple):
    """A search for each of several splits.

    Attributes:
        gain: over splits; of a split the means over fresh seeds are compared.
        trials, fresh: of each search.
        presentations: of the trainings that are compared.
        searched: of those of the searches, where they were shorter; 0 where they were not.
        is_pretrained: whether the fine-tunings begin with a pre-trained encoder.
        first: the first split.
        settings: what each found.
    """

    gain: Gain
    trials: int
    fresh: int
    presentations: int
    searched: int
    is_pretrained: bool
    first: int
    settings: Sequence[Mapping[str, Any]]
    seconds: float


def gains_over_splits(outcomes: Sequence[Outcome], model: str, dataset: str, arm: str, larger: bool) -> list[Splits]:
    """What a sampler's searches gain over the defaults, for each budget with enough splits.

    Most trials first, and of equals what was compared by trainings of the search's own length.
    """
    own = [each for each in outcomes if (each.model, each.dataset) == (model, dataset)]
    defaults: dict[tuple[Any, ...], dict[int, Outcome]] = {}
    searches: dict[tuple[Any, ...], dict[int, Outcome]] = {}
    for each in own:
        trained = each.fresh, each.presentations, each.encoder
        if each.arm == DEFAULT:
            defaults.setdefault(trained, {})[each.repetition] = each
        if each.arm == arm:
            searches.setdefault((trained, each.trials, each.searched), {})[each.repetition] = each
    found = []
    for (trained, trials, searched), tuned in searches.items():
        default = defaults.get(trained, {})
        pairs = [(default[split], tuned[split]) for split in sorted(set(default) & set(tuned))]
        means = [[statistics.fmean(each.test) for each in side] for side in zip(*pairs)] or [[], []]
        gain = find_gain(means[0], means[1], larger)
        if gain is not None:
            fresh, presentations, encoder = trained
            seconds = sum(each.training_seconds + each.search_seconds for pair in pairs for each in pair)
            best, first = [each.settings for _, each in pairs], pairs[0][0].repetition
            found.append(Splits(gain, trials, fresh, presentations, searched, bool(encoder), first, best, seconds))
    return sorted(found, key=lambda of: (-of.trials, of.searched))


class Loss(NamedTuple):
    """What a rule for untuned logs loses on one of them.

    Attributes:
        untuned: mean test Recall@50 over `seeds` trainings.
        tuned: the same of the arm that validation picked, tuned.
        relative: 1 - untuned / tuned; negative where the rule is better.
    """

    dataset: str
    rule: str
    untuned: float
    seeds: int
    tuned: float
    arm: str
    relative: float


def find_losses(untuned: Sequence[Untuned], evidence: Mapping[str, Any]) -> list[Loss]:
    """The loss of each rule and log that is there, logs in the order of the evidence.

    Args:
        evidence: numbers of `benchmarks.evidence.tables`.
    """
    losses = []
    for dataset in evidence["datasets"]:
        arm = evidence["best"]["full"][dataset]["towers"]
        tuned = evidence["cells"]["full"][dataset][arm]["recall_at_50"][0]
        losses += _losses_of(untuned, dataset, tuned, arm)
    return losses


def _losses_of(untuned: Sequence[Untuned], dataset: str, tuned: float, arm: str) -> list[Loss]:
    """Of every rule on a log."""
    losses = []
    of_log = [each for each in untuned if each.dataset == dataset]
    for rule in dict.fromkeys(each.rule for each in of_log):
        tests = [each.test for each in of_log if each.rule == rule]
        mean = statistics.fmean(tests)
        losses.append(Loss(dataset, rule, mean, len(tests), tuned, arm, 1.0 - mean / tuned))
    return losses


def find_unseen(untuned: Sequence[Untuned], compared: Compared | None) -> list[Loss]:
    """The same on the log whose settings were searched and which no rule was made on; none where either lacks."""
    if compared is None:
        return []
    return _losses_of(untuned, UNSEEN, statistics.fmean(compared.tuned), "item_masks")


def choose_left_out(losses: Sequence[Loss], rules: Sequence[str]) -> dict[str, str]:
    """Log -> the rule with the smallest largest loss over all other logs, the first of equals.

    Args:
        losses: of which logs that lack a rule are left out.
    """
    of_log: dict[str, dict[str, float]] = {}
    for loss in losses:
        of_log.setdefault(loss.dataset, {})[loss.rule] = loss.relative
    whole = {log: of for log, of in of_log.items() if all(rule in of for rule in rules)}
    if len(whole) < 2:
        return {}
    return {
        log: min(rules, key=lambda rule: max(of[rule] for other, of in whole.items() if other != log)) for log in whole
    }
