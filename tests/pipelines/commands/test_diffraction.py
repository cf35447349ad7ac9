"""`recsys-ssl reconstruct` from files to files, and its errors as one message."""

import json
import os

import h5py
import numpy as np
import pandas as pd
import pytest

from recsys_ssl.diffraction import detector_files, emc, patterns, simulate, volumes
from recsys_ssl.diffraction.geometry import make_detector
from recsys_ssl.diffraction.settings import EmcSettings


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # nothing wraps
    monkeypatch.setenv("TERM", "dumb")  # nor has colours


@pytest.fixture
def made(tmp_path):
    """60 patterns in photons.emc, and detector.h5."""
    detector = make_detector(100.0, 1000.0, 6.2, 11, stop_radius_pixels=1.5)
    volume = simulate.intensity(simulate.draw_blobs(6, seed=0), detector.side, per_voxel=0.25)
    found = simulate.draw_patterns(volume, detector, num_patterns=60, mean_photons=500, seed=0)
    detector_files.write_detector(tmp_path / "detector.h5", detector)
    patterns.write_patterns(tmp_path / "photons.emc", patterns.Patterns(found.counts))
    return found


@pytest.fixture
def reconstruct(cli, tmp_path):
    def run(*options, photons="photons.emc", detector="detector.h5"):
        given = ["reconstruct", tmp_path / photons, "--detector", tmp_path / detector, "--to", tmp_path / "out"]
        return cli(*given, "--rotations", 1, "--set", "reconstruct.iterations=3", *options)

    return run


def check_error(result, *parts):
    """One message, exit status 1, no trace."""
    assert result.status == 1
    assert "Traceback" not in result.output
    assert result.output.count("error: ") == 1
    assert [part for part in parts if part not in result.output] == [], result.output


def check_files(directory, expected):
    names = ["orientations.csv", "planes.png", "reconstruction.json", "report.html", "report.json"]
    names += ["volume.h5", "volume.mrc"]
    assert sorted(os.listdir(directory)) == names
    for name in ("volume.h5", "volume.mrc"):
        np.testing.assert_allclose(volumes.read_volume(directory / name), expected.volume, rtol=1e-4)
    table = pd.read_csv(directory / "orientations.csv")
    np.testing.assert_allclose(table[["w", "x", "y", "z"]], expected.quaternions)
    assert table["rotation"].tolist() == expected.rotations.tolist()
    assert table["held_out"].tolist() == expected.held_out.astype(int).tolist()
    np.testing.assert_allclose(table["fluence"], expected.fluence)
    facts = json.loads((directory / "reconstruction.json").read_text())
    assert facts["settings"]["rotations"] == 1
    assert facts["log_likelihood"] == pytest.approx(expected.log_likelihood, rel=1e-5)
    assert [row["iteration"] for row in facts["history"]] == [1, 2, 3]
    assert facts["history"][-1]["information"] == pytest.approx(expected.history[-1]["information"], rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [(), ("--workers", 2, "--pattern-parts", 2), ("--method", "beam", "--pattern-parts", 2)],
    ids=["one", "processes", "beam"],
)
def test_patterns_become_a_volume(options, reconstruct, made, tmp_path):
    result = reconstruct(*options)
    assert result.status == 0, result.output
    told = str(tmp_path / "out" / "reconstruction")
    for part in ("60 patterns of 4", "3 iterations, start 1 of 1", "held out", told):
        assert part in result.output
    detector = detector_files.read_detector(tmp_path / "detector.h5")
    expected = emc.reconstruct(made.counts, detector, EmcSettings(rotations=1, iterations=3))
    check_files(tmp_path / "out" / "reconstruction", expected)
    assert not list(tmp_path.glob("**/*.tmp"))


def test_the_report_knows_the_truth_and_the_halves(reconstruct, made, tmp_path):
    volumes.write_volume(tmp_path / "truth.h5", made.volume)
    patterns.write_patterns(tmp_path / "photons.npz", patterns.Patterns(made.counts, made.quaternions, made.fluence))
    result = reconstruct("--truth", tmp_path / "truth.h5", "--halves", photons="photons.npz")
    assert result.status == 0, result.output
    report = json.loads((tmp_path / "out" / "reconstruction" / "report.json").read_text())
    assert len(report["spheres"]["correlations"]) == len(report["radii"])
    assert len(report["orientations"]["degrees"]) == 60
    assert len(report["halves"]["degrees"]) == 20
    assert report["fluence"]["pairs"] == []  # it was not fitted
    volumes.write_volume(tmp_path / "other.h5", made.volume[1:-1, 1:-1, 1:-1])
    check_error(reconstruct("--truth", tmp_path / "other.h5"), "--truth must be of the detector's 19 voxels")


