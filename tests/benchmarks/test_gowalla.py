"""The benchmark of Gowalla: which split a run reads, what it records, when the protocol is not the published one."""

import dataclasses

import numpy as np
import pytest

from benchmarks import gowalla
from benchmarks.claims import load
from recsys_ssl.evaluation.queries import RankingTask

# Two users: held-out places at ranks 1 and 30, and at rank 2.
RANKS = np.array([1.0, 30.0, 2.0])
TASK = RankingTask(
    num_items=50,
    event_rows=np.array([0, 2]),
    cluster=np.array([0, 1]),
    query_ids=np.array(["a", "b"]),
    positive_offsets=np.array([0, 2, 3]),
    positive_rows=np.array([0, 1, 0]),
    masked_offsets=np.zeros(3, np.int64),
    masked_rows=np.zeros(0, np.int64),
)
RECALL = (1 / 2 + 1) / 2
NDCG = (1 / (1 + 1 / np.log2(3)) + 1 / np.log2(3)) / 2


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command without the work: what it would have ranked, and its status."""

    def run(*arguments, published=None):
        asked = []

        def rank(spec, *rest):
            asked.append((spec.split.validation, *rest))
            return TASK, RANKS

        monkeypatch.setattr(gowalla, "rank_popular", rank)
        monkeypatch.setattr(gowalla, "rank_towers", rank)
        monkeypatch.setattr(gowalla, "make_once", lambda directory, make: None)
        monkeypatch.setattr(gowalla, "PUBLISHED", published or gowalla.PUBLISHED)
        status = gowalla.main(arguments, data=tmp_path / "data", work=tmp_path / "work", results=tmp_path)
        return status, asked[0]

    return run


def claims(directory):
    path = directory / "retrieval.json"
    return {claim.id: claim for claim in load(path)} if path.exists() else {}


def test_most_popular_counts_all_training_pairs_and_is_recorded(run, tmp_path):
    published = {"user_recall_at_20": round(RECALL, 4), "ndcg_at_20": round(NDCG, 4)}
    assert run(published=published) == (0, (0.0, tmp_path / "work" / "whole", "test"))
    found = claims(tmp_path)
    assert list(found) == ["gowalla_itempop_recall_at_20", "gowalla_itempop_ndcg_at_20"]
    recall, ndcg = found.values()
    assert (recall.value, ndcg.value) == (pytest.approx(RECALL), pytest.approx(NDCG))
    half = 1.96 * np.std([1 / 2, 1], ddof=1) / np.sqrt(2)
    assert recall.interval == pytest.approx((RECALL - half, RECALL + half))
    assert recall.command == "python -m benchmarks.gowalla"


def test_figures_that_nobody_published_end_with_an_error(run, capsys):
    assert run()[0] == 1
    assert "Recall@20 per user 0.7500, published 0.0416, NDCG@20 per user" in capsys.readouterr().err


def test_settings_are_chosen_without_the_test_and_nothing_is_recorded(run, tmp_path):
    status, (validation, config, made, split, _) = run("towers", "--validate", "--set", "train.steps=7")
    assert (status, validation, config.steps, made.name, split) == (0, 0.05, 7, "held-out", "eval")
    assert claims(tmp_path) == {}


def test_towers_are_tested_after_training_on_all_pairs(run, tmp_path):
    status, (validation, config, made, split, _) = run("towers", "--set", "train.steps=7")
    assert (status, validation, made.name, split) == (0, 0.0, "whole", "test")
    assert config == dataclasses.replace(config, steps=7)
    found = claims(tmp_path)
    assert list(found) == ["gowalla_recall_at_20", "gowalla_ndcg_at_20"]
    assert found["gowalla_recall_at_20"].command == "python -m benchmarks.gowalla towers --set train.steps=7"


@pytest.mark.parametrize("arguments", [["--set", "train.steps=7"], ["towers", "--set", "train.step=7"]])
def test_settings_of_nothing_are_refused(run, arguments):
    with pytest.raises(SystemExit):
        run(*arguments)
