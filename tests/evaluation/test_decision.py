import re

import pytest

from recsys_ssl.evaluation.decision import EvaluationConfig, decide, describe_rule, list_guardrails

PASSED = {"name": "Same questions in both arms", "passed": True, "detail": ""}
FAILED = {"name": "Enough queries", "passed": False, "detail": ""}
UNKNOWN = {"name": "Training before testing", "passed": None, "detail": ""}


def make_row(metric="recall_at_50", relative_interval=(0.01, 0.02), interval=(0.001, 0.002), **facts):
    return {
        "metric": metric,
        "label": metric,
        "control": 0.2,
        "treatment": 0.2,
        "difference": 0.0,
        "adjusted_p": None,
        "interval": interval,
        "relative_interval": relative_interval,
        "no_interval": None,
        "seed_differences": None,
        "seed_share": None,
        **facts,
    }


def judge(low, high, margin=0.0, floor=(0.1, 0.2), checks=(PASSED,), own=()):
    """`own` is the interval over the queries' own counts, None where it has none; () where there is no such floor."""
    config = EvaluationConfig(non_inferiority_margin=margin)
    own_floor = [] if own == () else [make_row(interval=own)]
    floor = [make_row(interval=floor)]
    return decide([make_row(relative_interval=(low, high))], floor, list(checks), config, own_floor)


# --- Word, reasons and rule -------------------------------------------------------------------------


def word_by_rule(rule, low, high, floor, failed):
    """Reads the sentences of a rule and applies them; those of a launch and of no launch must exclude each other."""
    percent = r"([\d.]+)%"
    least = re.search(rf"lies above (?:zero|\u2212{percent}) \(over", rule)
    spared = re.search(rf"significantly worse(?: and not shown to lose less than {percent})?, is not shown", rule)
    beats_floor = floor is not None and floor[0] > 0
    launch = low > -float(least[1] or 0) / 100 and beats_floor and not failed
    worse = high < 0 and not (spared[1] and low > -float(spared[1]) / 100)
    no_launch = worse or not beats_floor or failed
    assert not (launch and no_launch), rule
    return "launch" if launch else "no launch" if no_launch else "hold"


