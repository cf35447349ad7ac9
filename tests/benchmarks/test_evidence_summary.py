"""The numbers of the evidence, from trials and ranks."""

import math

import numpy as np
import pytest
from scipy.stats import t as student

from benchmarks.evidence import tables, tested
from benchmarks.evidence.trials import ARMS, RECOMMENDED, Trial
from recsys_ssl.evaluation.crossed import interval_over_seeds
from recsys_ssl.evaluation.metrics import average_precision
from recsys_ssl.evaluation.statistics import adjust_holm
from tests.benchmarks.made_study import NUM_USERS, OFFSETS, PAIRS_OF_A_USER, PLAIN

# --- Numbers ----------------------------------------------------------------------------------------


def test_cells_are_means_over_seeds_with_students_interval(whole, found):
    cell = found["cells"]["full"]["frappe"][RECOMMENDED]
    recalls = [(whole.load_ranks("frappe", RECOMMENDED, seed)["ranks"] <= 50).mean() for seed in range(5)]
    half = student.ppf(0.975, 4) * np.std(recalls, ddof=1) / math.sqrt(5)
    assert cell["recall_at_50"] == pytest.approx([np.mean(recalls), half], rel=1e-4)
    assert (cell["seeds"], cell["expected"], cell["pairs"]) == (5, 3, NUM_USERS * PAIRS_OF_A_USER)
    assert cell["slices"]["cold"] == {"recall_at_50": None, "pairs": 0.0}


def test_a_comparison_is_paired_over_users_and_seeds(whole, found):
    row = found["gains"]["full"]["frappe"][RECOMMENDED]["recall_at_50"]
    hits = [
        [whole.load_ranks("frappe", arm, seed)["ranks"] <= 50 for seed in range(5)] for arm in (RECOMMENDED, "none")
    ]
    gain = np.subtract(*np.array(hits, np.float64))  # [seeds, pairs]
    by_seed = gain.mean(axis=1)
    by_user = gain.mean(axis=0).reshape(NUM_USERS, PAIRS_OF_A_USER).mean(axis=1)
    assert row["difference"][0] == pytest.approx(by_seed.mean())
    assert row["seed_error"] == pytest.approx(by_seed.std(ddof=1) / math.sqrt(5))
    assert row["user_error"] == pytest.approx(by_user.std(ddof=1) / math.sqrt(NUM_USERS))
    error = math.hypot(row["seed_error"], row["user_error"])
    quantiles = student.ppf(0.975, 4), student.ppf(0.975, NUM_USERS - 1)  # all users have as many pairs
    reach = np.average(quantiles, weights=[row["seed_error"] ** 2, row["user_error"] ** 2]) * error
    assert row["difference"][1:] == pytest.approx([by_seed.mean() - reach, by_seed.mean() + reach])
    assert row["difference"][1] < 0.2 < row["difference"][2]  # the planted 0.6 - 0.4
    assert row["relative"][0] == pytest.approx(row["values"][0] / row["values"][1] - 1)
    assert (row["seeds"], row["users"]) == (5, NUM_USERS)


def test_holm_corrects_within_the_regularisers_of_a_log(found):
    rows = [found["gains"]["full"]["frappe"][arm]["recall_at_50"] for arm in (*PLAIN, "cfm", RECOMMENDED)]
    assert len(found["gains"]["full"]["frappe"]) == len(rows)
    np.testing.assert_allclose([row["holm"] for row in rows], adjust_holm(np.array([row["p"] for row in rows])))


def test_validation_picks_what_is_compared_in_the_test(found):
    best = found["best"]["sparse"]["frappe"]
    assert (best["towers"], best["regularizer"], best["peer"]) == (RECOMMENDED, RECOMMENDED, "popular")
    assert best["gain"]["difference"] == found["gains"]["sparse"]["frappe"][RECOMMENDED]["recall_at_50"]["difference"]
    assert best["lead"]["difference"] == best["against"]["popular"]["difference"]
    assert best["lead"]["difference"][1] < 0.4 < best["lead"]["difference"][2]  # the planted 0.6 - 0.2


def test_nothing_is_compared_while_an_arm_that_is_needed_is_not_tuned(study):
    for arm in ("none", RECOMMENDED, "popular"):
        study.add("frappe", arm)
    best = study.summarise()["best"]["full"]["frappe"]
    assert best == {"towers": None, "regularizer": None, "peer": None, "gain": None, "lead": None, "against": {}}


