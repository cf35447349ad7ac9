"""A search: trials of a training function until there are as many as asked, then the best few scored anew.

Any number of processes may work on one study at once, on one machine or on many, by one storage. A study is never lost:
who opens it again goes on, and a trial that was running when its process was killed is run again, in its slot.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Optional

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from recsys_ssl.tuning.config import Objective, Pruned, Request, SearchConfig, SearchError
from recsys_ssl.tuning.results import Candidate, Found, Trial, find_importance
from recsys_ssl.tuning.samplers import make_pruner, make_sampler, suggest
from recsys_ssl.tuning.space import Settings, Space, check_space, from_raw
from recsys_ssl.tuning.trials import REASON, REPEATS, SLOT, Ledger

FIRST_FAILURES = 5
"""When so many trials are the first and all fail, the search ends: more would fail too."""
_FIRST_DRAWS = 50
"""The same of draws, where the space is so small that most repeat a point."""
_RESCORED = " rescored"
_WHAT = "what"
_POLL_S = 0.5
_OF_THE_SYSTEM = (OSError, ImportError, MemoryError)
"""Errors that say nothing of the settings: a full disk ends the search."""


class Study:
    """One search in a storage."""

    def __init__(
        self,
        storage: BaseStorage,
        name: str,
        about: str,
        space: Space,
        config: SearchConfig,
        larger_is_better: bool,
        most_reports: Optional[int] = None,
    ):
        """Opens the study, or begins it where the storage has none of this name.

        Args:
            storage: of `trials.open_storage`.
            about: what else must not change within the study, e.g. a hash of the settings that all trials share.
            most_reports: of a trial that is not pruned, for Hyperband.

        Raises:
            ValueError: the study of this name searches something else, or there is nothing to search.
        """
        check_space(space)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.space, self.config, self.larger_is_better = space, config, larger_is_better
        self._storage, self._about = storage, about
        sampler = make_sampler(config.sampler, config.seed, space)
        self._trials = self._open(name, sampler, make_pruner(config.pruner, most_reports))
        self._rescored = self._open(name + _RESCORED, optuna.samplers.RandomSampler(0), optuna.pruners.NopPruner())

    def _open(self, name: str, sampler, pruner) -> tuple[optuna.Study, Ledger]:
        study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            sampler=sampler,
            pruner=pruner,
            direction="maximize" if self.larger_is_better else "minimize",
            load_if_exists=True,
        )
        config = self.config
        space = {setting: [type(of).__name__, dataclasses.asdict(of)] for setting, of in self.space.items()}
        what = repr([self._about, space, config.sampler, config.pruner, config.seed, self.larger_is_better])
        if study.user_attrs.setdefault(_WHAT, what) != what:
            raise ValueError(
                f"a study has one space, sampler, pruner, seed, and settings that all trials share. Received: others "
                f"than those of {name!r} in the storage. Name another study."
            )
        study.set_user_attr(_WHAT, what)
        return study, Ledger(self._storage, name)

    # --- Work --------------------------------------------------------------------------------------------

    def search(self, objective: Objective, seconds: Optional[float] = None, most: Optional[int] = None) -> int:
        """Runs trials in this process until the study has all of them, and returns how many it ran.

        Trials that others run are waited for, since these may be killed.

        Args:
            seconds: after which no trial is begun.
            most: trials of this call.

        Raises:
            SearchError: the first trials all failed.
        """
        study, ledger = self._trials

        def run(trial_id: int) -> None:
            trial = optuna.trial.Trial(study, trial_id)
            raw = {name: suggest(trial, name, dimension) for name, dimension in self.space.items()}
            if not self._repeat(trial, raw):
                self._run(study, ledger, trial, objective, self._to_settings(raw), 0)
            self._check_first()

        slots = itertools.count() if self.config.trials is None else range(self.config.trials)
        return _work(ledger, lambda: map(str, slots), run, seconds, most)

    def rescore(self, objective: Objective, most: Optional[int] = None) -> int:
        """Trains the best points with fresh seeds, and returns how many trainings this process ran; see `search`."""
        study, ledger = self._rescored
        chosen = {trial.slot: trial for trial in self._choose()}
        seeds = range(1, self.config.fresh_seeds + 1)

        def run(trial_id: int) -> None:
            trial = optuna.trial.Trial(study, trial_id)
            slot, seed = map(int, trial.user_attrs[SLOT].split(":"))
            self._run(study, ledger, trial, objective, dict(chosen[slot].settings), seed)

        return _work(ledger, lambda: [f"{slot}:{seed}" for slot in chosen for seed in seeds], run, None, most)

    def _run(
        self,
        study: optuna.Study,
        ledger: Ledger,
        trial: optuna.trial.Trial,
        objective: Objective,
        settings: Settings,
        seed: int,
    ) -> None:
        def report(count: int, score: float) -> None:
            if seed == 0 and math.isfinite(score):
                trial.report(score, count)
                if trial.should_prune():
                    raise Pruned

        try:
            with ledger.beating(trial._trial_id):
                score = float(objective(Request(settings, seed, trial.user_attrs[SLOT], report)))
            if not math.isfinite(score):
                raise ValueError(f"the score must be finite. Received: {score}.")
            study.tell(trial, score, skip_if_finished=True)
        except Pruned:
            study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        except optuna.exceptions.UpdateFinishedTrialError:
            pass  # it was taken for dead, and another process has its slot
        except BaseException as error:
            if isinstance(error, _OF_THE_SYSTEM) or not isinstance(error, Exception):
                ledger.release(trial._trial_id)
                raise
            _fail(study, trial, f"{type(error).__name__}: {error}")

    def _repeat(self, trial: optuna.trial.Trial, raw: Mapping[str, Any]) -> bool:
        """Answers a point that was tried before as it was then; False for a new one."""
        study, ledger = self._trials
        for earlier in ledger.list_trials():
            if earlier.number == trial.number or not earlier.state.is_finished() or earlier.params != raw:
                continue
            trial.set_user_attr(REPEATS, earlier.user_attrs.get(REPEATS, earlier.user_attrs[SLOT]))
            if earlier.state is TrialState.FAIL:
                _fail(study, trial, earlier.user_attrs[REASON])
                return True
            for count, score in earlier.intermediate_values.items():
                trial.report(score, count)
            if earlier.state is TrialState.PRUNED:
                study.tell(trial, state=TrialState.PRUNED)
            else:
                study.tell(trial, earlier.value)
            return True
        return False

    def _check_first(self) -> None:
        first = min(FIRST_FAILURES, self.config.trials or FIRST_FAILURES)
        drawn = [trial for trial in self._trials[1].list_trials() if trial.state.is_finished()]
        tried = [trial for trial in drawn if REPEATS not in trial.user_attrs][:first]
        enough = len(tried) == first or len(drawn) >= _FIRST_DRAWS
        if enough and all(trial.state is TrialState.FAIL for trial in tried):
            raise SearchError(
                f"one of the first {first} points must succeed. Received: {len(tried)} failures, the last: "
                f"{tried[-1].user_attrs[REASON].rstrip('.')}. Mend the settings that all trials share, or the space."
            )

    # --- What was found ----------------------------------------------------------------------------------

    def _to_settings(self, raw: Mapping[str, Any]) -> Settings:
        return {name: from_raw(of, raw[name]) for name, of in self.space.items()}

    def _list(self) -> list[Trial]:
        return [self._to_trial(trial) for trial in self._trials[1].list_trials()]

    def _to_trial(self, trial: FrozenTrial) -> Trial:
        repeats = trial.user_attrs.get(REPEATS)
        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        state: Any = states.get(trial.state, "running")
        return Trial(
            slot=int(trial.user_attrs[SLOT]),
            state=state,
            settings=self._to_settings(trial.params) if len(trial.params) == len(self.space) else {},
            score=trial.value if state == "complete" else None,
            reason=trial.user_attrs.get(REASON),
            repeats=None if repeats is None else int(repeats),
            reports={str(count): score for count, score in sorted(trial.intermediate_values.items())},
            seconds=round(trial.duration.total_seconds(), 3) if trial.duration else None,
            ended=trial.datetime_complete.timestamp() if trial.datetime_complete else None,
        )

    def _choose(self) -> list[Trial]:
        """The best points, each once, the best first."""
        complete = [trial for trial in self._list() if trial.state == "complete" and trial.repeats is None]
        distinct = {repr(trial.settings): trial for trial in reversed(complete)}.values()
        return sorted(distinct, key=lambda t: (-self._sign * (t.score or 0.0), t.slot))[: self.config.top]

    @property
    def _sign(self) -> int:
        return 1 if self.larger_is_better else -1

    def release_interrupted(self) -> None:
        """Gives the slots of processes free that were ended on purpose, so that it does not count against them."""
        for _, ledger in (self._trials, self._rescored):
            ledger.release_dead(interrupted=True)

    def read(self, with_importance: bool = False) -> Found:
        """Trials, candidates and the best point, as far as they are known."""
        trials = sorted(self._list(), key=lambda trial: trial.slot)
        rescored = {trial.user_attrs[SLOT]: trial for trial in self._rescored[1].list_trials()}
        candidates = []
        for trial in self._choose():
            slots = [f"{trial.slot}:{seed}" for seed in range(1, self.config.fresh_seeds + 1)]
            found = [rescored[slot] for slot in slots if slot in rescored and rescored[slot].state.is_finished()]
            scores = tuple(of.value if of.state is TrialState.COMPLETE else None for of in found)
            reasons = tuple(of.user_attrs[REASON] for of in found if of.state is TrialState.FAIL)
            candidates.append(Candidate(trial.slot, trial.settings, trial.score or 0.0, scores, reasons))
        importance = find_importance(self._trials[0]) if with_importance else {}
        return Found(self.larger_is_better, trials, candidates, self.config.fresh_seeds, importance)


def _fail(study: optuna.Study, trial: optuna.trial.Trial, reason: str) -> None:
    trial.set_user_attr(REASON, reason)
    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def _work(
    ledger: Ledger,
    list_slots: Callable[[], Iterable[str]],
    run: Callable[[int], None],
    seconds: Optional[float],
    most: Optional[int],
) -> int:
    """Claims slots and runs their trials until none is free and nobody works on any."""
    deadline, count = time.monotonic() + (math.inf if seconds is None else seconds), 0
    while (most is None or count < most) and time.monotonic() < deadline:
        trial_id = ledger.claim(list_slots())
        if trial_id is not None:
            run(trial_id)
            count += 1
        elif any(not trial.state.is_finished() for trial in ledger.list_trials()):
            time.sleep(_POLL_S)
        else:
            break
    return count