@pytest.mark.parametrize(
    ("word", "case"),
    [
        ("launch", {"low": 0.001, "high": 0.02}),
        ("hold", {"low": 0.0, "high": 0.02}),
        ("hold", {"low": -0.008, "high": 0.01}),
        ("hold", {"low": -0.008, "high": 0.0}),
        ("no launch", {"low": -0.008, "high": -0.001}),
        ("no launch", {"low": 0.001, "high": 0.02, "floor": (0.0, 0.1)}),
        ("no launch", {"low": 0.001, "high": 0.02, "floor": None}),
        ("no launch", {"low": 0.001, "high": 0.02, "checks": (PASSED, FAILED)}),
        ("launch", {"low": 0.001, "high": 0.02, "checks": (PASSED, UNKNOWN)}),
        ("launch", {"low": 0.001, "high": 0.02, "margin": 0.01}),
        ("launch", {"low": -0.008, "high": 0.01, "margin": 0.01}),
        ("launch", {"low": -0.008, "high": -0.001, "margin": 0.01}),
        ("no launch", {"low": -0.01, "high": -0.001, "margin": 0.01}),
        ("no launch", {"low": -0.02, "high": -0.001, "margin": 0.01}),
        ("hold", {"low": -0.01, "high": 0.01, "margin": 0.01}),
        ("hold", {"low": -0.02, "high": 0.0, "margin": 0.01}),
        ("no launch", {"low": -0.008, "high": -0.001, "margin": 0.01, "floor": (-0.1, 0.1)}),
        ("no launch", {"low": -0.008, "high": -0.001, "margin": 0.01, "checks": (FAILED,)}),
        ("launch", {"low": 0.001, "high": 0.02, "own": (0.001, 0.1)}),
        ("no launch", {"low": 0.001, "high": 0.02, "own": (0.0, 0.1)}),
        ("no launch", {"low": 0.001, "high": 0.02, "own": None}),
        ("no launch", {"low": 0.001, "high": 0.02, "floor": (0.0, 0.1), "own": (0.001, 0.1)}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(str(part) for part in value.values()),
)
def test_word_reasons_and_rule_say_the_same(word, case):
    verdict = judge(**case)
    failed = FAILED in case.get("checks", ())
    assert verdict["word"] == word
    assert verdict["blessed"] == (word == "launch")
    floors = [case.get("floor", (0.1, 0.2)), *([case["own"]] if "own" in case else [])]
    weakest = None if None in floors else min(floors)
    assert word_by_rule(verdict["rule"], case["low"], case["high"], weakest, failed) == word
    assert ("both most-popular and the queries' own counts" in verdict["rule"]) == ("own" in case)

    said = " ".join(verdict["reasons"])
    assert ("beat most-popular" in said) != ("beats most-popular" in said)
    assert ("the queries' own counts" in said) == ("own" in case)
    against = ["not shown to beat " in said, "failed: " in said, "worse than the control." in said]
    not_above, holds_zero = "%, not above " in said, "The interval holds zero" in said
    assert any(against) == (word == "no launch"), said
    if word != "no launch":
        assert [not_above, holds_zero] == [word == "hold"] * 2, said
    assert ("significantly worse than the control" in said) == (case["high"] < 0)
    assert ("but by less than the margin" in said) == (-case.get("margin", 0) < case["low"] and case["high"] < 0)


def test_the_rule_without_a_margin():
    assert describe_rule(EvaluationConfig(primary="mrr", confidence=0.9)) == (
        "Launch if and only if the 90% interval of the relative difference in MRR lies above zero (over a control of "
        "0, that of the difference), the treatment's interval over most-popular lies above zero, and no validity "
        "check fails. No launch if the treatment is significantly worse, is not shown to beat most-popular, or a "
        "check fails. Else hold."
    )


def test_the_rule_where_queries_may_choose_again():
    assert describe_rule(EvaluationConfig(), own_counts=True) == (
        "Launch if and only if the 95% interval of the relative difference in Recall@50 lies above zero (over a "
        "control of 0, that of the difference), the treatment's intervals over most-popular and over the queries' own "
        "counts lie above zero, and no validity check fails. No launch if the treatment is significantly worse, is not "
        "shown to beat both most-popular and the queries' own counts, or a check fails. Else hold."
    )


def test_each_floor_has_its_sentence():
    reasons = judge(0.01, 0.02, own=(-0.01, 0.02))["reasons"]
    assert reasons[1:3] == [
        "The treatment beats most-popular on Recall@50 with an interval above zero.",
        "The treatment is not shown to beat the queries' own counts on Recall@50.",
    ]


def test_the_rule_with_a_margin():
    assert describe_rule(EvaluationConfig(non_inferiority_margin=0.01)) == (
        "Launch if and only if the 95% interval of the relative difference in Recall@50 lies above \u22121.00% (over a "
        "control of 0, that of the difference above zero), the treatment's interval over most-popular lies above "
        "zero, and no validity check fails. No launch if the treatment is significantly worse and not shown to lose "
        "less than 1.00%, is not shown to beat most-popular, or a check fails. Else hold."
    )


@pytest.mark.parametrize("margin", [0.0, 0.01])
@pytest.mark.parametrize(("low", "word"), [(0.001, "launch"), (0.0, "hold"), (-0.001, "hold")])
def test_over_a_control_of_zero_the_difference_has_no_margin(margin, low, word):
    config = EvaluationConfig(non_inferiority_margin=margin)
    row = make_row(control=0.0, relative_interval=None, interval=(low, 0.02))
    verdict = decide([row], [make_row()], [PASSED], config)
    assert verdict["word"] == word
    relation = "above" if word == "launch" else "not above"
    assert f"interval of its difference is {low:+.4f} to +0.0200, {relation} zero." in verdict["reasons"][0].replace(
        "\u2212", "-"
    )
    assert verdict["rule"] == describe_rule(config)


def test_the_cure_of_a_failed_check_follows_its_name():
    curable = {**FAILED, "name": "Primary metric fits the catalogue", "cure": "Set evaluation.primary to mrr."}
    row = make_row(interval=(0.01, 0.02), relative_interval=(0.01, 0.02))
    reasons = decide([row], [row], [FAILED, curable], EvaluationConfig())["reasons"]
    assert reasons[0] == "2 validity checks failed: Enough queries, Primary metric fits the catalogue."
    assert reasons[1] == "Set evaluation.primary to mrr."
    passed = decide([row], [row], [PASSED, {**curable, "passed": True}], EvaluationConfig())["reasons"]
    assert not any("Set evaluation.primary" in reason for reason in passed)


def test_without_an_interval_nothing_is_said_of_it():
    none = make_row(interval=None, relative_interval=None, no_interval="so few")
    verdict = decide([none], [none], [FAILED, UNKNOWN], EvaluationConfig())
    assert verdict["word"] == "no launch"
    assert verdict["reasons"] == [
        "1 validity check failed: Enough queries.",
        "Recall@50 has no interval: so few.",
        "The treatment is not shown to beat most-popular on Recall@50.",
        "Each arm was trained once: this compares two models, not two methods; evaluation.seeds trains more.",
    ]


def test_several_seeds_are_told_with_their_differences_and_their_share_of_the_variance():
    row = make_row(seed_differences=[0.0123, -0.004], seed_share=0.31)
    reasons = decide([row], [row], [PASSED], EvaluationConfig(seeds=2))["reasons"]
    assert (
        "Each arm was trained 2 times, and the interval holds the chance of training, 31% of its variance; by seed the "
        "difference is +0.0123, \u22120.0040." in reasons
    )
    assert not any("two models" in reason for reason in reasons)


def test_each_failed_check_is_named():
    other = {**FAILED, "name": "Index against exact search"}
    reasons = judge(0.01, 0.02, checks=(FAILED, PASSED, other))["reasons"]
    assert reasons[0] == "2 validity checks failed: Enough queries, Index against exact search."


# --- Guardrails -------------------------------------------------------------------------------------


def guard(name, metric_rows=(), slice_rows=(), covered=(0.5, 0.5), head=(0.25, 0.25), confidence=0.95):
    covered = dict(zip(("control", "treatment"), covered))
    exposure = {arm: [share, 1 - share, 0.0, 0.0] for arm, share in zip(("control", "treatment"), head)}
    rows = list_guardrails(
        list(metric_rows), list(slice_rows), covered, exposure, EvaluationConfig(confidence=confidence)
    )
    return next(row for row in rows if row["name"] == name)


@pytest.mark.parametrize(
    ("covered", "ok"),
    [((0.5, 0.46), True), ((0.5, 0.5 * 0.9), True), ((0.5, 0.44), False), ((0.0, 0.0), True), ((0.1, 0.9), True)],
    ids=["less", "a tenth less", "more than a tenth less", "nothing", "more"],
)
def test_a_loss_of_more_than_a_tenth_of_the_coverage_is_flagged(covered, ok):
    row = guard("Coverage@10", covered=covered)
    assert row["ok"] is ok
    assert row["detail"].startswith(f"{covered[0]:.1%} of the catalogue in control, {covered[1]:.1%} in treatment;")
    assert row["detail"].endswith("a loss of more than 10% is flagged.")


@pytest.mark.parametrize(
    ("head", "ok"),
    [((0.25, 0.29), True), ((0.25, 0.25 + 0.05), True), ((0.25, 0.31), False), ((0.5, 0.1), True)],
    ids=["more", "five points more", "above", "less"],
)
def test_a_gain_of_more_than_five_points_of_the_head_is_flagged(head, ok):
    row = guard("Popularity bias", head=head)
    assert row["ok"] is ok
    assert row["detail"].startswith(f"Head items fill {head[0]:.1%} of the first 10 in control, {head[1]:.1%} in")
    assert row["detail"].endswith("a gain of more than 5 points is flagged.")


@pytest.mark.parametrize(
    ("facts", "lost"),
    [
        ({"difference": -0.1, "adjusted_p": 0.04}, True),
        ({"difference": -0.1, "adjusted_p": 0.06}, False),
        ({"difference": -0.1, "adjusted_p": None}, False),
        ({"difference": 0.1, "adjusted_p": 0.04}, False),
        ({"difference": 0.0, "adjusted_p": 0.04}, False),
    ],
    ids=["worse", "not significant", "unknown", "better", "equal"],
)
def test_only_a_significant_loss_is_flagged(facts, lost):
    rows = [make_row("mrr", label="MRR", dimension="gender", slice="F", **facts)]
    metric, part = guard("No metric loses", rows), guard("No slice loses", (), rows)
    assert [metric["ok"], part["ok"]] == [not lost] * 2
    nothing = "None is significantly worse."
    assert metric["detail"] == ("Significantly worse: MRR." if lost else nothing)
    assert part["detail"] == ("Significantly worse: MRR of gender: F." if lost else nothing)


def test_the_level_of_a_guardrail_is_that_of_the_intervals():
    rows = [make_row(difference=-0.1, adjusted_p=0.04)]
    assert guard("No metric loses", rows, confidence=0.99)["ok"] is True
    assert guard("No metric loses", rows, confidence=0.9)["ok"] is False


# --- Settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"primary": "recall"},
        {"bootstrap_samples": 10},
        {"bootstrap_samples": 99},
        {"seed": -1},
        {"confidence": 1.0},
        {"confidence": 0.49},
        {"non_inferiority_margin": -0.1},
        {"non_inferiority_margin": 1.0},
        {"min_index_recall": 1.1},
        {"min_index_recall": -0.1},
        {"seeds": 0},
        {"seeds": 21},
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
        {"seeds": 20},
    ],
    ids=lambda right: " ".join(f"{name}={value}" for name, value in right.items()),
)
def test_settings_at_their_borders_are_accepted(right):
    (name,) = right
    assert getattr(EvaluationConfig(**right), name) == right[name]
