"""The search of settings, the file of trials, and the share of a log that is kept."""

import dataclasses
import math

import numpy as np
import pytest

from benchmarks.claims import ROOT
from benchmarks.evidence import run
from benchmarks.evidence.datasets import DATASETS, QUERIES_ARE_ITEMS, REPEATED, TIMED
from benchmarks.evidence.tested import read_queries, sum_by_user
from benchmarks.evidence.trials import (
    ARMS,
    BASELINES,
    PROPOSALS,
    REGULARIZERS,
    Trial,
    is_of,
    judge_ranks,
    make_config,
    read_trials,
)
from recsys_ssl.baselines.settings import GRIDS, LADDERS, MOST_TRIALS
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.spec_files import load_spec

# --- Search --------------------------------------------------------------------------------------------


def answer(trials, score):
    return [dataclasses.replace(trial, validation_recall_at_50=score(trial.settings)) for trial in trials]


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_the_search_takes_one_setting_after_the_other_at_the_best_so_far(share):
    temperature = DATASETS["frappe"].settings(share)["temperature"]

    def score(settings):
        dropped = settings.get("ssl.value_dropout", 0.3)
        return -abs(settings["ssl.weight"] - 1.0) - dropped - settings.get("temperature", temperature)

    best, first = run.search([], "frappe", share, "cfm")
    assert (best, [trial.settings for trial in first]) == ({}, [{"ssl.weight": w} for w in (0.3, 0.1, 1.0, 0.03)])
    done = answer(first, score)
    best, second = run.search(done, "frappe", share, "cfm")
    assert best == {"ssl.weight": 1.0}
    assert [trial.settings for trial in second] == [{**best, "ssl.value_dropout": rate} for rate in (0.0, 0.6)]
    done += answer(second, score)
    best, third = run.search(done, "frappe", share, "cfm")
    assert best == {"ssl.weight": 1.0, "ssl.value_dropout": 0.0}
    expected = [{**best, "temperature": pytest.approx(factor * temperature)} for factor in (0.7, 1.4)]
    assert [trial.settings for trial in third] == expected
    best, missing = run.search(done + answer(third, score), "frappe", share, "cfm")
    assert best == expected[0]
    assert missing == []


def test_tests_of_settings_that_a_later_search_replaced_are_dropped():
    _, grid = run.search([], "frappe", 1.0, "ease")
    done = answer(grid, lambda settings: -abs(settings["l2"] - 300.0))
    old, new = (Trial("test", "frappe", "ease", settings={"l2": l2}) for l2 in (100.0, 300.0))
    unsearched = Trial("test", "frappe", "ials", settings={"alpha": 5.0})
    assert run.drop_replaced([*done, old, new, unsearched]) == [*done, new, unsearched]
    assert run.drop_replaced([old, new]) == [old, new]


def test_a_later_step_that_finds_nothing_better_changes_nothing():
    _, first = run.search([], "frappe", 1.0, "feature_dropout")
    done = answer(first, lambda settings: 0.5)
    _, second = run.search(done, "frappe", 1.0, "feature_dropout")
    best, _ = run.search(done + answer(second, lambda settings: 0.5), "frappe", 1.0, "feature_dropout")
    assert best == {"ssl.feature_dropout": 0.1}


@pytest.mark.parametrize("dataset", list(DATASETS))
def test_every_arm_of_towers_has_the_same_budget(dataset):
    for share in run.SHARES:
        for arm in REGULARIZERS:
            steps = run.steps_of(arm, dataset, share)
            # A later step has the value of the best before it already.
            assert sum(len(values) for _, values in steps) == 8
            assert len(dict(steps)) == len(steps)


def test_a_baseline_takes_the_best_of_its_grid():
    _, grid = run.search([], "frappe", 1.0, "ease")
    done = answer(grid, lambda settings: -abs(settings["l2"] - 300.0))
    assert run.search(done[:-1], "frappe", 1.0, "ease") == ({}, [grid[-1]])
    assert run.search(done, "frappe", 1.0, "ease") == ({"l2": 300.0}, [])


