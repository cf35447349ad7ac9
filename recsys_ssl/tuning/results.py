"""What a study found: its trials, the candidates that were scored anew, and the best of them."""

from __future__ import annotations

import statistics
import warnings
from dataclasses import dataclass
from typing import Any, Literal, Optional

import optuna

from recsys_ssl.tuning.space import Settings

State = Literal["running", "complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One point that was tried.

    Attributes:
        slot: place in the search, from 0.
        score: None unless it is complete.
        reason: why it failed.
        repeats: the slot of an earlier trial of the same settings, which answered for it.
        reports: number of a validation -> score there.
        ended: seconds since 1970; None while it runs.
    """

    slot: int
    state: State
    settings: Settings
    score: Optional[float]
    reason: Optional[str]
    repeats: Optional[int]
    reports: dict[str, float]
    seconds: Optional[float]
    ended: Optional[float]


@dataclass(frozen=True)
class Candidate:
    """One of the best points, trained with fresh seeds.

    Attributes:
        score: in the search, which it was picked for.
        scores: with seed 1, 2, ... as far as they are there; None where the training failed.
        reasons: why those failed that did.
    """

    slot: int
    settings: Settings
    score: float
    scores: tuple[Optional[float], ...]
    reasons: tuple[str, ...] = ()

    @property
    def mean(self) -> Optional[float]:
        """Of the scores with fresh seeds; None without any, or where a training failed."""
        known = [score for score in self.scores if score is not None]
        return statistics.fmean(known) if known and len(known) == len(self.scores) else None

    @property
    def deviation(self) -> Optional[float]:
        """Of the same scores; None for fewer than two."""
        known = [score for score in self.scores if score is not None]
        return statistics.stdev(known) if len(known) > 1 else None


@dataclass(frozen=True)
class Found:
    """What a study holds.

    Attributes:
        trials: by slot.
        candidates: by their scores in the search, the best first.
        fresh_seeds: with which each of these is to be trained.
        importance: setting -> share of what decides whether a trial is among the best tenth, in [0, 1]; {} where there
            are too few trials, or it was not asked for.
    """

    larger_is_better: bool
    trials: list[Trial]
    candidates: list[Candidate]
    fresh_seeds: int
    importance: dict[str, float]

    @property
    def best(self) -> Optional[Candidate]:
        """The candidate with the best mean over all fresh seeds; by its score in the search where there are none."""
        sign = 1 if self.larger_is_better else -1
        if not self.fresh_seeds:
            return self.candidates[0] if self.candidates else None
        whole = [each for each in self.candidates if len(each.scores) == self.fresh_seeds and each.mean is not None]
        return max(whole, key=lambda each: (sign * (each.mean or 0.0), -each.slot), default=None)

    @property
    def ended(self) -> list[Trial]:
        """The trials that are no longer running."""
        return [trial for trial in self.trials if trial.state != "running"]

    def best_so_far(self) -> list[Optional[float]]:
        """[num_trials], the best score of the trials up to each; None before the first that is complete."""
        choose, best, found = (max if self.larger_is_better else min), None, []
        for trial in self.trials:
            if trial.score is not None:
                best = trial.score if best is None else choose(best, trial.score)
            found.append(best)
        return found


_LEAST_TRIALS = 20
"""Two trials in the best tenth."""


def find_importance(study: optuna.Study) -> dict[str, float]:
    """Setting -> importance by PED-ANOVA, adding up to 1; {} for fewer than 20 complete trials of differing scores.

    References:
        Watanabe, Bansal and Hutter 2023, arXiv:2304.10255.
    """
    complete = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    if len(complete) < _LEAST_TRIALS or len({trial.value for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is marked as experimental
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found: dict[str, Any] = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}