def test_a_finished_run_is_not_done_again(reconstruct, made, tmp_path):
    assert reconstruct().status == 0
    history = (tmp_path / "out" / "reconstruction" / "reconstruction.json").read_text()
    result = reconstruct()
    assert result.status == 0
    assert (tmp_path / "out" / "logs" / "reconstruct.log").read_text().count("iteration 1/3") == 1
    assert (tmp_path / "out" / "reconstruction" / "reconstruction.json").read_text() == history
    check_error(reconstruct("--set", "reconstruct.seed=1"), "must be of the same patterns, detector and settings")
    assert (tmp_path / "out" / "reconstruction" / "reconstruction.json").read_text() == history


def test_unknown_orientations_are_told(reconstruct, made):
    result = reconstruct("--set", "reconstruct.beta=0.0001", "--set", "reconstruct.beta_factor=1")
    assert result.status == 0
    assert "orientations are hardly known" in result.output


def test_bad_input_is_one_line(reconstruct, made, tmp_path):
    content = (tmp_path / "photons.emc").read_bytes()
    (tmp_path / "short.emc").write_bytes(content[:-7])
    check_error(reconstruct(photons="short.emc"), "short.emc is damaged, or not whole", "bytes in place of")
    check_error(reconstruct(photons="none.emc"), "none.emc. Check the path")
    check_error(reconstruct(detector="none.h5"), "none.h5. Check the path")
    check_error(reconstruct(detector="photons.emc"), "photons.emc is damaged, or not whole", "Give a detector")
    check_error(reconstruct("--set", "reconstruct.rotation=2"), "rotation")
    check_error(reconstruct("--set", "reconstruct.beta=2"), "reconstruct.beta must be in (0, 1]")
    check_error(reconstruct("--workers", 16), "workers must be from 1 to 15")
    check_error(reconstruct("--workers", 2, "--method", "beam"), "with --method beam the runner has the workers")
    check_error(reconstruct("--beam=--direct_num_workers=2"), "--beam goes with --method beam")
    detector_files.write_detector(tmp_path / "other.h5", make_detector(100.0, 1000.0, 6.2, 9))
    check_error(reconstruct(detector="other.h5"), "patterns must be of the detector's 81 pixels. Received: 121")
    assert not (tmp_path / "out" / "reconstruction").exists()


@pytest.fixture
def frames(made, tmp_path):
    """Two files of 30 frames each: photons of 26 units over a pedestal of 7; every tenth frame is dark."""
    signal = 7 + 26.0 * made.counts.toarray().reshape(60, 11, 11)
    signal[::10] = 7.0
    for number, part in enumerate((signal[:30], signal[30:])):
        with h5py.File(tmp_path / f"run-{number}.h5", "w") as file:
            file["entry_1/data_1/data"] = part
    return tmp_path / "run-0.h5", tmp_path / "run-1.h5"


def test_frames_become_patterns_that_are_reconstructed(cli, frames, made, reconstruct, tmp_path):
    given = ["prepare-patterns", *frames, "--detector", tmp_path / "detector.h5", "--to", tmp_path / "run"]
    units = ["--set", "frames.pedestal_adu=7", "--set", "frames.adu_per_photon=26"]
    result = cli(*given, *units)
    assert result.status == 0, result.output
    assert "54 hits; 6 too_few_photons" in result.output
    prepared = tmp_path / "run" / "patterns"
    found = patterns.read_patterns(prepared).counts
    expected = np.delete(made.counts.toarray(), slice(None, None, 10), axis=0)
    np.testing.assert_array_equal(found.toarray(), expected)
    table = pd.read_csv(prepared / "rejected.csv")
    assert table["frame"].tolist() == [0, 10, 20] * 2
    assert set(table["reason"]) == {"too_few_photons"}
    again = reconstruct(photons="run/patterns", detector="run/patterns/detector.h5")
    assert again.status == 0, again.output
    check_error(cli(*given, "--set", "frames.min_photons=100000"), "none of 60", "60 too_few_photons")
    check_error(cli(*given, "--set", "frames.bin=2"), "frames.bin must divide 11 and 11")
    check_error(cli(*given, "--set", "frames.dataset=data"), "no data in it")
