"""Halves of the patterns, and the page on a reconstruction: its figures are those of what was given."""

import dataclasses
import json

import numpy as np
import pytest

from recsys_ssl.diffraction import emc, halves, report, validation
from recsys_ssl.diffraction.rotations import HALF_TURNS, multiply
from recsys_ssl.diffraction.settings import EmcSettings

SETTINGS = EmcSettings(rotations=2, iterations=8, beta=0.1, beta_factor=1.3, beta_every=1)


@pytest.fixture(scope="module")
def found(particle):
    return emc.reconstruct(particle.counts, particle.detector, SETTINGS)


def test_halves_of_a_good_particle_agree_on_volume_and_orientations(particle):
    radii = range(3, 8)
    both = halves.compare_halves(particle.counts, particle.detector, SETTINGS, radii)
    assert both.correlations.shape == (5,)
    assert both.correlations.mean() > 0.8
    assert len(both.disagreement_degrees) == 30
    assert np.median(both.disagreement_degrees) < 2 * validation.grid_floor_degrees(2)
    with pytest.raises(ValueError, match="halves need at least 60 patterns. Received: 59"):
        halves.compare_halves(particle.counts[:59], particle.detector, SETTINGS, radii)


def test_a_model_orients_patterns_that_it_has_not_seen(particle, found):
    truth = found._replace(volume=particle.volume)
    finer = dataclasses.replace(SETTINGS, rotations=4)
    seen = halves.orient(particle.counts[:40], particle.detector, finer, truth)
    errors = validation.orientation_errors_degrees(seen, particle.quaternions[:40])
    assert np.median(errors) < 2 * validation.grid_floor_degrees(4)


def test_the_report_gives_the_truth_its_own_figures(particle, found):
    """A reconstruction that is the truth: correlation 1, no error, fluence 1."""
    settings = dataclasses.replace(SETTINGS, fit_fluence=True)
    fluence = np.linspace(0.5, 1.5, 300)
    perfect = found._replace(volume=particle.volume, quaternions=particle.quaternions, fluence=fluence)
    truth = report.Truth(particle.volume, multiply(particle.quaternions, HALF_TURNS[3]), 2 * fluence)
    both = halves.Halves(np.full(len(report.list_radii(particle.detector)), 0.9), np.array([1.0, 2.0, 6.0]))
    judged = report.judge_reconstruction(perfect, particle.detector, settings, truth, both, "a <particle>")
    assert judged["spheres"]["mean"] == pytest.approx(1.0, abs=1e-3)
    assert judged["orientations"]["median_degrees"] == pytest.approx(0.0, abs=1e-4)
    assert judged["fluence"]["correlation"] == pytest.approx(1.0)
    assert judged["fluence"]["median_relative_error"] == pytest.approx(0.0, abs=1e-12)
    assert judged["halves"]["median_degrees"] == 2.0
    assert judged["halves"]["mean_degrees"] == pytest.approx(3.0)
    assert judged["halves"]["mean"] == pytest.approx(0.9)
    assert judged["radii"] == list(range(2, 12))
    page = report.render_reconstruction_report(judged, perfect, particle.detector)
    assert page.count("data:image/png;base64,") == 5
    assert "a &lt;particle&gt;" in page
    assert "<td>1.000</td>" in page
    assert "2.00°" in page


def test_without_truth_and_halves_the_report_says_so(particle, found, tmp_path):
    judged = report.judge_reconstruction(found, particle.detector, SETTINGS)
    assert [judged[name] for name in ("spheres", "orientations", "fluence", "halves")] == [None] * 4
    report.write_reconstruction_report(judged, found, particle.detector, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 1
    assert "Halves were not reconstructed" in page
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["counts"] == {
        "patterns": 300,
        "held_out": 30,
        "starts": 1,
        "start": 1,
        "iterations": len(found.history),
        "side": len(found.volume),
    }
    assert stored["history"][0]["beta"] == 0.1


def test_a_truth_of_another_size_is_refused(particle, found):
    truth = report.Truth(volume=particle.volume[1:-1, 1:-1, 1:-1])
    with pytest.raises(ValueError, match="the true volume must be of"):
        report.judge_reconstruction(found, particle.detector, SETTINGS, truth)
