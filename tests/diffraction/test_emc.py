"""Whole reconstructions of made patterns: the truth is found, both known failures of a fixed beta, shards, resuming."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from recsys_ssl.artifacts import DamagedError
from recsys_ssl.diffraction import checkpoints, emc, simulate, validation
from recsys_ssl.diffraction.expectation import Statistics
from recsys_ssl.diffraction.geometry import Mask, make_detector
from recsys_ssl.diffraction.settings import EmcSettings
from recsys_ssl.diffraction.slices import radii_of, symmetrise

RADII = range(3, 9)
SHORT = EmcSettings(rotations=1, iterations=6, settled=1.0)


def correlation(found, made):
    """Mean over shells with the truth, at the best rotation."""
    turned = validation.rotate(found.volume, validation.align(found.volume, made.volume, RADII, n=3).quaternion)
    return validation.shell_correlations(turned, made.volume, RADII).mean()


def test_the_intensity_is_found(particle):
    rows = []
    found = emc.reconstruct(particle.counts, particle.detector, EmcSettings(rotations=2), progress=rows.append)
    assert correlation(found, particle) > 0.9
    np.testing.assert_allclose(found.volume, found.volume[::-1, ::-1, ::-1], rtol=1e-12)
    assert rows == found.history
    assert [row["iteration"] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["log_likelihood"] > rows[0]["log_likelihood"] + 100
    assert rows[-1]["information"] > 3
    assert found.held_out.sum() == 30
    # In photons: a pattern is expected to have as many as it has, on average.
    used = particle.detector.mask != Mask.BAD
    from_radii = np.linalg.norm(particle.detector.q_voxels[used], axis=1)
    shell = (radii_of(len(found.volume)) > 4.5) & (radii_of(len(found.volume)) < 5.5)
    ring = (from_radii > 4.5) & (from_radii < 5.5)
    of_patterns = (particle.counts[:, used][:, ring].mean() / particle.detector.correction[used][ring]).mean()
    assert found.volume[shell].mean() == pytest.approx(of_patterns, rel=0.1)


@pytest.fixture(scope="module")
def faint():
    """300 patterns of 300 photons of a particle of 40 blobs."""
    detector = make_detector(100.0, 1000.0, 6.2, 17, stop_radius_pixels=1.5)
    volume = simulate.intensity(simulate.draw_blobs(40, seed=0), detector.side, per_voxel=0.25)
    return detector, simulate.draw_patterns(volume, detector, num_patterns=300, mean_photons=300, seed=0)


def test_a_usual_fixed_beta_collapses_to_a_symmetric_volume_and_a_rising_one_does_not(faint):
    detector, made = faint
    fixed = emc.reconstruct(made.counts, detector, EmcSettings(rotations=2, beta_factor=1.0))
    assert fixed.history[-1]["information"] < 0.01
    assert correlation(fixed, made) < 0.4
    rising = emc.reconstruct(made.counts, detector, EmcSettings(rotations=2))
    assert rising.history[-1]["information"] > 3
    assert correlation(rising, made) > 0.8
    assert rising.held_out_log_likelihood > fixed.held_out_log_likelihood + 10


def test_a_high_beta_fits_the_noise_of_few_patterns_and_a_rising_one_stops_before(particle):
    made = simulate.draw_patterns(particle.volume, particle.detector, num_patterns=80, mean_photons=6000, seed=0)
    settings = EmcSettings(rotations=3, held_out_share=0.25)
    high = emc.reconstruct(made.counts, particle.detector, dataclasses.replace(settings, beta=1.0, beta_factor=1.0))
    stopped = emc.reconstruct(made.counts, particle.detector, settings)
    assert stopped.history[-1]["beta"] < 0.5
    assert max(row["beta"] for row in stopped.history) > stopped.history[-1]["beta"]  # it went back
    assert stopped.held_out_log_likelihood > high.held_out_log_likelihood + 10
    assert correlation(stopped, made) > correlation(high, made) + 0.05


def test_beta_rises_once_the_volume_has_settled(particle):
    settings = EmcSettings(rotations=2, beta_every=3, settled=0.05)
    rows = emc.reconstruct(particle.counts, particle.detector, settings).history
    held = 0
    for before, row in itertools.pairwise(rows):
        held += 1
        if row["beta"] != before["beta"]:
            assert held >= 3
            assert before["rms_change"] < 0.05
            held = 0
    assert len({row["beta"] for row in rows}) > 3
    assert max(row["rms_change"] for row in rows) > 0.05


@pytest.mark.parametrize("parts", [(2, 1), (4, 1), (1, 2), (1, 4), (2, 2)], ids=str)
def test_shards_change_nothing(parts, particle):
    settings = EmcSettings(rotations=2, iterations=4, beta=0.1, beta_factor=1.0)
    one = emc.reconstruct(particle.counts, particle.detector, settings)
    shards = emc.make_shards(emc.make_problem(particle.counts, particle.detector, settings), *parts)
    found = emc.reconstruct(
        particle.counts, particle.detector, settings, expect=lambda *given: emc.expect_on(shards, *given)
    )
    difference = found.volume - one.volume
    assert np.sqrt((difference**2).mean() / (one.volume**2).mean()) < 1e-6
    assert found.log_likelihood == pytest.approx(one.log_likelihood, rel=1e-6)


def test_the_likelihood_never_falls_at_a_fixed_beta_of_one(particle):
    settings = EmcSettings(rotations=2, iterations=12, beta=1.0, beta_factor=1.0, tolerance=1e-9)
    rows = emc.reconstruct(particle.counts, particle.detector, settings).history
    gains = np.diff([row["log_likelihood"] for row in rows])
    assert gains[0] > 10
    # Merged slices are averaged between voxels, which EM's guarantee knows nothing of: by little only.
    assert gains.min() > -0.5


def test_the_fluence_of_each_pattern_is_found():
    detector = make_detector(100.0, 1000.0, 6.2, 13, stop_radius_pixels=1.5)
    volume = simulate.intensity(simulate.draw_blobs(12, seed=0), detector.side, per_voxel=0.25)
    made = simulate.draw_patterns(volume, detector, 200, 1500, seed=2, fluence_shape=2.0)
    bright = np.asarray(made.counts.sum(axis=1)).ravel() > 100
    counts, fluence = made.counts[bright], made.fluence[bright]
    for settings in (
        EmcSettings(rotations=2, iterations=25, fit_fluence=True),
        EmcSettings(rotations=2, iterations=25, model="absolute", sigma=0.3, beta_factor=1.0),
    ):
        found = emc.reconstruct(counts, detector, settings)
        assert found.fluence[~found.held_out].mean() == pytest.approx(1.0)
        error = validation.fluence_error(found.fluence, fluence)
        assert error.correlation > 0.97
        assert error.median_relative_error < 0.15


def test_of_several_starts_the_best_is_kept(particle):
    settings = dataclasses.replace(SHORT, starts=3, noise=0.5)
    found = emc.reconstruct(particle.counts, particle.detector, settings)
    ends = [row for row in found.history if row["iteration"] == settings.iterations]
    assert [row["start"] for row in ends] == [0, 1, 2]
    assert found.start == int(np.argmax([row["held_out_log_likelihood"] for row in ends]))
    assert len({round(row["held_out_log_likelihood"], 6) for row in ends}) == 3
    last = dataclasses.replace(settings, starts=1, first_start=2)
    alone = emc.reconstruct(particle.counts, particle.detector, last)
    assert alone.start == 2
    assert alone.history == found.history[-settings.iterations :]


def test_a_run_goes_on_where_it_was_killed(particle, tmp_path):
    """Killed after each of its iterations, of two starts, it ends as one that was not."""
    settings = dataclasses.replace(SHORT, starts=2, iterations=4, beta_every=1)
    expected = emc.reconstruct(particle.counts, particle.detector, settings)
    seen = []

    def end(row):
        seen.append((row["start"], row["iteration"]))
        raise KeyboardInterrupt

    for _ in range(2 * settings.iterations):
        with pytest.raises(KeyboardInterrupt):
            emc.reconstruct(particle.counts, particle.detector, settings, tmp_path / "c.npz", progress=end)
    assert seen == [(start, iteration) for start in range(2) for iteration in range(1, 5)]
    found = emc.reconstruct(particle.counts, particle.detector, settings, tmp_path / "c.npz", progress=end)
    np.testing.assert_allclose(found.volume, expected.volume, rtol=1e-10)
    np.testing.assert_array_equal(found.rotations, expected.rotations)
    assert found.start == expected.start
    assert found.history == expected.history
    assert [path.name for path in tmp_path.iterdir()] == ["c.npz"]


def test_a_checkpoint_of_other_patterns_or_settings_is_refused(particle, tmp_path):
    settings = dataclasses.replace(SHORT, iterations=1)
    path = tmp_path / "c.npz"
    emc.reconstruct(particle.counts, particle.detector, settings, path)
    others = [(particle.counts[1:], settings), (particle.counts, dataclasses.replace(settings, seed=1))]
    for counts, given in others:
        with pytest.raises(ValueError, match="must be of the same patterns, detector and settings"):
            emc.reconstruct(counts, particle.detector, given, path)
    # The same pixels in the same order, of which the last does not orient any more.
    mask = particle.detector.mask.copy()
    mask[np.flatnonzero(mask == Mask.GOOD)[-1]] = Mask.MERGE_ONLY
    masked = dataclasses.replace(particle.detector, mask=mask)
    with pytest.raises(ValueError, match="must be of the same patterns, detector and settings"):
        emc.reconstruct(particle.counts, masked, settings, path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DamagedError, match="is damaged, or not whole.*it starts at the beginning"):
        emc.reconstruct(particle.counts, particle.detector, settings, path)
    assert checkpoints.load(tmp_path / "none.npz", "") is None


def test_the_change_is_relative_to_the_shell_and_counts_what_is_seen():
    before = np.where(np.rint(radii_of(5)) == 1, 4.0, 2.0)
    after, seen = before.copy(), np.zeros((5, 5, 5))
    after[2, 2, 1] += 1.0  # a quarter of its shell's mean
    after[2, 2, 4] += 1.0  # a half
    after[0, 0, 0] += 9.0  # not seen
    seen[2, 2, 1], seen[2, 2, 4], seen[2, 2, 2] = 3.0, 1.0, 4.0
    assert emc.rms_change(before, after, seen) == pytest.approx(((3 * 0.25**2 + 1 * 0.5**2) / 8) ** 0.5)


def test_unseen_voxels_stay_as_they_were():
    numerator, denominator = np.zeros((2, 5, 5, 5))
    numerator[1, 2, 2], denominator[1, 2, 2] = 6.0, 2.0
    numerator[3, 2, 2], denominator[3, 2, 2] = 0.0, 1.0  # the opposite voxel
    volume = np.random.default_rng(0).random((5, 5, 5))
    found = emc.maximise(Statistics(numerator, denominator, np.zeros(0)), volume)
    expected = volume.copy()
    expected[1, 2, 2] = expected[3, 2, 2] = (6.0 + 0.0) / (2.0 + 1.0)
    np.testing.assert_allclose(found, expected)


def test_a_start_is_the_radial_average_with_noise(particle):
    problem = emc.make_problem(particle.counts, particle.detector, SHORT)
    smooth = emc.start_volume(problem, 0.0, seed=0, start=0)
    radii = radii_of(len(smooth))
    for radius in (3.0, 5.0):
        (value,) = np.unique(smooth[radii == radius].round(12))
        near = np.rint(np.linalg.norm(particle.detector.q_voxels, axis=1)) == radius
        near &= particle.detector.mask != Mask.BAD
        merged = particle.counts[problem.merged].toarray()[:, near]
        assert value == pytest.approx(merged.mean(axis=0).sum() / particle.detector.correction[near].sum())
    noisy = emc.start_volume(problem, 0.2, seed=0, start=0)
    np.testing.assert_array_equal(noisy, symmetrise(noisy))
    assert 0.1 < np.abs(noisy / smooth - 1).max() <= 0.2
    assert np.abs(noisy - emc.start_volume(problem, 0.2, seed=0, start=1)).max() > 0


@pytest.mark.parametrize(("num", "parts"), [(10, 3), (4, 4), (7, 1), (2, 3)])
def test_ranges_hold_everything_once(num, parts):
    ranges = emc.split(num, parts)
    assert [number for part in ranges for number in part] == list(range(num))
    assert len(ranges) == parts
    assert max(map(len, ranges)) - min(map(len, ranges)) <= 1


# --- Bad input -------------------------------------------------------------------------------------------


def test_patterns_of_another_detector_are_an_error(particle):
    with pytest.raises(ValueError, match="patterns must be of the detector's 289 pixels. Received: 288"):
        emc.make_problem(particle.counts[:, 1:], particle.detector, SHORT)


def test_patterns_without_photons_are_an_error(particle):
    counts = particle.counts.tolil()
    counts[7] = counts[9] = 0
    message = "each pattern must have photons on good pixels. Received: 2 of 300 without, the first at row 7"
    with pytest.raises(ValueError, match=message):
        emc.make_problem(sp.csr_matrix(counts), particle.detector, SHORT)


def test_too_few_patterns_are_an_error(particle):
    with pytest.raises(ValueError, match="at least 2 patterns must be left to merge. Received: 2, 1 of them held out"):
        emc.make_problem(particle.counts[:2], particle.detector, SHORT)


@pytest.mark.parametrize(
    "change",
    [
        {"rotations": 0},
        {"iterations": 0},
        {"sigma": float("nan")},
        {"tolerance": 0.0},
        {"beta": 0.0},
        {"beta": 1.5},
        {"beta_factor": 0.9},
        {"held_out_share": 1.0},
        {"held_out_share": 0.0},
        {"noise": 2.0},
        {"seed": -1},
    ],
    ids=str,
)
def test_settings_out_of_range_are_an_error(change):
    with pytest.raises(ValueError, match=f"reconstruct.{next(iter(change))} must .*Received: "):
        EmcSettings(**change)
