"""The benchmark of reconstructions records what it finds on a particle that is known."""

import numpy as np
import pytest

from benchmarks.claims import load
from benchmarks.diffraction import fixture
from recsys_ssl.diffraction import detector_files, patterns, simulate
from recsys_ssl.diffraction.geometry import make_detector
from recsys_ssl.diffraction.rotations import invert


@pytest.fixture
def particle(tmp_path):
    """Few patterns of some blobs, and as the peer's output the truth itself."""
    detector = make_detector(
        distance_mm=100, pixel_size_um=1000, wavelength_angstrom=6.2, num_pixels=11, stop_radius_pixels=1.5
    )
    volume = simulate.intensity(simulate.draw_blobs(8, seed=0), detector.side, per_voxel=0.25)
    made = simulate.draw_patterns(volume, detector, num_patterns=120, mean_photons=2000, seed=0)
    detector_files.write_detector(tmp_path / "det_sim.h5", detector)
    patterns.write_patterns(tmp_path / "made.npz", patterns.Patterns(made.counts, made.quaternions, made.fluence))
    (tmp_path / "made.npz").rename(tmp_path / "photons.emc")  # the content tells the format
    for name in ("truth_intensity_f4.npz", fixture.PEER):
        np.savez(tmp_path / name, intens=volume.astype(np.float32))
    np.savez(tmp_path / "truth.npz", Q=invert(made.quaternions))
    return tmp_path


def test_the_correlations_of_a_known_particle_are_recorded(particle, tmp_path, capsys):
    sizes = ["--rotations", "1", "--starts", "1", "--iterations", "3", "--radii", "2", "4"]
    fixture.main(["--data", str(particle), *sizes], tmp_path / "results")
    found = {claim.id: claim.value for claim in load(tmp_path / "results" / "diffraction.json")}
    assert found["fixture_cc_peer"] == pytest.approx(1.0, abs=1e-3)  # turned by nothing
    assert -1.0 <= found["fixture_cc"] < 1.0
    assert 0.0 < found["axis_tilt_deg"] < 90.0
    assert f"correlation {found['fixture_cc']:.4f}" in capsys.readouterr().out