def climb(arm, score, dataset="frappe"):
    """All trials of a search whose every trial has the score of its settings, and what it ends with."""
    done, missing = [], [None]
    while missing:
        best, missing = run.search(done, dataset, 1.0, arm)
        assert len({trial.key for trial in done + missing}) == len(done) + len(missing)
        done += answer(missing, score)
    return [dict(trial.settings) for trial in done], best


def test_a_best_at_an_edge_is_followed_up_its_ladder():
    tried, best = climb("ease", lambda settings: -abs(np.log(settings["l2"] / 12000.0)))
    assert best == {"l2": 10000.0}
    # The grid ends at 3,000; both neighbours of the best were tried, and nothing beyond.
    assert [settings["l2"] for settings in tried[len(GRIDS["ease"]) :]] == [10000.0, 30000.0]


def test_a_ladder_ends():
    tried, best = climb("ease", lambda settings: -settings["l2"])
    assert best == {"l2": 1.0}
    assert [settings["l2"] for settings in tried[len(GRIDS["ease"]) :]] == [3.0, 1.0]


def test_all_ladders_are_climbed_until_no_neighbour_is_better():
    def score(settings):  # the best value of one setting moves with another's
        factors = np.log2(settings["factors"])
        of_regularization = (np.log10(settings["regularization"]) - 0.2 * factors) ** 2
        return -((factors - 8.5) ** 2) / 9 - of_regularization - (np.log10(settings["alpha"]) - 1.0) ** 2

    tried, best = climb("ials", score)
    assert tried[: len(GRIDS["ials"])] == GRIDS["ials"]
    assert len(tried) <= MOST_TRIALS["ials"]
    for name, values in LADDERS["ials"].items():
        place = values.index(best[name])
        for beside in (*values[max(place - 1, 0) : place], *values[place + 1 : place + 2]):
            neighbour = {**best, name: beside}
            assert neighbour in tried
            assert score(neighbour) <= score(best)
    assert best["alpha"] == 10.0


def test_a_search_stops_when_its_trials_are_used_up():
    tried, best = climb("lightgcn", lambda settings: settings["num_layers"] + settings["reg_weight"])
    assert best == {"num_layers": 4, "reg_weight": 10.0}
    assert len(tried) < MOST_TRIALS["lightgcn"]
    tried, best = climb("sasrec", lambda settings: sum(settings.values()), "movielens-small")
    assert len(tried) == MOST_TRIALS["sasrec"]
    assert best == max(tried, key=lambda settings: sum(settings.values()))


# --- Trials --------------------------------------------------------------------------------------------


def test_arms_that_need_repeats_or_time_are_planned_where_these_are():
    for dataset in DATASETS:
        spec = load_spec(ROOT / "feature_specs" / f"{dataset}.yaml")
        assert (dataset in REPEATED) == (not spec.evaluation.mask_seen)
        assert (dataset in TIMED) == (spec.events.timestamp is not None)
    assert [dataset for dataset in DATASETS if is_of("own_counts", dataset)] == ["complete-journey"]
    assert [dataset for dataset in DATASETS if is_of("sasrec", dataset)] == ["complete-journey", "movielens-small"]
    assert [dataset for dataset in DATASETS if not is_of("ials", dataset)] == ["movielens-100k"]
    options = run.argparse.Namespace(arms=["own_counts", "popular"], purposes=["tune"], seeds=1)
    assert [trial.arm for trial in run._plan_cell([], "frappe", 1.0, options)] == ["popular"]
    assert [trial.arm for trial in run._plan_cell([], "complete-journey", 1.0, options)] == ["own_counts", "popular"]


def test_a_trial_is_read_back_unless_the_study_has_changed(tmp_path):
    path = tmp_path / "trials.jsonl"
    assert read_trials(path) == []
    trial = Trial("tune", "frappe", "cfm", 0.1, settings={"ssl.weight": 0.3}, validation_recall_at_50=0.25)
    stale = trial.to_json().replace(trial.key, "0" * 16)
    path.write_text(f"{trial.to_json()}\n{stale}\n")
    assert read_trials(path) == [trial]


