"""Slices of a comparison, and what is judged by them: corrections, coverage, exposure and guardrails."""

import dataclasses

import numpy as np
import pytest

from recsys_ssl.evaluation import metrics, statistics
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked
from recsys_ssl.evaluation.rows import MIN_EFFECTIVE
from recsys_ssl.evaluation.slices import ITEM_SLICES, item_slices
from tests.evaluation.made_arms import CONFIG, COUNTS, NUM_ITEMS, compare_once, judge, make_arm, make_task


def test_holm_is_over_the_metrics_and_bh_over_the_slices():
    report = judge(40, 30)
    smallest = min(report["metrics"], key=lambda row: row["p"])
    assert smallest["adjusted_p"] == pytest.approx(min(1, len(report["metrics"]) * smallest["p"]))
    largest = max(report["slices"], key=lambda row: row["p"] or 0)
    assert largest["adjusted_p"] == pytest.approx(largest["p"])


def test_corrections_are_over_all_rows_that_have_a_p_value():
    task = make_task()
    size = np.where(np.arange(task.num_rankings) < 20, "few", "many").astype(object)
    task = RankingTask(**{**task.__dict__, "slices": {**task.slices, "size": size}})
    report = compare_once(task, *(make_arm(task, scale) for scale in (33, 30, 900)), COUNTS, (), CONFIG)
    for rows, adjust in (
        (report["metrics"], statistics.adjust_holm),
        (report["slices"], statistics.adjust_benjamini_hochberg),
    ):
        known = [row for row in rows if row["p"] is not None]
        expected = adjust(np.array([row["p"] for row in known]))
        assert [row["adjusted_p"] for row in known] == pytest.approx(expected.tolist())
        assert {row["adjusted_p"] for row in rows if row["p"] is None} <= {None}
        assert min(expected) < 1
    assert any(row["p"] is None for row in report["slices"])


@pytest.mark.parametrize(
    ("num_items", "primary", "shown"),
    [
        (9, "recall_at_50", [1]),
        (45, "recall_at_50", [4]),
        (45, "mrr", [4]),
        (60, "recall_at_10", [6, 10]),
        (160, "recall_at_50", [10, 16]),
        (249, "mrr", [10, 24]),
        (250, "recall_at_50", [10, 50]),
        (400, "mrr", [10, 50]),
    ],
)
def test_slices_of_a_small_catalogue_have_a_recall_that_tells_models_apart(num_items, primary, shown):
    task = make_task(60)
    task = dataclasses.replace(task, num_items=num_items, positive_rows=task.positive_rows % num_items)
    arms = [Ranked(arm.ranks, arm.top_rows % num_items) for arm in (make_arm(task, scale) for scale in (10, 10, 20))]
    report = compare_once(
        task, *arms, np.arange(num_items), (), EvaluationConfig(primary=primary, bootstrap_samples=100)
    )
    names = [f"recall_at_{k}" for k in shown]
    assert report["slice_metrics"] == names
    of_items = [row for row in report["slices"] if row["dimension"] == "item frequency"]
    assert list(dict.fromkeys(row["metric"] for row in of_items)) == names
    # What a slice is shown by, all queries and the whole are shown by too.
    assert {*names} <= {row["metric"] for row in report["metrics"]} == {row["metric"] for row in report["floor"]}
    (row,) = [row for row in report["metrics"] if row["metric"] == names[0]]
    assert row["control"] == (arms[0].ranks <= shown[0]).mean()
    assert row["label"] == f"Recall@{shown[0]}"


def test_slices_add_up_to_the_whole():
    report = judge(40, 30)
    for metric in ("recall_at_10", "recall_at_50"):
        whole = next(row for row in report["metrics"] if row["metric"] == metric)
        for dimension in ("item frequency", "gender"):
            rows = [row for row in report["slices"] if (row["dimension"], row["metric"]) == (dimension, metric)]
            assert sum(row["n"] for row in rows) == whole["n"]
            assert sum(row["share"] for row in rows) == pytest.approx(1)
            for arm in ("control", "treatment"):
                assert sum(row["n"] * row[arm] for row in rows) == pytest.approx(whole["n"] * whole[arm])
    assert {row["slice"] for row in report["slices"]} == {"head", "torso", "tail", "cold", "F", "M"}


