"""Trainings of one subject: those of a search, then default and best settings with fresh seeds, which are compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from benchmarks import records

GAINS = Path("tuning") / "gains.jsonl"
SEARCH, DEFAULT, TUNED = "search", "default", "tuned"
FIRST_FRESH = 10
"""The first seed that no search uses."""


@dataclasses.dataclass(frozen=True)
class Training:
    """One training.

    Attributes:
        data: names the content of the data set.
        arm: `search`, of which the test is not read, `default` or `tuned`.
        amount: what a training reads, in the subject's own unit, see `objectives`: the same for all of a search, and
            for all of a comparison, whose trainings may be longer.
        trials: of the search that found the settings; 0 of other arms.
        settings: those that differ from the defaults by being searched.
        seconds: of one core.
    """

    subject: str
    data: str
    arm: str
    seed: int
    amount: int
    trials: int = 0
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    validation: float | None = None
    test: float | None = None
    seconds: float = 0.0

    @property
    def key(self) -> str:
        facts = [self.subject, self.data, self.arm, self.seed, self.amount, self.trials]
        return records.hash_facts([*facts, dict(self.settings)])


def read_trainings(path: Path) -> list[Training]:
    """The trainings of a file; none when there is no file."""
    return records.read_lines(path, lambda facts: Training(**facts))


@dataclasses.dataclass(frozen=True)
class Compared:
    """Default and best settings of a subject, by fresh seeds that both were trained with.

    Attributes:
        again: seeds that the best points were scored anew with; 0: the best trial won.
        default, tuned: test scores, by `seeds`.
        validation: means of the same trainings, default and tuned.
        seconds: of one core, the search included where it had the same amount.
    """

    subject: str
    amount: int
    trials: int
    again: int
    settings: Mapping[str, Any]
    seeds: Sequence[int]
    default: Sequence[float]
    tuned: Sequence[float]
    validation: tuple[float, float]
    seconds: float


def pair_longer(trainings: Sequence[Training], subject: str) -> list[Compared]:
    """What `pair` compares, in longer trainings than those of the search, the shortest first."""
    first = pair(trainings, subject)
    if first is None:
        return []
    amounts = {
        each.amount for each in trainings if (each.subject, each.arm, each.trials) == (subject, TUNED, first.trials)
    }
    found = (pair(trainings, subject, amount) for amount in sorted(amounts) if amount > first.amount)
    return [compared for compared in found if compared is not None]


def pair(trainings: Sequence[Training], subject: str, amount: Optional[int] = None) -> Compared | None:
    """What was found by the search of a subject with the most trials; None where no seed has both arms.

    Args:
        amount: of the trainings that are compared; None: the least, which is that of the search.
    """
    own = [each for each in trainings if each.subject == subject]
    tuned = [each for each in own if each.arm == TUNED and amount in (None, each.amount)]
    if not tuned:
        return None
    last = max(tuned, key=lambda each: (each.trials, -each.amount))
    shared = {"data": last.data, "amount": last.amount}
    own = [each for each in own if {"data": each.data, "amount": each.amount} == shared]
    of_arm = {
        DEFAULT: {each.seed: each for each in own if each.arm == DEFAULT},
        TUNED: {each.seed: each for each in own if each.arm == TUNED and each.trials == last.trials},
    }
    found = {name_settings(each.settings) for each in of_arm[TUNED].values()}
    if len(found) > 1:
        raise ValueError(
            f"a search has one best point. Received: {len(found)} of {subject}, {last.trials} trials. Remove the older."
        )
    seeds = sorted(set(of_arm[DEFAULT]) & set(of_arm[TUNED]))
    if not seeds:
        return None
    both = [[of_arm[arm][seed] for seed in seeds] for arm in (DEFAULT, TUNED)]
    tests = [[_known(each.test) for each in arm] for arm in both]
    validation = [sum(_known(each.validation) for each in arm) / len(seeds) for arm in both]
    searched = [each for each in own if each.arm == SEARCH]
    return Compared(
        subject=subject,
        amount=last.amount,
        trials=last.trials,
        again=max((each.seed for each in searched), default=0),
        settings=last.settings,
        seeds=seeds,
        default=tests[0],
        tuned=tests[1],
        validation=(validation[0], validation[1]),
        seconds=sum(each.seconds for each in (*searched, *both[0], *both[1])),
    )


def name_settings(settings: Mapping[str, Any]) -> str:
    """Settings as one text, the same for the same settings."""
    return ", ".join(f"{name} {settings[name]}" for name in sorted(settings))


def _known(score: float | None) -> float:
    if score is None:
        raise ValueError("a training with a fresh seed must have its test. Received none. Run it again.")
    return score
