"""How beta rises: from low, where orientations are vague, until the volume explains held-out patterns less well.

Each beta is kept until the volume has settled: what arranges itself slowly while orientations are vague cannot do so
any more once they are sharp, and a run that is hurried ends at a volume that fits parts of the patterns only.

Too low a beta ends at the one volume that looks the same from everywhere; too high a one on a coarse grid of rotations
fits noise. Both show in the likelihood of patterns that were not merged. It stays the same while the volume is still
symmetric, and so only a fall ends the rise; then the best volume so far is taken up again, with its beta.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

_SLACK = 1e-5
"""Falls by less than this share of the likelihood are none."""


@dataclass(frozen=True)
class Annealing:
    """Where the rise is.

    Attributes:
        beta: of the next iteration.
        is_rising: whether it will be raised.
        best: highest held-out log-likelihood a pattern.
        best_beta: beta of the iteration that judged its volume: what made it, or one rise more.
        falls: rises in a row after which the likelihood was below the best.
        held: iterations at this beta.
    """

    beta: float
    is_rising: bool
    best: float = -math.inf
    best_beta: float = math.nan
    falls: int = 0
    held: int = 0


def first_beta(mean_photons: float) -> float:
    """exp(-6.5 (1e-5 photons)^0.15), at most 1: what patterns of so many photons usually start with.

    References:
        Ayyer, Lan, Elser and Loh 2016, J. Appl. Cryst. 49, 1320, and the documentation of Dragonfly.
    """
    return min(1.0, math.exp(-6.5 * (1e-5 * mean_photons) ** 0.15))


def judge(annealing: Annealing, held_out: float) -> tuple[Annealing, bool]:
    """Takes note of a volume's held-out log-likelihood; whether it is the best so far."""
    annealing = replace(annealing, held=annealing.held + 1)
    if not held_out > annealing.best:
        return annealing, False
    return replace(annealing, best=held_out, best_beta=annealing.beta), True


def rise(annealing: Annealing, held_out: float, factor: float, patience: int) -> tuple[Annealing, bool]:
    """The next beta, and whether the best volume has to be taken up again.

    Args:
        held_out: log-likelihood a pattern of the newest volume, which `judge` has seen.
        factor: what beta is multiplied by.
        patience: falls in a row that end the rise.
    """
    if not annealing.is_rising:
        return annealing, False
    has_fallen = held_out < annealing.best - _SLACK * abs(annealing.best)
    falls = annealing.falls + 1 if has_fallen else 0
    if falls >= patience:
        return replace(annealing, beta=annealing.best_beta, is_rising=False, falls=falls, held=0), True
    return replace(annealing, beta=min(1.0, annealing.beta * factor), falls=falls, held=0), False
