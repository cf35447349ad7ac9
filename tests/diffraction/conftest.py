"""A small particle without symmetry, seen by a small detector: the truth is known, and everything is fast."""

from types import SimpleNamespace

import numpy as np
import pytest

from recsys_ssl.diffraction import simulate
from recsys_ssl.diffraction.geometry import make_detector


@pytest.fixture(scope="session")
def particle():
    """300 patterns of 1,400 photons on 17 x 17 pixels; the intensity has a side of 27."""
    detector = make_detector(100.0, 1000.0, 6.2, 17, stop_radius_pixels=1.5)
    volume = simulate.intensity(simulate.draw_blobs(12, seed=0), detector.side, per_voxel=0.25)
    made = simulate.draw_patterns(volume, detector, num_patterns=300, mean_photons=1400, seed=0)
    return SimpleNamespace(detector=detector, **made._asdict())


@pytest.fixture(scope="session")
def tiny():
    """12 patterns on 9 x 9 pixels, fluences differ; side 17: for loops in Python."""
    detector = make_detector(30.0, 1000.0, 6.2, 9, stop_radius_pixels=1.2)
    volume = simulate.intensity(simulate.draw_blobs(5, seed=1), detector.side, per_voxel=0.25)
    made = simulate.draw_patterns(volume, detector, num_patterns=12, mean_photons=300, seed=1, fluence_shape=4.0)
    merged = np.arange(12) % 4 != 0
    return SimpleNamespace(detector=detector, merged=merged, **made._asdict())
