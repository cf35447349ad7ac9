"""How far two halves of the patterns agree: their volumes, and where they see patterns that neither has merged.

Volumes that agree are necessary for a good reconstruction, not sufficient: both share the blur of the grid and what
the start and the mask put into both. Orientations of patterns that neither half knows are the sharper test: two models
that are right see them the same way.

References:
    Shen, Teo, Ayyer and Loh 2021, Sci. Rep. 11, 971: orientation disagreement of patterns that were not merged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple, Optional

import numpy as np
import scipy.sparse as sp

from recsys_ssl.diffraction.emc import (
    Reconstruction,
    expect_on,
    make_problem,
    make_shards,
    photons_of,
    reconstruct,
)
from recsys_ssl.diffraction.geometry import Detector
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.validation import align, orientation_errors_degrees, sphere_correlations

_LEAST_SENTINELS = 20
_SENTINEL_SHARE = 0.1


class Halves(NamedTuple):
    """What two reconstructions have in common."""

    correlations: np.ndarray
    """[num_radii] float64, over spheres."""
    disagreement_degrees: np.ndarray
    """[num_sentinels] float64, between the orientations of the patterns that neither merged."""


def count_sentinels(num_patterns: int) -> int:
    """How many patterns neither half merges.

    Raises:
        ValueError: there are too few patterns for halves.
    """
    num_sentinels = max(_LEAST_SENTINELS, round(_SENTINEL_SHARE * num_patterns))
    if num_patterns < 3 * num_sentinels:
        raise ValueError(
            f"halves need at least {3 * _LEAST_SENTINELS} patterns. Received: {num_patterns}. Leave them out."
        )
    return num_sentinels


def compare_halves(
    counts: sp.csr_matrix,
    detector: Detector,
    settings: EmcSettings,
    radii: Sequence[int],
    run: Optional[Callable[[sp.csr_matrix], Reconstruction]] = None,
) -> Halves:
    """Reconstructs two halves of the patterns, less a tenth of them, and lets both orient that tenth.

    Args:
        counts: [num_patterns, num_pixels], photons.
        radii: of spheres, in voxels.
        run: reconstructs patterns with this detector and these settings; None: in this process.

    Raises:
        ValueError: see `count_sentinels` and `emc.reconstruct`.
    """
    num_patterns, num_sentinels = counts.shape[0], count_sentinels(counts.shape[0])
    order = np.random.default_rng([settings.seed, 2]).permutation(num_patterns)
    sentinels, rest = order[:num_sentinels], np.sort(order[num_sentinels:])
    run = run or (lambda half: reconstruct(half, detector, settings))
    found = [run(counts[rest[part::2]]) for part in (0, 1)]
    turn = align(found[0].volume, found[1].volume, radii).quaternion
    seen = [orient(counts[sentinels], detector, settings, of_half) for of_half in found]
    return Halves(
        sphere_correlations(found[0].volume, found[1].volume, radii, turn), orientation_errors_degrees(seen[0], seen[1])
    )


def orient(counts: sp.csr_matrix, detector: Detector, settings: EmcSettings, found: Reconstruction) -> np.ndarray:
    """[num_patterns, 4] float64, the most likely rotations of patterns in a volume that was found without them."""
    settings = dataclasses.replace(settings, held_out_share=0.0, beta_factor=1.0)
    problem = make_problem(counts, detector, settings)
    fluence = np.ones(problem.num_patterns)
    if settings.fit_fluence:
        photons = photons_of(problem.counts, detector)
        fluence = photons / photons.mean()
    _, normalizer = expect_on(make_shards(problem), found.volume, fluence, 1.0)
    return problem.rotations.quaternions[normalizer.best]
