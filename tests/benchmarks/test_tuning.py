"""The comparison of samplers on a made table with a known best point, and grids of trainings without the trainings."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.claims import load
from benchmarks.evidence.trials import Trial
from benchmarks.tuning import grid, tabular
from recsys_ssl.training.space import SHARED
from recsys_ssl.tuning.space import Choice, Ladder, LogUniform, Steps, Uniform

A, B, C = [1, 2, 4, 8, 16, 32], [0.1, 0.2, 0.3, 0.4], ["x", "y"]


def score(a, b, c):
    """1 at a=8, b=0.2, c=y, the only best of 48 points."""
    return 1.0 - abs(A.index(a) - 3) / 5 - abs(B.index(b) - 1) / 3 - (c == "x") / 2


@pytest.fixture
def table(tmp_path):
    points = [{"settings": {"a": a, "b": b, "c": c}, "score": score(a, b, c)} for a, b, c in itertools.product(A, B, C)]
    path = tmp_path / "made.json"

    def write(points=points, **changes):
        facts = {"what": "a made table", "larger_is_better": True, "points": points, **changes}
        path.write_text(json.dumps(facts))
        return path

    write.points = points
    return write


def test_a_table_knows_its_space_and_its_best_point(table):
    found = tabular.read_table(table())
    assert found.space == {"a": Ladder(tuple(A)), "b": Ladder(tuple(B)), "c": Choice(tuple(C))}
    assert found.best == 1.0 == found.look_up({"a": 8, "b": 0.2, "c": "y"})
    assert tabular.read_table(table(larger_is_better=False)).best == min(score(*p) for p in itertools.product(A, B, C))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda points: points[:-1],
        lambda points: [*points, points[0]],
        lambda points: [{**points[0], "score": float("nan")}, *points[1:]],
    ],
    ids=["missing", "twice", "nan"],
)
def test_a_table_that_is_not_whole_is_refused(table, spoil, capsys):
    path = table(spoil(table.points))
    assert tabular.main(["--table", str(path)]) == 1
    assert "must hold a finite score for each of 48 points once" in capsys.readouterr().err


def test_every_sampler_finds_the_known_best_point(table):
    made = tabular.read_table(table())
    for sampler in tabular.SAMPLERS:
        curve = tabular.search(made, sampler, seed=0, trials=60)
        assert len(curve) == 60
        assert curve == sorted(curve)
        assert curve[-1] > 0.75  # a step beside the best at most


def test_means_intervals_and_paired_tests_are_those_of_scipy():
    rng = np.random.default_rng(0)
    curves = {name: np.sort(rng.random([12, 20]), axis=1) for name in ("random", "tpe", "cmaes")}
    rows = tabular.compare(curves, [5, 20], larger_is_better=False)
    assert [(row["budget"], row["sampler"]) for row in rows] == list(itertools.product([5, 20], curves))
    for row in rows:
        at = curves[row["sampler"]][:, row["budget"] - 1]
        assert row["mean"] == pytest.approx(at.mean())
        expected = stats.t.interval(0.95, 11, at.mean(), at.std(ddof=1) / np.sqrt(12))
        assert row["interval"] == pytest.approx(expected)
        if row["sampler"] != "random":
            baseline = curves["random"][:, row["budget"] - 1]
            assert row["gain"] == pytest.approx((baseline - at).mean())
            assert row["p"] == pytest.approx(stats.ttest_rel(at, baseline).pvalue)
            assert row["p"] <= row["holm"] <= 1.0
    ordered = sorted((row["p"], row["holm"]) for row in rows if "p" in row)
    assert ordered[0][1] == pytest.approx(min(1.0, 4 * ordered[0][0]))


@pytest.mark.parametrize(("gain", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_searches_that_all_differ_by_the_same_have_a_p_value(gain, p):
    curves = {"random": np.zeros([10, 3]), "tpe": np.full([10, 3], gain)}
    row = tabular.compare(curves, [3], larger_is_better=True)[1]
    assert (row["gain"], row["p"], row["gain_interval"]) == (gain, p, (gain, gain))


def test_the_command_compares_at_equal_budgets_and_records(table, tmp_path, capsys):
    arguments = ["--table", str(table()), "--samplers", "cmaes", "--trials", "20", "--record", "made"]
    assert tabular.main(arguments, results=tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "48 points, the best 1.0000; 10 searches each" in lines[0]
    assert [line.split()[:3] for line in lines[1:]] == [
        [str(budget), "trials", sampler] for budget in (8, 16, 20) for sampler in ("random", "cmaes")
    ]
    claims = {claim.id: claim for claim in load(tmp_path / "tuning.json")}
    assert list(claims) == ["made_random", "made_cmaes"]
    made = tabular.read_table(table())
    expected = np.mean([tabular.search(made, "cmaes", seed, 20)[-1] for seed in range(10)])
    assert claims["made_cmaes"].value == pytest.approx(expected)
    with pytest.raises(SystemExit):
        tabular.main([*arguments, "--repetitions", "9"])


# --- Grids --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dimension", "values"),
    [
        (Uniform(0.0, 1.0), [0.0, 0.5, 1.0]),
        (LogUniform(0.01, 1.0), [0.01, 0.1, 1.0]),
        (Steps(0, 8, 2), [0, 4, 8]),
        (Steps(1, 2), [1, 2]),
        (Ladder((1, 2, 4, 8, 16)), [1, 4, 16]),
        (Choice(("a", "b", "c", "d")), ["a", "b", "c", "d"]),
    ],
)
def test_a_grid_has_the_ends_and_what_is_between(dimension, values):
    assert grid.thin(dimension, 3) == (values if isinstance(dimension, Choice) else pytest.approx(values))


def test_a_grid_is_trained_once_and_becomes_a_table(tmp_path, monkeypatch, capsys):
    trained = []

    def run_all(pending, run, path, workers):
        for trial in pending:
            trained.append(trial)
            recall = round(trial.settings["temperature"] + 0.01 * trial.seed, 6)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write(dataclasses.replace(trial, validation_recall_at_50=recall).to_json() + "\n")

    monkeypatch.setattr(grid, "run_all", run_all)
    monkeypatch.setattr(grid, "prepare", lambda name: None)
    arguments = ["--dataset", "frappe", "--settings", "temperature", "batch_size", "--values", "3", "--seeds", "2"]
    assert grid.main(arguments, work=tmp_path) == 0
    assert grid.main(arguments, work=tmp_path) == 0
    assert len(trained) == 3 * 3 * 2
    assert {trial.arm for trial in trained} == {"item_masks"}
    table = tabular.read_table(tmp_path / "frappe-item_masks.table.json")
    assert table.space["batch_size"] == Ladder((128, 512, 2048))
    low = SHARED["temperature"].low
    assert table.look_up({"temperature": low, "batch_size": 512}) == pytest.approx(low + 0.005)
    assert "18 of 18 trainings are done" in capsys.readouterr().out


def test_a_grid_with_gaps_is_no_table():
    planned = [Trial("tune", "frappe", "item_masks", settings={"temperature": value}) for value in (0.1, 0.2)]
    done = [dataclasses.replace(planned[0], validation_recall_at_50=0.5)]
    with pytest.raises(ValueError, match="1 trainings missing"):
        grid.make_table(planned, done, "frappe")
