"""How an intensity is reconstructed, `reconstruct.*`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Optional


@dataclass(frozen=True)
class EmcSettings:
    """One reconstruction.

    Attributes:
        rotations: into how many parts the edges of the 600-cell are divided: 4 is 3,240 rotations, 18 degrees apart. A
            particle of d times the wanted resolution needs about d / 2.
        model: of the noise, see `likelihood`.
        sigma: of a Gaussian model.
        fit_fluence: whether patterns differ in fluence, for the Poisson model; the others always fit it.
        iterations: of a start, at most.
        tolerance: an iteration that changes voxels by less than this share of their shell's mean (root mean square, by
            how much has been seen of them) is the last, once beta does not rise any more.
        beta: exponent of the likelihood at the start; None: by the number of photons, see `annealing.first_beta`.
        beta_factor: what beta is multiplied by; 1 keeps it.
        beta_every: iterations at each beta, at least.
        settled: a beta is kept until an iteration changes voxels by less than this, measured as for `tolerance`.
        patience: so many rises in a row after which the held-out likelihood is below its best, and beta goes back.
        held_out_share: of the patterns, which are not merged and judge the volume.
        starts: reconstructions from different noise, of which that with the best held-out likelihood is kept.
        first_start: number of the first of them: eight starts are also eight runs of one, from 0 to 7.
        noise: of a start, relative to the radial average.
        folded: whether mirror images are used where the detector has them; see `mirrors`.
        dtype: of scores and slices; statistics are float64 in any case.
        slice_weights: whether slices count by their responsibilities, or all alike; see `expectation`.
        seed: of the held-out patterns and the starts.
    """

    rotations: int = 4
    model: Literal["poisson", "absolute", "scaled", "relative"] = "poisson"
    sigma: float = 0.2
    fit_fluence: bool = False
    iterations: int = 100
    tolerance: float = 1e-3
    beta: Optional[float] = None
    beta_factor: float = 1.3
    beta_every: int = 2
    settled: float = 0.03
    patience: int = 2
    held_out_share: float = 0.1
    starts: int = 1
    first_start: int = 0
    noise: float = 0.1
    folded: bool = True
    dtype: Literal["float32", "float64"] = "float32"
    slice_weights: Literal["responsibility", "equal"] = "responsibility"
    seed: int = 0

    def __post_init__(self):
        for name in ("rotations", "iterations", "beta_every", "patience", "starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"reconstruct.{name} must be at least 1. Received: {getattr(self, name)}.")
        # Written so that NaN is refused too.
        for name in ("sigma", "tolerance", "settled"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"reconstruct.{name} must be positive. Received: {getattr(self, name)}.")
        if self.beta is not None and not 0 < self.beta <= 1:
            raise ValueError(f"reconstruct.beta must be in (0, 1]. Received: {self.beta}. Use 0.01-0.2.")
        if not 1 <= self.beta_factor < math.inf:
            raise ValueError(f"reconstruct.beta_factor must be at least 1. Received: {self.beta_factor}. Use 1-2.")
        if not 0 <= self.held_out_share < 1:
            raise ValueError(f"reconstruct.held_out_share must be in [0, 1). Received: {self.held_out_share}.")
        if self.held_out_share == 0 and self.beta_factor > 1:
            raise ValueError(
                "reconstruct.held_out_share must be positive where beta rises: patterns held out tell when to stop. "
                "Received: 0. Use 0.1, or reconstruct.beta_factor=1."
            )
        if not 0 <= self.noise <= 1:
            raise ValueError(f"reconstruct.noise must be in [0, 1]. Received: {self.noise}.")
        for name in ("seed", "first_start"):
            if getattr(self, name) < 0:
                raise ValueError(f"reconstruct.{name} must not be negative. Received: {getattr(self, name)}.")
