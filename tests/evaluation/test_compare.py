import dataclasses
import json

import numpy as np
import pytest

from recsys_ssl.evaluation import metrics, statistics
from recsys_ssl.evaluation.compare import MIN_QUERIES, compare
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.queries import RankingTask
from recsys_ssl.evaluation.ranking import Ranked
from recsys_ssl.evaluation.slices import ITEM_SLICES, item_slices

NUM_ITEMS = 400


def make_task(num_rankings=200, seed=0, per_query=1, catalogue=NUM_ITEMS):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 5, num_rankings)
    positives = [np.sort(rng.choice(catalogue, length, replace=False)) for length in lengths]
    cluster = np.arange(num_rankings) // per_query
    return RankingTask(
        num_items=NUM_ITEMS,
        event_rows=np.arange(num_rankings),
        cluster=cluster,
        query_ids=np.array([f"q{i}" for i in range(cluster.max() + 1)], object),
        positive_offsets=np.cumsum([0, *lengths]),
        positive_rows=np.concatenate(positives),
        masked_offsets=np.zeros(num_rankings + 1, np.int64),
        masked_rows=np.empty(0, np.int64),
        slices={"gender": np.where(np.arange(num_rankings) % 3 == 0, "F", "M").astype(object)},
    )


def make_arm(task, scale, seed=0, catalogue=NUM_ITEMS):
    """Ranks of mean about `scale`, and lists of any items; the same seed gives paired arms."""
    rng = np.random.default_rng(seed)
    ranks = 1 + np.floor(scale * rng.standard_exponential(task.num_pairs)) + rng.random(task.num_pairs) * 1e-6
    return Ranked(ranks, rng.integers(0, catalogue, (task.num_rankings, 50)).astype(np.int32))


COUNTS = np.concatenate([np.zeros(100, int), np.arange(1, 301)])
CONFIG = EvaluationConfig(bootstrap_samples=400)
FAILED = {"name": "Index against exact search", "passed": False, "detail": "0.1"}
UNKNOWN = {"name": "Training before testing", "passed": None, "detail": "no time"}


def judge(control_scale, treatment_scale, popularity_scale=900, checks=(), config=CONFIG, num_rankings=200):
    task = make_task(num_rankings)
    arms = [make_arm(task, scale) for scale in (control_scale, treatment_scale)]
    arms.append(make_arm(task, popularity_scale, seed=1))  # unpaired, so that its interval is never of no width
    return compare(task, *arms, COUNTS, checks, config)


@pytest.mark.parametrize(
    ("case", "word", "reason"),
    [
        ({"control_scale": 60, "treatment_scale": 30}, "launch", "above zero"),
        ({"control_scale": 30, "treatment_scale": 30}, "hold", "The interval holds zero"),
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
            {"control_scale": 60, "treatment_scale": 30, "num_rankings": MIN_QUERIES - 1},
            "no launch",
            "too few queries",
        ),
    ],
    ids=["better", "equal", "worse", "below floor", "at floor", "failed check", "unknown check", "too few"],
)
def test_the_verdict(case, word, reason):
    verdict = judge(**case)["verdict"]
    assert verdict["word"] == word
    assert verdict["blessed"] == (word == "launch")
    assert any(reason in sentence for sentence in verdict["reasons"]), verdict["reasons"]


def test_a_margin_blesses_a_small_loss_and_the_rule_says_so():
    config = EvaluationConfig(bootstrap_samples=400, non_inferiority_margin=0.2)
    verdict = judge(30, 31, config=config)["verdict"]
    assert judge(30, 31)["verdict"]["word"] != "launch"
    assert verdict["word"] == "launch"
    assert "above \u221220.00%" in verdict["rule"]


def test_the_primary_metric_decides():
    """Recall@50 is the same in both arms; only within the first 50 the treatment is better."""
    task = make_task()
    control, treatment = make_arm(task, 30), make_arm(task, 30)
    treatment = Ranked(np.where(treatment.ranks <= 50, 1 + treatment.ranks / 50, treatment.ranks), treatment.top_rows)
    words = [
        compare(task, control, treatment, make_arm(task, 900), COUNTS, (), EvaluationConfig(name, 400))["verdict"][
            "word"
        ]
        for name in ("recall_at_50", "recall_at_10", "mrr")
    ]
    assert words == ["hold", "launch", "launch"]


def test_over_a_control_of_zero_the_difference_decides():
    task = make_task()
    never = Ranked(np.full(task.num_pairs, 399.0), make_arm(task, 1).top_rows)
    report = compare(task, never, make_arm(task, 30), never, COUNTS, (), CONFIG)
    row = next(row for row in report["metrics"] if row["metric"] == "recall_at_50")
    assert row["control"] == 0
    assert row["relative"] is None
    assert row["relative_interval"] is None
    assert report["verdict"]["word"] == "launch"


