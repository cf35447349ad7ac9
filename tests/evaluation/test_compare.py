"""A comparison of two arms as a whole: the verdict, and the values, intervals and checks behind it."""

import dataclasses
import json

import numpy as np
import pytest

from recsys_ssl.evaluation import metrics
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked
from tests.evaluation.made_arms import CONFIG, COUNTS, NUM_ITEMS, compare_once, judge, make_arm, make_task

FAILED = {"name": "Index against exact search", "passed": False, "detail": "0.1"}
UNKNOWN = {"name": "Training before testing", "passed": None, "detail": "no time"}


@pytest.mark.parametrize(
    ("case", "word", "reason"),
    [
        ({"control_scale": 60, "treatment_scale": 30}, "launch", "above zero"),
        ({"control_scale": 30, "treatment_scale": 30, "treatment_seed": 7}, "hold", "The interval holds zero"),
        (
            {"control_scale": 30, "treatment_scale": 30},
            "hold",
            "has no interval: the arms differ in as much as 0 queries, and an interval needs 5",
        ),
        ({"control_scale": 30, "treatment_scale": 60}, "no launch", "significantly worse"),
        (
            {"control_scale": 60, "treatment_scale": 30, "popularity_scale": 20},
            "no launch",
            "not shown to beat most-popular",
        ),
        (
            {"control_scale": 60, "treatment_scale": 30, "popularity_scale": 30},
            "no launch",
            "not shown to beat most-popular",
        ),
        (
            {"control_scale": 60, "treatment_scale": 30, "checks": [UNKNOWN, FAILED]},
            "no launch",
            "1 validity check failed: Index against exact search",
        ),
        ({"control_scale": 60, "treatment_scale": 30, "checks": [UNKNOWN]}, "launch", "not checked: Training before"),
        (
            {"control_scale": 60, "treatment_scale": 30, "num_rankings": 40},
            "no launch",
            "equal ones, and an interval needs 60",
        ),
    ],
    ids=["better", "equal", "alike", "worse", "below floor", "at floor", "failed check", "unknown check", "too few"],
)
def test_the_verdict(case, word, reason):
    verdict = judge(**case)["verdict"]
    assert verdict["word"] == word
    assert verdict["blessed"] == (word == "launch")
    assert any(reason in sentence for sentence in verdict["reasons"]), verdict["reasons"]


def test_a_margin_blesses_a_small_loss_and_the_rule_says_so():
    config = EvaluationConfig(bootstrap_samples=400, non_inferiority_margin=0.2)
    verdict = judge(30, 33, config=config)["verdict"]
    assert judge(30, 33)["verdict"]["word"] != "launch"
    assert verdict["word"] == "launch"
    assert "above \u221220.00%" in verdict["rule"]


def test_the_primary_metric_decides():
    """Recall@50 is the same in both arms; only within the first 50 the treatment is better."""
    task = make_task()
    control, treatment = make_arm(task, 30), make_arm(task, 30)
    treatment = Ranked(np.where(treatment.ranks <= 50, 1 + treatment.ranks / 50, treatment.ranks), treatment.top_rows)
    words = [
        compare_once(task, control, treatment, make_arm(task, 900), COUNTS, (), EvaluationConfig(name, 400))["verdict"][
            "word"
        ]
        for name in ("recall_at_50", "recall_at_10", "mrr")
    ]
    assert words == ["hold", "launch", "launch"]


def test_over_a_control_of_zero_the_difference_decides():
    task = make_task()
    never = Ranked(np.full(task.num_pairs, 399.0), make_arm(task, 1).top_rows)
    report = compare_once(task, never, make_arm(task, 30), never, COUNTS, (), CONFIG)
    row = next(row for row in report["metrics"] if row["metric"] == "recall_at_50")
    assert row["control"] == 0
    assert row["relative"] is None
    assert row["relative_interval"] is None
    assert report["verdict"]["word"] == "launch"


def test_values_are_those_of_the_metrics():
    task = make_task()
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    report = compare_once(task, *arms, COUNTS, (), CONFIG)
    for row, floor in zip(report["metrics"], report["floor"]):
        for name, arm in zip(("control", "treatment"), arms):
            numerators, denominators = metrics.METRICS[row["metric"]](arm.ranks, task.positive_offsets)
            assert row[name] == pytest.approx(numerators.sum() / denominators.sum())
        assert row["difference"] == pytest.approx(row["treatment"] - row["control"])
        assert row["relative"] == pytest.approx(row["treatment"] / row["control"] - 1)
        assert row["interval"][0] <= row["difference"] <= row["interval"][1]
        assert floor["treatment"] == row["treatment"]
        assert floor["difference"] == pytest.approx(floor["treatment"] - floor["popularity"])
    ks = report["recall_curve"]["k"]
    assert report["recall_curve"]["control"][ks.index(50)] == pytest.approx(report["metrics"][1]["control"])


