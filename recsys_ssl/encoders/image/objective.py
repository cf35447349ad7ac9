"""What an encoder of images is pre-trained to do: losses, their weights, and how its views are corrupted.

References:
    Atito et al. 2021, arXiv:2104.03602; its three versions differ, see docs/images.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, Optional, get_args

ObjectiveName = Literal["contrast", "reconstruction", "v1", "momentum"]
Weighting = Literal["fixed", "uncertainty"]


@dataclass(frozen=True)
class Objective:
    """Losses and corruptions of one pre-training.

    Attributes:
        reconstruction_weight: of the L1 distance to the clean view; 0: no reconstruction.
        contrast_weight: of the contrast of two views; 0: one view an image is made, which halves the cost of a step.
        rotation_weight: of the cross-entropy of 0, 90, 180 and 270 degrees; 0: views stay upright.
        weighting: "fixed" by the weights, or "uncertainty": learned on top of them, see `losses.weigh_by_uncertainty`.
        temperature: of the contrast.
        momentum: of the teacher that sees clean views, at first; it rises to 1 by a cosine. None: no teacher, views
            are contrasted with each other.
        masked_only: whether the L1 distance counts corrupted pixels only, or all.
        head_layers: dense layers of the contrastive head, normalised over the batch, and of the reconstruction head; 1:
            both are linear, as in the first version.
        noise, zeros, alien: the largest share of an image that blocks of noise, of zeros and of another image of the
            batch cover, in [0, 1); each image's own is drawn from [least * share, share].
        alien_rate: probability that an image has blocks of another.
        grey, blur, jitter: probability that one rectangle, of sides from 5% to all of the image's, is grey, blurred,
            or of other colours.
        least: see `noise`; 0 in the first version, 1 gives the same share to every image.
        min_side, max_side: of a block, as shares of the image's.
        align: whether blocks are made of whole patches.
    """

    reconstruction_weight: float = 0.0
    contrast_weight: float = 0.0
    rotation_weight: float = 0.0
    weighting: Weighting = "fixed"
    temperature: float = 0.2
    momentum: Optional[float] = None
    masked_only: bool = True
    head_layers: int = 1
    noise: float = 0.0
    zeros: float = 0.0
    alien: float = 0.0
    alien_rate: float = 1.0
    grey: float = 0.0
    blur: float = 0.0
    jitter: float = 0.0
    least: float = 0.0
    min_side: float = 0.05
    max_side: float = 0.25
    align: bool = False

    def __post_init__(self):
        weights = [getattr(self, f"{name}_weight") for name in ("reconstruction", "contrast", "rotation")]
        if not min(weights) >= 0 or not max(weights) > 0:
            raise ValueError(f"weights of losses must not be negative, and not all 0. Received: {weights}. Raise one.")
        if self.weighting not in get_args(Weighting):
            raise ValueError(f"weighting must be one of {get_args(Weighting)}. Received: {self.weighting!r}.")
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive. Received: {self.temperature}. Use 0.1-1.")
        if self.momentum is not None and not (0 <= self.momentum <= 1 and self.contrast_weight > 0):
            raise ValueError(
                "momentum must be in [0, 1] and needs a contrast. "
                f"Received: momentum={self.momentum}, contrast_weight={self.contrast_weight}. Use 0.99-0.999."
            )
        if not 1 <= self.head_layers <= 10:
            raise ValueError(f"head_layers must be in 1-10. Received: {self.head_layers}. Use 1 or 3.")
        for name in ("noise", "zeros", "alien"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1). Received: {getattr(self, name)}. Use 0-0.7.")
        for name in ("alien_rate", "grey", "blur", "jitter", "least"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1]. Received: {getattr(self, name)}.")
        if not 0 < self.min_side <= self.max_side <= 1:
            raise ValueError(
                "0 < min_side <= max_side <= 1 must hold. "
                f"Received: min_side={self.min_side}, max_side={self.max_side}. Use 0.05 and 0.25."
            )
        if self.reconstruction_weight > 0 and self.masked_only and not self.corrupts:
            raise ValueError(
                "a reconstruction of corrupted pixels needs some. Received: no noise, zeros, alien, grey, blur or "
                "jitter. Raise one, or set masked_only=false."
            )

    @property
    def corrupts(self) -> bool:
        return max(self.noise, self.zeros, self.alien, self.grey, self.blur, self.jitter) > 0

    @property
    def num_views(self) -> int:
        """Of an image in a step."""
        return 2 if self.contrast_weight > 0 else 1


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # Views are neither corrupted nor turned: the best frozen features that little training gives.
        # Temperature and layers are what a search found, docs/tuning/gains.md.
        "contrast": {"contrast_weight": 1.0, "temperature": 0.135, "head_layers": 3},
        # Corruption of the second version, reconstruction alone (GMML, arXiv:2205.14986).
        "reconstruction": {
            "reconstruction_weight": 1.0,
            "noise": 0.7,
            "alien": 0.35,
            "alien_rate": 0.5,
            "least": 0.7,
            "max_side": 0.3,
            "head_layers": 3,
        },
        # April 2021: three tasks, all pixels, learned weights.
        "v1": {
            "reconstruction_weight": 1.0,
            "contrast_weight": 1.0,
            "rotation_weight": 1.0,
            "weighting": "uncertainty",
            "temperature": 0.5,
            "masked_only": False,
            "noise": 0.3,
            "alien": 0.3,
            "grey": 1.0,
            "blur": 1.0,
        },
        # December 2022: a teacher of clean views, no rotation; "set lambda to a high value on small data, e.g. 5".
        "momentum": {
            "reconstruction_weight": 1.0,
            "contrast_weight": 1.0,
            "momentum": 0.996,
            "head_layers": 3,
            "zeros": 0.5,
            "alien": 0.3,
            "alien_rate": 0.5,
            "least": 1.0,
            "max_side": 0.3,
        },
    }
)
"""Objective -> what it sets; the rest are the defaults of `Objective`."""
