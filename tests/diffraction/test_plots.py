"""The picture shows the volume where it was seen, and the rows of the history."""

import numpy as np

from recsys_ssl.diffraction.plots import draw

KEYS = ("beta", "log_likelihood", "held_out_log_likelihood", "information")
HISTORY = [{"iteration": i} | {key: place + 0.5 / i for place, key in enumerate(KEYS)} for i in (1, 2, 3)]


def test_planes_and_curves_are_those_of_the_run(tmp_path):
    volume = np.random.default_rng(0).uniform(0.1, 1.0, (7, 7, 7))
    volume[3, 3, 4] = 0.0
    figure = draw(volume, HISTORY, max_radius_voxels=3.0)
    figure.savefig(tmp_path / "planes.png")  # which lays it out, too
    assert (tmp_path / "planes.png").read_bytes().startswith(b"\x89PNG")
    axes = [place for part in figure.subfigs for place in part.axes]
    (image,) = axes[2].images
    seen = np.ma.filled(image.get_array(), np.nan)  # x from left to right, y upwards
    assert seen[5, 3] == np.log10(volume[3, 5, 3])
    assert np.isnan(seen[0, 0])  # a corner
    (image,) = axes[0].images
    assert np.isnan(np.ma.filled(image.get_array(), np.nan)[4, 3])  # y = 3, z = 4: nothing there
    curves = {tuple(line.get_ydata()) for place in axes for line in place.lines}
    expected = {tuple(row[key] for row in HISTORY) for key in KEYS}
    assert expected <= curves


def test_a_run_without_held_out_patterns_has_a_picture(tmp_path):
    rows = [row | {"held_out_log_likelihood": float("nan")} for row in HISTORY]
    draw(np.zeros((5, 5, 5)), rows, 2.0).savefig(tmp_path / "planes.png")
    assert (tmp_path / "planes.png").stat().st_size > 1000