def test_own_counts_are_a_second_floor_beside_the_first():
    task = make_task()
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    own = make_arm(task, 20, seed=1)
    without = compare_once(task, *arms, COUNTS, (), CONFIG)
    report = compare_once(task, *arms, COUNTS, (), CONFIG, own)
    assert without["verdict"]["word"] == "launch"
    assert without["own_floor"] == []
    assert report["verdict"]["word"] == "no launch"
    assert report["floor"] == without["floor"]
    for row in report["own_floor"]:
        numerators, denominators = metrics.METRICS[row["metric"]](own.ranks, task.positive_offsets)
        assert row["own_counts"] == pytest.approx(numerators.sum() / denominators.sum())
        assert row["difference"] == pytest.approx(row["treatment"] - row["own_counts"])
    for part in ("coverage", "exposure", "recall_curve"):
        assert report[part].keys() - without[part].keys() == {"own_counts"}


def test_the_recall_curve_ends_at_the_last_item():
    task = make_task(60)
    task = RankingTask(**{**task.__dict__, "num_items": 100, "positive_rows": task.positive_rows % 100})
    arms = [Ranked(arm.ranks, arm.top_rows % 100) for arm in (make_arm(task, scale) for scale in (10, 10, 20))]
    curve = compare_once(task, *arms, np.arange(100), (), CONFIG)["recall_curve"]
    assert curve["k"] == [1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100]
    assert curve["control"] == [sum(arms[0].ranks <= k) / task.num_pairs for k in curve["k"]]


def make_even_task(num_queries):
    """One held-out item a query."""
    task, rng = make_task(num_queries), np.random.default_rng(0)
    facts = {"positive_offsets": np.arange(num_queries + 1), "positive_rows": rng.integers(0, NUM_ITEMS, num_queries)}
    return RankingTask(**{**task.__dict__, **facts})


@pytest.mark.parametrize(("num_queries", "enough"), [(59, False), (60, True)])
def test_an_interval_needs_sixty_queries_of_equal_weight(num_queries, enough):
    task = make_even_task(num_queries)
    report = compare_once(task, *(make_arm(task, scale) for scale in (60, 30, 900)), COUNTS, (), CONFIG)
    primary = next(row for row in report["metrics"] if row["metric"] == "recall_at_50")
    assert primary["effective_queries"] == pytest.approx(num_queries)
    for row in (*report["metrics"], *report["floor"]):
        assert (row["no_interval"] is None) is enough
        assert (row["interval"] is not None) is enough
        assert (row["relative_interval"] is not None) is (enough and row.get("control", row.get("popularity")) > 0)
        assert row["difference"] is not None
    for row in report["metrics"]:
        assert [row[name] is not None for name in ("p", "adjusted_p", "standard_error")] == [enough] * 3
    check = report["checks"][-1]
    assert (check["name"], check["passed"]) == ("Enough queries", enough)
    assert check["detail"].startswith(
        f"{num_queries} queries; by their weights in Recall@50 they are worth {num_queries}"
    )
    assert ("Hold out more queries: no metric of this split has enough." in check["detail"]) is not enough
    assert (report["power"]["minimum_detectable_effect"] is not None) is enough


def test_few_queries_that_hold_most_pairs_leave_the_metrics_that_weigh_queries_alike():
    """Ten of 100 queries hold 20 pairs each, the others one: (200 + 90)^2 / (10 * 400 + 90) = 20.6 queries."""
    lengths = np.where(np.arange(100) < 10, 20, 1)
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.sort(rng.choice(NUM_ITEMS, length, replace=False)) for length in lengths])
    facts = {"positive_offsets": np.concatenate([[0], np.cumsum(lengths)]), "positive_rows": rows}
    task = RankingTask(**{**make_task(100).__dict__, **facts})
    report = compare_once(task, *(make_arm(task, scale) for scale in (60, 30, 900)), COUNTS, (), CONFIG)
    of = {row["metric"]: row for row in report["metrics"]}
    assert of["recall_at_50"]["effective_queries"] == pytest.approx(290**2 / (10 * 20**2 + 90))
    assert of["recall_at_50"]["largest_share"] == pytest.approx(20 / 290)
    assert of["recall_at_50"]["no_interval"] == "the queries weigh as much as 21 equal ones, and an interval needs 60"
    assert of["recall_at_50"]["interval"] is None
    for name in ("user_recall_at_20", "ndcg_at_10", "mrr"):
        assert of[name]["effective_queries"] == pytest.approx(100)
        assert of[name]["interval"] is not None
    reasons = report["verdict"]["reasons"]
    assert report["verdict"]["word"] == "no launch"
    assert reasons[0] == "1 validity check failed: Enough queries."
    assert reasons[1].startswith(
        "Hold out more queries, or set evaluation.primary to one of map_at_10, map_at_50, ndcg_at_10"
    )
    assert "recall_at_10," not in reasons[1]