def test_a_deterministic_arm_stands_beside_every_seed(whole, found):
    row = found["best"]["full"]["frappe"]["against"]["popular"]
    popular = whole.load_ranks("frappe", "popular", 0)["ranks"] <= 50
    ours = [(whole.load_ranks("frappe", RECOMMENDED, seed)["ranks"] <= 50).mean() for seed in range(5)]
    assert row["difference"][0] == pytest.approx(np.mean(ours) - popular.mean())
    assert row["seed_error"] == pytest.approx(np.std(ours, ddof=1) / math.sqrt(5))
    assert row["seeds"] == 5


def test_two_deterministic_arms_vary_by_user_only(study):
    study.add("frappe", "ease", seeds=[0], rate=0.5)
    study.add("frappe", "popular", seeds=[0])
    evidence = tested.Evidence(study.trials, study.ranks, study.tasks)
    ours, theirs, seeds = evidence.pair("frappe", 1.0, "ease", "popular")
    assert (seeds, len(ours["recall_at_50"].seeds), len(theirs["recall_at_50"].seeds)) == (1, 1, 1)


def test_only_common_seeds_are_compared_and_one_is_too_few(study):
    study.add("frappe", "none", seeds=[0, 1, 2])
    study.add("frappe", RECOMMENDED, seeds=[1, 2, 3])
    study.add("frappe", "cfm", seeds=[0])
    evidence = tested.Evidence(study.trials, study.ranks, study.tasks)
    assert evidence.pair("frappe", 1.0, RECOMMENDED, "none")[2] == 2
    assert evidence.pair("frappe", 1.0, "cfm", "none") is None
    assert evidence.pair("frappe", 1.0, "rfm", "none") is None


def test_map_and_slices_follow_their_definition(whole, found):
    row = found["gains"]["full"]["frappe"][RECOMMENDED]
    expected = []
    for arm in (RECOMMENDED, "none"):
        ratios = []
        for seed in range(5):
            precision, rankings = average_precision(whole.load_ranks("frappe", arm, seed)["ranks"], OFFSETS, 10)
            ratios.append(precision.sum() / rankings.sum())
        expected.append(np.mean(ratios))
    assert row["map_at_10"]["values"] == pytest.approx(expected)
    tail = [
        (stored["ranks"][stored["slices"] == 2] <= 50).mean()
        for stored in (whole.load_ranks("frappe", RECOMMENDED, seed) for seed in range(5))
    ]
    assert row["tail"]["values"][0] == pytest.approx(np.mean(tail))
    assert row["cold"] is None


def test_ranks_that_are_absent_or_do_not_give_the_metrics_are_errors(study):
    study.add("frappe", "none")
    study.add("frappe", "cfm")
    path = study.ranks / f"{study.trials[-1].key}.npz"
    ranks, slices = np.load(path)["ranks"], np.load(path)["slices"]
    np.savez(path, ranks=ranks + 100, slices=slices)
    with pytest.raises(ValueError, match="must give the trial's recall_at_50"):
        study.summarise()
    np.savez(path, ranks=ranks[1:], slices=slices[1:])
    with pytest.raises(ValueError, match="a rank for each of 800 pairs. Received: 799"):
        study.summarise()
    path.unlink()
    with pytest.raises(ValueError, match="must hold the ranks of a trial of cfm on frappe"):
        study.summarise()


def test_what_lacks_seeds_is_listed(study):
    study.add("frappe", "none", seeds=range(2))
    study.add("frappe", "popular", seeds=[0])
    rows = {(row["share"], row["dataset"], row["arm"]): row["seeds"] for row in study.summarise()["missing"]}
    assert rows["full", "frappe", "none"] == 2
    assert ("full", "frappe", "popular") not in rows
    assert rows["sparse", "frappe", "popular"] == 0
    assert rows["full", "debian", "none"] == 0