def test_values_are_those_of_the_metrics():
    task = make_task()
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    report = compare(task, *arms, COUNTS, (), CONFIG)
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
    report = compare(task, *(make_arm(task, scale) for scale in (33, 30, 900)), COUNTS, (), CONFIG)
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


def test_the_recall_curve_ends_at_the_last_item():
    task = make_task(60)
    task = RankingTask(**{**task.__dict__, "num_items": 100, "positive_rows": task.positive_rows % 100})
    arms = [Ranked(arm.ranks, arm.top_rows % 100) for arm in (make_arm(task, scale) for scale in (10, 10, 20))]
    curve = compare(task, *arms, np.arange(100), (), CONFIG)["recall_curve"]
    assert curve["k"] == [1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100]
    assert curve["control"] == [sum(arms[0].ranks <= k) / task.num_pairs for k in curve["k"]]


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
    report = compare(task, *arms, np.arange(num_items), (), EvaluationConfig(primary=primary, bootstrap_samples=100))
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
    report = compare(task, *arms, COUNTS, (), CONFIG)
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
    task = make_task(300, per_query=3)
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    config = EvaluationConfig(bootstrap_samples=200, seed=3)
    report = compare(task, *arms, COUNTS, (), config)
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
    report = compare(task, *arms, COUNTS, (), CONFIG)
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


@pytest.mark.parametrize(("num_queries", "enough"), [(29, False), (30, True)])
def test_an_interval_needs_thirty_queries(num_queries, enough):
    report = judge(40, 30, num_rankings=num_queries)
    for row in (*report["metrics"], *report["floor"]):
        assert (row["interval"] is not None) is enough
        assert (row["relative_interval"] is not None) is enough
        assert row["difference"] is not None
    for row in report["metrics"]:
        assert [row[name] is not None for name in ("p", "adjusted_p", "standard_error")] == [enough] * 3
    check = report["checks"][-1]
    assert (check["name"], check["passed"]) == ("Enough queries", enough)
    assert check["detail"] == f"{num_queries} queries; an interval needs at least 30."
    assert (report["power"]["minimum_detectable_effect"] is not None) is enough


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
        *((45, 0, primary, True) for primary in ("map_at_10", "map_at_50", "ndcg_at_10", "mrr")),
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
    report = compare(task, *arms, counts, [], EvaluationConfig(primary=primary, bootstrap_samples=100))
    (check,) = (check for check in report["checks"] if check["name"] == "Primary metric fits the catalogue")
    assert check["passed"] is passed
    if not passed:
        assert report["verdict"]["word"] == "no launch"
        assert "validity check" in report["verdict"]["reasons"][0]
        assert report["verdict"]["reasons"][1] in check["detail"]
        assert report["verdict"]["reasons"][1].startswith("Set evaluation.primary to one of ")
        assert f"of the {num_items - num_masked} items that a ranking has on average" in check["detail"]
        fitting = [*(["recall_at_10"] if num_items >= 50 else []), "map_at_10", "map_at_50", "ndcg_at_10", "mrr"]
        assert f"Set evaluation.primary to one of {', '.join(fitting)}, before" in check["detail"]


def test_significance_is_judged_at_the_level_of_the_intervals():
    rows = {
        confidence: judge(40, 30, config=EvaluationConfig(bootstrap_samples=400, confidence=confidence))["slices"]
        for confidence in (0.6, 0.95)
    }
    for confidence, of_level in rows.items():
        expected = [row["adjusted_p"] is not None and row["adjusted_p"] < 1 - confidence for row in of_level]
        assert [row["significant"] for row in of_level] == expected
        assert 0 < sum(expected) < len(expected)
    assert sum(row["significant"] for row in rows[0.6]) > sum(row["significant"] for row in rows[0.95])


def test_the_power_is_that_of_the_primary_metric():
    config = EvaluationConfig(primary="mrr", bootstrap_samples=400, confidence=0.9)
    report = judge(40, 30, config=config)
    row = next(row for row in report["metrics"] if row["metric"] == "mrr")
    effect = (1.644854 + 0.841621) * row["standard_error"]  # normal quantiles of 95% and 80%
    assert report["power"]["metric"] == "mrr"
    assert report["power"]["minimum_detectable_effect"] == pytest.approx(effect, rel=1e-5)
    assert report["power"]["relative"] == pytest.approx(effect / row["control"], rel=1e-5)


