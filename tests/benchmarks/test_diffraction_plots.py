"""The figure of how an iteration grows, from the committed claims."""

import numpy as np

from benchmarks.claims import RESULTS, load
from benchmarks.diffraction import plots


def test_each_panel_shows_the_claims_of_its_family(tmp_path):
    claims = {claim.id: claim for claim in load(RESULTS / f"{plots.TOPIC}.json")}
    patterns, rotations, pixels, workers = (axes.lines[0].get_xydata() for axes in plots.draw(claims.values()).axes)
    np.testing.assert_array_equal(patterns[:, 0], [500, 1000, 2000, 4000])
    np.testing.assert_array_equal(rotations[:, 0], [420, 1380, 3240, 10_860])
    np.testing.assert_array_equal(pixels[-1], [5020, claims["pixels_71"].value])
    np.testing.assert_array_equal(workers[-1], [100, claims["large_100_workers"].value])


def test_no_claims_are_one_line(tmp_path, capsys):
    assert plots.main(tmp_path, tmp_path / "scaling.png") == 1
    assert "must exist" in capsys.readouterr().err