# With the tasks of this file nothing is masked, so a ranking holds the whole catalogue.
@pytest.mark.parametrize(
    ("num_items", "num_masked", "primary", "passed"),
    [
        (250, 0, "recall_at_50", True),  # 50 / 250 = 20%
        (249, 0, "recall_at_50", False),
        (250, 1, "recall_at_50", False),  # a masked item is no place to miss
        (45, 0, "recall_at_50", False),
        (45, 0, "recall_at_10", False),  # 10 / 45 = 22%
        (50, 0, "recall_at_10", True),
        (99, 0, "user_recall_at_20", False),
        (100, 0, "user_recall_at_20", True),
        *((45, 0, primary, True) for primary in ("map_at_10", "map_at_50", "ndcg_at_10", "ndcg_at_20", "mrr")),
    ],
)
def test_a_recall_that_looks_at_more_than_a_fifth_of_the_items_fails(num_items, num_masked, primary, passed):
    task = dataclasses.replace(
        make_task(40, catalogue=45),
        num_items=num_items,
        masked_offsets=np.arange(41) * num_masked,
        masked_rows=np.full(40 * num_masked, 44),
    )
    arms = [make_arm(task, scale, catalogue=num_items) for scale in (20, 10, 40)]
    counts = np.arange(num_items)
    report = compare_once(task, *arms, counts, [], EvaluationConfig(primary=primary, bootstrap_samples=100))
    (check,) = (check for check in report["checks"] if check["name"] == "Primary metric fits the catalogue")
    assert check["passed"] is passed
    if not passed:
        assert report["verdict"]["word"] == "no launch"
        assert "validity check" in report["verdict"]["reasons"][0]
        assert report["verdict"]["reasons"][1] in check["detail"]
        assert report["verdict"]["reasons"][1].startswith("Set evaluation.primary to one of ")
        assert f"of the {num_items - num_masked} items that a ranking has on average" in check["detail"]
        recalls = [name for name, k in metrics.RECALL_K.items() if k <= 0.2 * (num_items - num_masked)]
        others = ["map_at_10", "map_at_50", "ndcg_at_10", "ndcg_at_20", "mrr"]
        fitting = sorted([*recalls, *others], key=list(metrics.METRICS).index)
        assert f"Set evaluation.primary to one of {', '.join(fitting)}, before" in check["detail"]


def test_the_power_is_that_of_the_primary_metric():
    config = EvaluationConfig(primary="mrr", bootstrap_samples=400, confidence=0.9)
    report = judge(40, 30, config=config)
    row = next(row for row in report["metrics"] if row["metric"] == "mrr")
    effect = (1.644854 + 0.841621) * row["standard_error"]  # normal quantiles of 95% and 80%
    assert report["power"]["metric"] == "mrr"
    assert report["power"]["minimum_detectable_effect"] == pytest.approx(effect, rel=1e-5)
    assert report["power"]["relative"] == pytest.approx(effect / row["control"], rel=1e-5)


def test_counts_are_those_of_the_task():
    task = make_task(60, per_query=2)
    task = RankingTask(**{**task.__dict__, "masked_rows": np.arange(7), "masked_offsets": np.minimum(np.arange(61), 7)})
    task = dataclasses.replace(task, num_repeats=3)
    report = compare_once(task, *(make_arm(task, scale) for scale in (40, 30, 900)), COUNTS, (), CONFIG)
    assert report["counts"] == {
        "queries": 60 // 2,
        "rankings": 60,
        "pairs": len(task.positive_rows),
        "items": NUM_ITEMS,
        "trained_items": 300,
        "masked": 7,
        "repeats": 3,
    }


def test_the_query_is_the_unit_when_it_is_ranked_often():
    task = make_task(300, per_query=5)
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    report = compare_once(task, *arms, COUNTS, (), CONFIG)
    assert report["counts"]["queries"] == 60
    assert report["metrics"][0]["queries"] == 60
    assert next(row["n"] for row in report["metrics"] if row["metric"] == "mrr") == 300


def test_the_result_is_plain_json():
    report = judge(40, 30)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_a_metric_per_query_is_the_mean_over_queries_of_the_means_over_their_rankings():
    """Of 70 queries some are ranked once and some five times."""
    rng = np.random.default_rng(0)
    task = make_task(200)
    task = dataclasses.replace(task, cluster=np.sort(rng.permutation(200) % 70), query_ids=np.arange(70).astype(object))
    arms = [make_arm(task, scale) for scale in (60, 30, 900)]
    report = compare_once(task, *arms, COUNTS, (), CONFIG)
    row = next(row for row in report["metrics"] if row["metric"] == "user_recall_at_20")
    for name, arm in zip(("control", "treatment"), arms):
        of_query = {}
        for ranking in range(task.num_rankings):
            ranks = arm.ranks[task.positive_offsets[ranking] : task.positive_offsets[ranking + 1]]
            of_query.setdefault(task.cluster[ranking], []).append(np.mean(ranks <= 20))
        assert row[name] == pytest.approx(np.mean([np.mean(values) for values in of_query.values()]))
    assert (row["n"], row["queries"], row["effective_queries"]) == (70, 70, pytest.approx(70))
