"""Workers under another interpreter: what goes in, what comes out, and what goes wrong."""

import sys

import numpy as np
import pytest

from recsys_ssl.baselines.environment import run_worker
from recsys_ssl.baselines.lightgcn import fit_lightgcn
from recsys_ssl.baselines.sasrec import fit_sasrec

WORKER = """
import json, sys
import numpy as np
with np.load(sys.argv[1]) as inputs:
    if inputs["rows"][0] < 0:
        sys.exit("negative rows")
    factor = json.loads(str(inputs["settings"]))["factor"]
    np.savez(sys.argv[2], rows=inputs["rows"] * factor, seed=inputs["seed"])
"""


@pytest.fixture
def run(tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER)

    def run(rows, python=sys.executable):
        return run_worker("Doubling", python, worker, {"rows": np.array(rows), "seed": 7}, {"factor": 2}, "double.py")

    return run


def test_a_worker_reads_arrays_and_settings_and_writes_arrays(run):
    found = run([1, 2])
    assert found["rows"].tolist() == [2, 4]
    assert found["seed"] == 7


def test_a_worker_that_fails_says_what_it_printed(run):
    with pytest.raises(RuntimeError, match=r"Doubling failed with status 1\. It printed:\nnegative rows"):
        run([-1])


def test_a_missing_interpreter_says_how_to_make_it(run):
    with pytest.raises(FileNotFoundError, match=r"no interpreter at /no/python\. Make it .* top of double\.py"):
        run([1], python="/no/python")


@pytest.mark.parametrize(
    ("rows", "offsets", "settings", "message"),
    [
        ([0, 5], [0, 2], {}, r"train_rows must lie in \[0, 5\)\. Received: 0 to 5"),
        ([0, 1], [0, 1, 2], {}, "a training sequence must have two events. Received: 2 sequences of at most 1"),
        ([0, 1], [0, 2], {"colour": 1}, r"Received also: \['colour'\]"),
    ],
    ids=["row", "short", "setting"],
)
def test_bad_sequences_are_an_error_before_anything_runs(rows, offsets, settings, message):
    with pytest.raises(ValueError, match=message):
        fit_sasrec(np.array(rows), np.array(offsets), np.array([0]), np.array([0, 1]), 5, settings, python="/no/python")


@pytest.mark.parametrize(
    ("codes", "rows", "message"),
    [([0], [0, 1], "must have one length, at least 1"), ([0, 3], [0, 1], r"train_query_codes must lie in \[0, 2\)")],
    ids=["lengths", "code"],
)
def test_bad_pairs_are_an_error_before_anything_runs(codes, rows, message):
    with pytest.raises(ValueError, match=message):
        fit_lightgcn(np.array(codes), np.array(rows), 2, 5, python="/no/python")