def test_item_slices_agree_with_a_loop():
    task = make_task()
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    report = compare_once(task, *arms, COUNTS, (), CONFIG)
    cold = next(row for row in report["slices"] if (row["slice"], row["metric"]) == ("cold", "recall_at_10"))
    ranks = [rank for rank, row in zip(arms[0].ranks, task.positive_rows) if COUNTS[row] == 0]
    assert cold["n"] == len(ranks)
    assert cold["control"] == pytest.approx(sum(rank <= 10 for rank in ranks) / len(ranks))


def assert_row_is_of(row, sums, config):
    """A row against (control, treatment, denominator) of each cluster, in the order of the clusters."""
    control, treatment, denominators = (np.array(column)[:, None] for column in zip(*sums))
    found = statistics.compare_paired(
        control, treatment, denominators, config.bootstrap_samples, config.confidence, config.seed
    )
    assert row["queries"] == len(sums)
    assert row["n"] == denominators.sum()
    assert row["control"] == pytest.approx(control.sum() / denominators.sum())
    assert row["treatment"] == pytest.approx(treatment.sum() / denominators.sum())
    assert row["interval"] == pytest.approx(found.interval[:, 0].tolist())
    assert row["relative_interval"] == pytest.approx(found.relative_interval[:, 0].tolist())
    assert row["p"] == pytest.approx(found.p_value[0])
    assert row["standard_error"] == pytest.approx(found.standard_error[0])