def test_a_key_tells_what_was_run_and_not_what_came_out():
    trial = Trial("test", "frappe", "cfm")
    assert trial.key == dataclasses.replace(trial, seconds=3.0, validation_recall_at_50=0.5).key
    others = [
        dataclasses.replace(trial, **change)
        for change in ({"seed": 1}, {"arm": "rfm"}, {"share": 0.1}, {"purpose": "tune"}, {"settings": {"steps": 9}})
    ]
    assert len({trial.key, *(other.key for other in others)}) == 6


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_arm_of_towers_has_valid_settings(dataset):
    for share in run.SHARES:
        for arm in [*REGULARIZERS, *PROPOSALS]:
            config = make_config(Trial("test", dataset, arm, share, seed=3))
            assert (config.seed, config.hidden) == (3, (128,) if arm == "hidden_layer" else ())
            plain = arm in PROPOSALS or arm == "random_start"
            assert config.ssl.regularizer == ("none" if plain else arm)
            assert arm != "random_start" or config.start.ids == "random"
    spec = load_spec(ROOT / "feature_specs" / f"{dataset}.yaml")
    assert (dataset in QUERIES_ARE_ITEMS) == spec.queries.same_as_items


def test_arms_have_labels_of_their_own():
    assert len(set(ARMS.values())) == len(BASELINES) + len(REGULARIZERS) + len(PROPOSALS)


# --- Judging -------------------------------------------------------------------------------------------


def test_ranks_are_judged_pooled_and_by_ranking(tmp_path):
    """Two rankings: held-out items at ranks 1, 11 and 40, and at rank 20."""
    task = RankingTask(
        positive_offsets=np.array([0, 3, 4]),
        positive_rows=np.array([0, 1, 2, 0]),
        masked_offsets=np.zeros(3, np.int64),
        masked_rows=np.zeros(0, np.int64),
        cluster=np.array([0, 1]),
        query_ids=np.array(["a", "b"]),
        event_rows=np.array([0, 3]),
        num_items=50,
    )
    ranks, places = np.array([1.0, 11.0, 40.0, 20.0]), (tmp_path / "ranks.npz", tmp_path / "task.npz")
    found = judge_ranks(task, ranks, np.arange(50), *places)["all"]
    assert (found["recall_at_10"], found["recall_at_50"], found["pairs"]) == (1 / 4, 1.0, 4)
    assert found["user_recall_at_20"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)
    gains = (1 / math.log2(2) + 1 / math.log2(12)) / (1 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4))
    assert found["ndcg_at_20"] == pytest.approx((gains + 1 / math.log2(21)) / 2, abs=1e-6)
    # Item 0 is held out twice and found once, the other two are found.
    found = judge_ranks(task, np.array([1.0, 11.0, 40.0, 60.0]), np.arange(50), *places)["all"]
    assert (found["recall_at_50"], found["item_recall_at_50"]) == (3 / 4, pytest.approx((1 / 2 + 1 + 1) / 3, abs=1e-6))
    # What is kept of ranks says of every user what was found.
    with np.load(places[0]) as kept:
        assert kept["ranks"].tolist() == [1.0, 11.0, 40.0, 51.0]
    hits, pairs = sum_by_user(places[0], read_queries(places[1]), found)["recall_at_50"]
    assert (hits.tolist(), pairs.tolist()) == ([3.0, 0.0], [3.0, 1.0])


def test_a_test_whose_ranks_are_not_there_is_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RANKS", tmp_path)
    options = run.argparse.Namespace(
        datasets=["frappe"], shares=[1.0], arms=["popular"], purposes=["tune", "test"], seeds=1
    )
    (tuned,) = answer(run._list_pending([], options), lambda settings: 0.5)
    (tested,) = run._list_pending([tuned], options)
    assert tested.purpose == "test"
    assert run._list_pending([tuned, tested], options) == [tested]
    (tmp_path / f"{tested.key}.npz").touch()
    assert run._list_pending([tuned, tested], options) == []


def test_of_a_trial_that_was_run_again_the_last_counts(tmp_path):
    trials = [Trial("test", "frappe", "popular", seconds=seconds) for seconds in (1.0, 2.0)]
    (tmp_path / "trials.jsonl").write_text("".join(trial.to_json() + "\n" for trial in trials))
    assert read_trials(tmp_path / "trials.jsonl") == [trials[1]]
