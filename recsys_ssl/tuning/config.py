"""How to search, and what a training function is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Optional, get_args

from recsys_ssl.tuning.samplers import PrunerName, SamplerName
from recsys_ssl.tuning.space import Settings


class SearchError(ValueError):
    """There is no best point, since the trials fail."""


class Pruned(Exception):  # noqa: N818  (not an error)
    """`Request.report` raises it in a trial that is not worth its end; the training function lets it pass."""


class Request(NamedTuple):
    """What a training function is asked."""

    settings: Settings
    seed: int
    """0 in the search, 1, 2, ... when the best are scored anew: to be added to the seed of the training."""
    slot: str
    """Names the trial; the same again after a kill, e.g. for the directory of its checkpoints."""
    report: Callable[[int, float], None]
    """Hears the score so far after the 1st, 2nd, ... validation; raises `Pruned`."""


Objective = Callable[[Request], float]
"""A training function: what to train -> the score on validation. What it raises is the reason of a failed trial."""


@dataclass(frozen=True)
class SearchConfig:
    """How to search.

    Attributes:
        trials: that count: those that ended, were pruned or failed, and repeats, which take no time; None: no limit.
        seed: the same seed and one process give the same trials, also over kills.
        top: the best so many points are scored anew.
        fresh_seeds: with which each of these is trained; the mean of their scores decides, without the score that it
            was picked for, which luck had a part in. 0: the best trial wins.
    """

    sampler: SamplerName = "tpe"
    pruner: PrunerName = "none"
    trials: Optional[int] = 50
    seed: int = 0
    top: int = 3
    fresh_seeds: int = 3

    def __post_init__(self):
        for name, allowed in (("sampler", SamplerName), ("pruner", PrunerName)):
            if getattr(self, name) not in get_args(allowed):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(allowed))}. Received: {getattr(self, name)!r}."
                )
        for name, least in (("trials", 1), ("top", 1), ("seed", 0), ("fresh_seeds", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} must be at least {least}. Received: {value}.")