def test_coverage_and_exposure_are_of_the_first_ten():
    task = make_task(60)
    lists = np.tile(np.arange(50, dtype=np.int32), (task.num_rankings, 1))
    cold = Ranked(make_arm(task, 30).ranks, lists)  # rows 0..99 were never trained
    head = Ranked(cold.ranks, np.where(np.arange(50) < 10, 399 - lists, lists))
    popular = Ranked(make_arm(task, 900).ranks, np.where(np.arange(50) < 5, lists, 399 - lists))
    report = compare(task, cold, head, popular, COUNTS, (), CONFIG)
    assert report["coverage"] == {"k": 10, "control": 10 / 400, "treatment": 10 / 400, "popularity": 10 / 400}
    assert report["exposure"]["slices"] == ["head", "torso", "tail", "cold"]
    assert report["exposure"]["control"] == [0, 0, 0, 1]
    assert report["exposure"]["treatment"] == [1, 0, 0, 0]
    assert report["exposure"]["popularity"] == [5 / 10, 0, 0, 5 / 10]
    held_out = [ITEM_SLICES[index] for index in item_slices(COUNTS)[task.positive_rows]]
    assert report["exposure"]["held_out"] == [held_out.count(name) / len(held_out) for name in ITEM_SLICES]


def test_counts_are_those_of_the_task():
    task = make_task(60, per_query=2)
    task = RankingTask(**{**task.__dict__, "masked_rows": np.arange(7), "masked_offsets": np.minimum(np.arange(61), 7)})
    task = dataclasses.replace(task, num_repeats=3)
    report = compare(task, *(make_arm(task, scale) for scale in (40, 30, 900)), COUNTS, (), CONFIG)
    assert report["counts"] == {
        "queries": 60 // 2,
        "rankings": 60,
        "pairs": len(task.positive_rows),
        "items": NUM_ITEMS,
        "trained_items": 300,
        "masked": 7,
        "repeats": 3,
    }


def test_a_slice_of_few_queries_has_values_but_no_interval():
    task = make_task()
    few = np.where(np.arange(task.num_rankings) < MIN_QUERIES - 1, "few", "many").astype(object)
    task = RankingTask(**{**task.__dict__, "slices": {"size": few}})
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    rows = [row for row in compare(task, *arms, COUNTS, (), CONFIG)["slices"] if row["slice"] == "few"]
    assert len(rows) == len(metrics.METRICS)
    for row in rows:
        assert row["control"] is not None
        assert [row["interval"], row["p"], row["adjusted_p"]] == [None] * 3
        assert row["significant"] is False


def test_the_query_is_the_unit_when_it_is_ranked_often():
    task = make_task(300, per_query=5)
    arms = [make_arm(task, scale) for scale in (40, 30, 900)]
    report = compare(task, *arms, COUNTS, (), CONFIG)
    assert report["counts"]["queries"] == 60
    assert report["metrics"][0]["queries"] == 60
    assert report["metrics"][-1]["n"] == 300


def test_guardrails_flag_what_the_primary_hides():
    task = make_task(400)
    control, popularity = make_arm(task, 30), make_arm(task, 900)
    is_cold = COUNTS[task.positive_rows] == 0
    ranks = np.where(is_cold, 399.0, control.ranks / 4 + 0.75)
    head_only = np.full((task.num_rankings, 50), NUM_ITEMS - 1, np.int32)
    report = compare(task, control, Ranked(ranks, head_only), popularity, COUNTS, (), CONFIG)
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


def test_the_result_is_plain_json():
    report = judge(40, 30)
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize(
    "wrong",
    [
        {"primary": "recall"},
        {"bootstrap_samples": 10},
        {"bootstrap_samples": 99},
        {"confidence": 1.0},
        {"confidence": 0.49},
        {"non_inferiority_margin": -0.1},
        {"non_inferiority_margin": 1.0},
        {"min_index_recall": 1.1},
        {"min_index_recall": -0.1},
    ],
    ids=lambda wrong: " ".join(f"{name}={value}" for name, value in wrong.items()),
)
def test_settings_that_cannot_work_are_an_error(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EvaluationConfig(**wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"bootstrap_samples": 100},
        {"confidence": 0.5},
        {"non_inferiority_margin": 0.99},
        {"min_index_recall": 0.0},
        {"min_index_recall": 1.0},
    ],
    ids=lambda right: " ".join(f"{name}={value}" for name, value in right.items()),
)
def test_settings_at_their_borders_are_accepted(right):
    (name,) = right
    assert getattr(EvaluationConfig(**right), name) == right[name]
