"""Scatterers by direct sums, atoms of a PDB file, and Poisson patterns with a known truth."""

import numpy as np
import pytest

from recsys_ssl.diffraction import rotations, simulate
from recsys_ssl.diffraction.geometry import Mask, make_detector
from recsys_ssl.diffraction.slices import expand

DETECTOR = make_detector(100.0, 1000.0, 6.2, 9, stop_radius_pixels=1.2)
ATOMS = """\
HEADER    MADE UP
ATOM      1  N   GLY A   1      11.000  12.000  13.000  1.00  0.00           N
ATOM      2  CA  GLY A   1      11.000  12.000  17.000  1.00  0.00           C
HETATM    3 FE   HEM A   2      15.000  12.000  13.000  1.00  0.00          FE
END
"""


def test_an_intensity_is_the_squared_sum_of_waves():
    blobs = simulate.draw_blobs(3, seed=4)
    volume = simulate.intensity(blobs, 5, per_voxel=0.3)
    for voxel in [(2, 2, 2), (0, 1, 4), (3, 2, 0)]:
        q = (np.array(voxel) - 2) * 0.3
        amplitude = sum(
            electrons * np.exp(-2 * np.pi**2 * width**2 * (q @ q)) * np.exp(-2j * np.pi * (q @ position))
            for position, width, electrons in zip(*blobs, strict=True)
        )
        assert volume[voxel] == pytest.approx(abs(amplitude) ** 2)
    assert volume[2, 2, 2] == pytest.approx(blobs.electrons.sum() ** 2)
    np.testing.assert_allclose(volume, volume[::-1, ::-1, ::-1])


def test_blobs_lie_in_a_sphere_and_depend_on_the_seed():
    blobs = simulate.draw_blobs(50, seed=1, diameter=8.0)
    assert np.linalg.norm(blobs.positions, axis=1).max() <= 4.0
    np.testing.assert_array_equal(blobs.positions, simulate.draw_blobs(50, seed=1, diameter=8.0).positions)
    assert np.abs(blobs.positions - simulate.draw_blobs(50, seed=2, diameter=8.0).positions).max() > 1


def test_atoms_are_read_about_their_centre():
    atoms = simulate.read_pdb(ATOMS)
    assert atoms.electrons.tolist() == [7, 6, 26]
    np.testing.assert_allclose(atoms.electrons @ atoms.positions, 0.0, atol=1e-12)
    np.testing.assert_allclose(atoms.positions[2] - atoms.positions[0], [4.0, 0.0, 0.0])
    # A voxel of q in 1 / Angstrom: the sphere's radius is 1 / wavelength.
    assert simulate.voxel_per_angstrom(DETECTOR) == pytest.approx(1 / (6.2 * 100))


def test_atoms_are_of_the_first_model_and_count_by_their_occupancy():
    atom = "ATOM      1  C   GLY A   1      11.000  12.000  13.000  0.50  0.00           C"
    other = atom.replace("11.000", "12.000")
    both = f"MODEL        1\n{atom}\n{other}\nENDMDL\nMODEL        2\n{atom}\n{other}\nENDMDL\nEND\n"
    assert simulate.read_pdb(both).electrons.tolist() == [3.0, 3.0]
    assert simulate.read_pdb(both.replace("  0.50", "      ")).electrons.tolist() == [6.0, 6.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("HEADER\n", "must have ATOM or HETATM records. Received: none"),
        (ATOMS.replace("          FE\n", "          XX\n"), "elements must be among H, .*. Received: XX."),
        (ATOMS.replace("15.000", "  n/a "), "coordinates in columns 31-54"),
    ],
)
def test_a_file_that_is_no_pdb_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        simulate.read_pdb(text)


@pytest.fixture(scope="module")
def volume():
    return simulate.intensity(simulate.draw_blobs(6, seed=0), DETECTOR.side, per_voxel=0.25)


@pytest.mark.parametrize("shape", [None, 2.0])
def test_patterns_are_counts_of_the_volume_at_their_rotations(volume, shape):
    made = simulate.draw_patterns(volume, DETECTOR, 400, 200.0, seed=3, fluence_shape=shape)
    assert made.counts.shape == (400, 81)
    assert made.counts.dtype == np.int32
    assert made.counts[:, DETECTOR.mask == Mask.BAD].sum() == 0
    assert made.fluence.mean() == pytest.approx(1.0)
    assert made.fluence.std() == pytest.approx(0.0 if shape is None else 0.5**0.5, abs=0.1)
    used = DETECTOR.mask != Mask.BAD
    expected = expand(made.volume, rotations.to_matrices(made.quaternions), DETECTOR.q_voxels[used])
    expected *= DETECTOR.correction[used] * made.fluence[:, None]
    assert expected.sum() / 400 == pytest.approx(200.0)
    counts = made.counts.toarray()[:, used]
    # Poisson: (K - W) / sqrt(W) has the variance 1, with the standard error sqrt(2 / 400 / pixels) where W is large.
    deviations = ((counts - expected) / np.sqrt(expected))[expected > 1]
    assert deviations.mean() == pytest.approx(0.0, abs=0.05)
    assert deviations.var() == pytest.approx(1.0, abs=0.06)


def test_patterns_depend_on_the_seed_alone(volume):
    first, again, other = (simulate.draw_patterns(volume, DETECTOR, 5, 100.0, seed) for seed in (1, 1, 2))
    assert (first.counts != again.counts).nnz == 0
    np.testing.assert_array_equal(first.quaternions, again.quaternions)
    assert (first.counts != other.counts).nnz > 0


@pytest.mark.parametrize(("num", "photons"), [(0, 10.0), (3, 0.0), (3, float("nan"))])
def test_there_must_be_patterns_and_photons(volume, num, photons):
    with pytest.raises(ValueError, match="num_patterns and mean_photons must be positive"):
        simulate.draw_patterns(volume, DETECTOR, num, photons, seed=0)
