"""The report on probes, of vectors whose classes are known to be told, or not."""

import json

import numpy as np
import pytest

from recsys_ssl.evaluation.labels import LEFT_OUT, TEST, TRAIN
from recsys_ssl.evaluation.probe_report import ProbeConfig, judge_vectors, render_probe_report, write_probe_report

ONE = ProbeConfig(seeds=2, neighbours=5, shots=(1, 3))


@pytest.fixture(scope="module")
def made():
    """Four clouds, hidden among noise in the raw features, and not at all in vectors that were not trained."""
    rng = np.random.default_rng(0)
    of = np.arange(400) % 4
    shown = 4.0 * np.eye(4)[of] + 0.5 * rng.normal(size=(400, 4))
    raw = np.concatenate([0.15 * shown + 0.5 * rng.normal(size=(400, 4)), rng.normal(size=(400, 8))], axis=1)
    return shown, raw, rng.normal(size=(400, 3)), [f"<cloud> {cloud}" for cloud in of]


@pytest.fixture(scope="module")
def report(made):
    shown, raw, untrained, names = made
    return judge_vectors(shown, names, raw=raw, untrained=untrained, config=ONE)


def scores_of(report):
    return {row["features"]: row["metrics"] for row in report["scores"]}


def test_every_score_stands_beside_every_floor(report):
    scores = scores_of(report)
    assert list(scores) == ["vectors", "raw", "raw_components", "untrained", "one_cluster"]
    assert [row["dim"] for row in report["scores"]] == [4, 12, 4, 3, None]
    for metrics in scores.values():
        assert list(metrics) == list(ONE.scores) == ["linear", "nearest", "few_shot_1", "few_shot_3"]
    assert scores["vectors"]["linear"]["mean"] > 0.99
    assert scores["untrained"]["linear"]["mean"] == pytest.approx(0.25, abs=0.15)
    assert len(scores["raw"]["linear"]["values"]) == 2
    assert len(scores["raw"]["nearest"]["values"]) == 1
    # All components of the raw features are what their linear probe sees; four of noise are not.
    assert scores["raw_components"]["linear"]["mean"] < scores["raw"]["linear"]["mean"]


def test_the_largest_class_is_that_of_train():
    names = ["a"] * 50 + ["b"] * 30 + ["a"] * 5 + ["b"] * 15
    part = np.array([TRAIN] * 80 + [TEST] * 20)
    vectors = np.random.default_rng(0).normal(size=(100, 3))
    largest = scores_of(judge_vectors(vectors, names, part, config=ONE))["one_cluster"]["linear"]
    assert largest["mean"] == 5 / 20
    # Of a share p of n rows the standard error is sqrt(p (1 - p) / (n - 1)).
    half = 2.093 * np.sqrt(0.25 * 0.75 / 19)
    assert largest["interval"] == pytest.approx([0.25 - half, 0.25 + half], abs=1e-3)


def test_sentences_compare_the_same_rows(report):
    first, *_ = report["reading"]
    assert first.startswith("Linear probe: above the best floor, raw features (")
    assert ", difference +0." in first
    assert len(report["reading"]) == 4


@pytest.mark.parametrize(
    ("ours", "theirs", "word"),
    [("shown", "noise", "above"), ("noise", "shown", "below"), ("shown", "shown", "not told apart from")],
)
def test_vectors_are_told_from_a_floor_by_their_differences(made, ours, theirs, word):
    shown, _, _, names = made
    of = {"shown": shown, "noise": np.random.default_rng(2).normal(size=(400, 4))}
    report = judge_vectors(of[ours], names, raw=of[theirs], config=ONE)
    assert f"Linear probe: {word} the best floor" in report["reading"][0]


def test_rows_of_several_labels_are_said_to_be_scored_otherwise(made):
    shown, _, _, names = made
    several = [[name, "also"] if row % 4 == 0 else name for row, name in enumerate(names)]
    part = np.where(np.arange(400) < 20, LEFT_OUT, np.where(np.arange(400) % 3 == 0, TEST, TRAIN))
    report = judge_vectors(shown, several, part, config=ONE)
    assert report["counts"]["several_labels"] == sum(row % 4 == 0 for row in range(20, 400))
    assert report["counts"]["classes"] == 5
    assert scores_of(report)["vectors"]["linear"]["mean"] > 0.99
    (statement,) = (row["statement"] for row in report["protocol"] if row["topic"] == "Several labels")
    tested = sum(row % 4 == 0 and row % 3 == 0 for row in range(20, 400))
    assert statement.startswith(f"{tested} test rows have several.")


def test_the_page_and_the_json_are_of_one_report(report, tmp_path):
    found = report
    write_probe_report(found, tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == found
    assert page == render_probe_report(found)
    for text in (*found["labels"].values(), *(row["label"] for row in found["scores"]), "400 frozen vectors"):
        assert text in page


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"seeds": 0}, "must be positive"), ({"neighbours": 0}, "must be positive"), ({"seed": -1}, "not be negative"),
     ({"shots": ()}, "shots must be 1 or more"), ({"shots": (0,)}, "must be 1"), ({"shots": (5, 5)}, "each once")],
    ids=["seeds", "neighbours", "seed", "no shots", "shots", "twice"],
)  # fmt: skip
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        ProbeConfig(**settings)
