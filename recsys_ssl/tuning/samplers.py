"""Samplers and pruners of Optuna, such that what a trial draws is a function of the seed, its place and those before.

References:
    Yuan, Wang and Pang 2021, arXiv:2102.04283, which compares random search, TPE and CMA-ES.
    Bergstra et al. 2011, "Algorithms for Hyper-Parameter Optimization" (TPE).
    Hamano et al. 2022, arXiv:2205.13482 (CMA-ES with margin, which keeps stepped settings from getting stuck).
    Li et al. 2018, arXiv:1603.06560 (Hyperband).
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, Optional

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from recsys_ssl.tuning.space import Choice, Dimension, Ladder, LogUniform, Space, Steps, is_numeric
from recsys_ssl.tuning.trials import DIED, SLOT, VOID

SamplerName = Literal["random", "tpe", "tpe-multivariate", "cmaes"]
PrunerName = Literal["none", "median", "hyperband"]


def suggest(trial: optuna.trial.Trial, name: str, dimension: Dimension) -> Any:
    """What the sampler draws for a setting, see `space.from_raw`: of a ladder the place, so that only a `Choice` is
    categorical to Optuna.
    """
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, list(range(len(dimension.values))))
    if isinstance(dimension, Ladder):
        return trial.suggest_int(name, 0, len(dimension.values) - 1)
    if isinstance(dimension, Steps):
        return trial.suggest_int(name, dimension.low, dimension.high, step=dimension.step)
    return trial.suggest_float(name, dimension.low, dimension.high, log=isinstance(dimension, LogUniform))


def make_sampler(name: SamplerName, seed: int, space: Space) -> optuna.samplers.BaseSampler:
    """The sampler of a search.

    TPE draws its first ten trials at random and takes trials that still run for bad ones, so that several processes do
    not try the same; CMA-ES begins in the middle of the space.

    Raises:
        ValueError: CMA-ES has nothing but choices without an order.
    """
    if name == "cmaes" and not any(map(is_numeric, space.values())):
        raise ValueError("CMA-ES needs a setting with an order. Received: choices only. Take tpe or random.")
    return _SlotSampler(name, seed)


def make_pruner(name: PrunerName, most_reports: Optional[int] = None) -> optuna.pruners.BasePruner:
    """The pruner of a search.

    `median` ends a trial whose best report is worse than the median of those before it at the same point, from the
    sixth trial on; `hyperband` lets one in three go on at each rung of several halvings.

    Args:
        most_reports: of a whole trial, which Hyperband's rungs are laid out by; None: as many as the first trial has.
    """
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5)
    if name == "hyperband":
        return _SlotHyperband(max_resource=most_reports or "auto")
    return optuna.pruners.NopPruner()


class _SlotHyperband(optuna.pruners.HyperbandPruner):
    """Hyperband whose brackets are drawn by the slot of a trial.

    Optuna draws them by its number, which the tries of killed processes shift, and puts all trials in the first one
    until a process has pruned: a search that goes on would be another. What was left behind is in no bracket.
    """

    def _get_bracket_id(self, study: optuna.Study, trial: FrozenTrial) -> int:
        if trial.user_attrs.keys() & {DIED, VOID}:
            return -1
        if not self._pruners:
            self._try_initialization(study)
        return super()._get_bracket_id(study, _number_by_slot(trial))


def _number_by_slot(trial: FrozenTrial) -> FrozenTrial:
    view = copy.copy(trial)
    view.number = int(trial.user_attrs[SLOT])
    return view


_MAKERS: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
    "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "tpe": lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True),
    "tpe-multivariate": lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True, multivariate=True),
    "cmaes": lambda seed: optuna.samplers.CmaEsSampler(seed=seed, with_margin=True, warn_independent_sampling=False),
}


class _SlotSampler(optuna.samplers.BaseSampler):
    """A fresh sampler for each trial, seeded by the seed and the trial's slot.

    Optuna's samplers draw from one stream each, so that a search that goes on would draw again what it drew before, and
    two processes would draw the same. CMA-ES also draws by a trial's number, which the tries of killed processes shift.
    """

    def __init__(self, name: SamplerName, seed: int):
        self._name, self._seed = name, seed
        self._current: Optional[tuple[int, optuna.samplers.BaseSampler]] = None

    def _of(self, trial: FrozenTrial) -> optuna.samplers.BaseSampler:
        if self._current is None or self._current[0] != trial.number:
            facts = [self._seed, int(trial.user_attrs[SLOT])]
            (drawn,) = np.random.SeedSequence(facts).generate_state(1)
            with warnings.catch_warnings():
                # Multivariate TPE, its liar and the margin are marked as experimental.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._current = trial.number, _MAKERS[self._name](int(drawn))
        return self._current[1]

    def _view(self, trial: FrozenTrial) -> FrozenTrial:
        """The trial under its slot, where the number is part of what is drawn."""
        return _number_by_slot(trial) if self._name == "cmaes" else trial

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, self._view(trial), search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Optional[Sequence[float]]
    ) -> None:
        self._of(trial).after_trial(study, trial, state, values)