@pytest.mark.parametrize("k", [10, 50])
@pytest.mark.parametrize("name", ITEM_SLICES)
def test_intervals_of_item_slices_agree_with_a_loop_over_pairs(name, k):
    """Queries are ranked three times each, and differ in how many of their pairs are in the slice."""
    task = make_task(900, per_query=3)
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    config = EvaluationConfig(bootstrap_samples=200, seed=3)
    report = compare_once(task, *arms, COUNTS, (), config)
    row = next(row for row in report["slices"] if (row["slice"], row["metric"]) == (name, f"recall_at_{k}"))

    slice_of_pair = item_slices(COUNTS)[task.positive_rows]
    sums = {}
    for ranking in range(task.num_rankings):
        for pair in range(task.positive_offsets[ranking], task.positive_offsets[ranking + 1]):
            if ITEM_SLICES[slice_of_pair[pair]] == name:
                of_query = sums.setdefault(ranking // 3, [0.0, 0.0, 0.0])
                of_query[0] += arms[0].ranks[pair] <= k
                of_query[1] += arms[1].ranks[pair] <= k
                of_query[2] += 1
    assert_row_is_of(row, list(sums.values()), config)


@pytest.mark.parametrize("name", ["F", "M"])
def test_intervals_of_query_slices_agree_with_a_loop_over_rankings(name):
    """Each query is ranked twice, and its two rankings may be in different slices."""
    task = make_task(200, per_query=2)
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    report = compare_once(task, *arms, COUNTS, (), CONFIG)
    row = next(row for row in report["slices"] if (row["slice"], row["metric"]) == (name, "mrr"))

    sums = {}
    for ranking in range(task.num_rankings):
        if task.slices["gender"][ranking] == name:
            own = slice(task.positive_offsets[ranking], task.positive_offsets[ranking + 1])
            of_query = sums.setdefault(ranking // 2, [0.0, 0.0, 0.0])
            of_query[0] += 1 / arms[0].ranks[own].min()
            of_query[1] += 1 / arms[1].ranks[own].min()
            of_query[2] += 1
    assert_row_is_of(row, list(sums.values()), CONFIG)
    inside = sum(task.slices["gender"] == name)
    assert row["share"] == pytest.approx(inside / task.num_rankings)


def test_significance_is_judged_at_the_level_of_the_intervals():
    rows = {
        confidence: judge(40, 37, config=EvaluationConfig(bootstrap_samples=400, confidence=confidence))["slices"]
        for confidence in (0.6, 0.95)
    }
    for confidence, of_level in rows.items():
        expected = [row["adjusted_p"] is not None and row["adjusted_p"] < 1 - confidence for row in of_level]
        assert [row["significant"] for row in of_level] == expected
        assert 0 < sum(expected) < len(expected)
    assert sum(row["significant"] for row in rows[0.6]) > sum(row["significant"] for row in rows[0.95])


def test_coverage_and_exposure_are_of_the_first_ten():
    task = make_task(60)
    lists = np.tile(np.arange(50, dtype=np.int32), (task.num_rankings, 1))
    cold = Ranked(make_arm(task, 30).ranks, lists)  # rows 0..99 were never trained
    head = Ranked(cold.ranks, np.where(np.arange(50) < 10, 399 - lists, lists))
    popular = Ranked(make_arm(task, 900).ranks, np.where(np.arange(50) < 5, lists, 399 - lists))
    report = compare_once(task, cold, head, popular, COUNTS, (), CONFIG)
    assert report["coverage"] == {"k": 10, "control": 10 / 400, "treatment": 10 / 400, "popularity": 10 / 400}
    assert report["exposure"]["slices"] == ["head", "torso", "tail", "cold"]
    assert report["exposure"]["control"] == [0, 0, 0, 1]
    assert report["exposure"]["treatment"] == [1, 0, 0, 0]
    assert report["exposure"]["popularity"] == [5 / 10, 0, 0, 5 / 10]
    held_out = [ITEM_SLICES[index] for index in item_slices(COUNTS)[task.positive_rows]]
    assert report["exposure"]["held_out"] == [held_out.count(name) / len(held_out) for name in ITEM_SLICES]


def test_a_slice_of_few_queries_has_values_but_no_interval():
    task = make_task()
    few = np.where(np.arange(task.num_rankings) < MIN_EFFECTIVE - 1, "few", "many").astype(object)
    task = RankingTask(**{**task.__dict__, "slices": {"size": few}})
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    rows = [row for row in compare_once(task, *arms, COUNTS, (), CONFIG)["slices"] if row["slice"] == "few"]
    assert len(rows) == len(metrics.METRICS)
    for row in rows:
        assert row["control"] is not None
        assert [row["interval"], row["p"], row["adjusted_p"]] == [None] * 3
        assert row["significant"] is False


def test_guardrails_flag_what_the_primary_hides():
    task = make_task(400)
    control, popularity = make_arm(task, 30), make_arm(task, 900)
    is_cold = COUNTS[task.positive_rows] == 0
    ranks = np.where(is_cold, 399.0, control.ranks / 4 + 0.75)
    head_only = np.full((task.num_rankings, 50), NUM_ITEMS - 1, np.int32)
    report = compare_once(task, control, Ranked(ranks, head_only), popularity, COUNTS, (), CONFIG)
    ok = {guardrail["name"]: guardrail["ok"] for guardrail in report["guardrails"]}
    assert ok["No slice loses"] is False
    assert ok["Coverage@10"] is False
    assert ok["Popularity bias"] is False
    hurt = next(guardrail for guardrail in report["guardrails"] if guardrail["name"] == "No slice loses")
    assert "Recall@10 of item frequency: cold" in hurt["detail"]


def test_exposure_sums_to_one():
    exposure = judge(40, 30)["exposure"]
    for name in ("catalogue", "held_out", "control", "treatment", "popularity"):
        assert sum(exposure[name]) == pytest.approx(1)
    # 300 of 400 items are trained, on 1, 2, ..., 300 events. The rest below the 30 of the head holds 1 + ... + 270 =
    # 36,585 events; 1 + ... + 120 = 7,260 is less than a fifth of that and 1 + ... + 121 = 7,381 more.
    assert exposure["catalogue"] == [30 / 400, 150 / 400, 120 / 400, 100 / 400]