def test_the_first_step_of_a_search_tells_the_towers_apart(study):
    for towers, score in (("item", 0.5), ("both", 0.6)):
        trial = Trial("tune", "wikispeedia", "rfm", settings={"ssl.towers": towers}, validation_recall_at_50=score)
        study.trials.append(trial)
    other = {"ssl.towers": "item", "ssl.weight": 0.1}
    study.trials.append(Trial("tune", "wikispeedia", "rfm", settings=other, validation_recall_at_50=0.9))
    found = study.summarise()["towers"]
    assert found["full"] == {"wikispeedia": {"rfm": {"item": 0.5, "both": 0.6}}, "debian": {}}
    lines = tables.RENDERERS["towers"]({"labels": ARMS, "towers": found}).splitlines()
    assert lines[0] == "| With all training data | Wikispeedia, item | Wikispeedia, both |"
    assert lines[2] == "| RFM | 50.00 | 60.00 |"


def test_tuning_trials_are_counted_by_cell(study):
    study.add("frappe", "cfm", settings={"ssl.weight": 0.1})
    for weight in (0.1, 0.3, 1.0):
        study.add("frappe", "cfm", seeds=[0], purpose="tune", settings={"ssl.weight": weight})
    study.add("frappe", "cfm", 0.1, seeds=[0], purpose="tune", settings={"ssl.weight": 0.1})
    found = study.summarise()["tuned"]
    assert found["full"]["frappe"]["cfm"] == {
        "settings": [{"ssl.weight": 0.1}],
        "tuning_trials": 3,
        "tuning_seconds": 6.0,
    }
    assert found["sparse"]["frappe"] == {}
    study.add("movielens-100k", "none", settings={})  # a log that the tables do not show
    assert list(study.summarise()["tuned"]["full"]) == ["frappe"]
    study.add("movielens-small", "cfm", settings={})
    study.add("movielens-small", "cfm", seeds=range(400), purpose="tune")
    text = tables.RENDERERS["tuned"](study.summarise())
    assert "| CFM (paper) | ssl.weight 0.1 (3) | none (400) | 403 | 13 |" in text  # 403 trials of 2 seconds


# --- Claims -----------------------------------------------------------------------------------------


def test_claims_count_data_sets_and_divide_mean_gains(whole, found):
    values = {claim["id"]: claim["value"] for claim in found["claims"]}
    for arm in ("regulariser", "cfm"):
        for share in ("full", "sparse"):
            assert values[f"{arm}_beats_none_{share}_logs"] == 2
    gains = {
        share: np.mean(
            [
                found["gains"][share][dataset][RECOMMENDED]["recall_at_50"]["relative"][0]
                for dataset in found["datasets"]
            ]
        )
        for share in ("full", "sparse")
    }
    assert values["gain_sparse_over_full"] == pytest.approx(gains["sparse"] / gains["full"])
    (claim,) = (claim for claim in found["claims"] if claim["id"] == "gain_sparse_over_full")
    low, high = claim["interval"]
    assert low < 1.0 < high  # the same rates were planted at both shares
    assert high - low < 1.0
    assert "wikispeedia_recall_at_10" not in values


def test_an_arm_that_is_equal_or_worse_beats_nothing(study):
    for arm in ("none", "cfm", RECOMMENDED):
        study.add("frappe", arm, rate=0.4)
        study.tune(arm, 0.5)
    values = {claim["id"]: claim["value"] for claim in study.summarise()["claims"]}
    assert values["regulariser_beats_none_full_logs"] == values["cfm_beats_none_full_logs"] == 0
    assert "cfm_beats_none_sparse_logs" not in values


def test_a_ratio_over_a_gain_that_may_be_zero_has_no_interval(study):
    for share, rate in ((1.0, 0.405), (0.1, 0.6)):
        study.add("frappe", "none", share, rate=0.4)
        study.add("frappe", RECOMMENDED, share, rate=rate)
    (claim,) = (c for c in study.summarise()["claims"] if c["id"] == "gain_sparse_over_full")
    assert claim["interval"] is None


def test_the_headline_recall_is_a_mean_over_seeds(study):
    study.add("wikispeedia", RECOMMENDED)
    (claim,) = (c for c in study.summarise()["claims"] if c["id"] == "wikispeedia_recall_at_10")
    recalls = [trial.metrics["all"]["recall_at_10"] for trial in study.trials]
    mean, half = interval_over_seeds(recalls)
    assert (claim["value"], *claim["interval"]) == pytest.approx((mean, mean - half, mean + half))
