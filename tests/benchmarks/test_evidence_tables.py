import dataclasses
import json
import math
import operator

import numpy as np
import pytest
from scipy.stats import t as student

from benchmarks import claims
from benchmarks.evidence import plots, summary, tables, tested
from benchmarks.evidence.trials import ARMS, PAPER_BASELINES, RECOMMENDED, Trial
from recsys_ssl.evaluation.crossed import interval_over_seeds
from recsys_ssl.evaluation.metrics import average_precision
from recsys_ssl.evaluation.slices import ITEM_SLICES
from recsys_ssl.evaluation.statistics import adjust_holm

NUM_USERS, PAIRS_OF_A_USER = 80, 10
OFFSETS = np.arange(NUM_USERS * 2 + 1) * (PAIRS_OF_A_USER // 2)
CLUSTER = np.repeat(np.arange(NUM_USERS) + 100, 2)
# Chance that a pair of the arm is among the first 50, by arm; what is not here has 0.4.
RATES = {RECOMMENDED: 0.6, "cfm": 0.5, "popular": 0.2}


class Study:
    """Synthetic trials with their ranks; every arm has pairs that it finds with its own known probability."""

    def __init__(self, root):
        self.ranks, self.tasks = root / "ranks", root / "tasks"
        self.ranks.mkdir()
        self.tasks.mkdir()
        self.trials = []
        for name in ("frappe-0", "movielens-small-0", "wikispeedia-0", "wikispeedia-1"):
            np.savez(self.tasks / f"{name}.npz", offsets=OFFSETS, cluster=CLUSTER)

    def add(self, dataset, arm, share=1.0, seeds=range(5), split_seed=0, purpose="test", rate=None, **facts):
        for seed in seeds:
            trial = Trial(purpose, dataset, arm, share, seed, split_seed, seconds=2.0, **facts)
            rng = np.random.default_rng([len(self.trials), seed])
            found = rng.random(OFFSETS[-1]) < (RATES.get(arm, 0.4) if rate is None else rate)
            ranks = np.where(found, rng.integers(1, 51, OFFSETS[-1]), rng.integers(51, 500, OFFSETS[-1]))
            slices = np.arange(OFFSETS[-1]) % 3  # none is cold
            metrics = {"all": describe(ranks)} | {
                name: describe(ranks[slices == index], False) for index, name in enumerate(ITEM_SLICES)
            }
            np.savez(self.ranks / f"{trial.key}.npz", ranks=ranks.astype(np.float32), slices=slices.astype(np.int8))
            if purpose != "test":
                metrics = None
            self.trials.append(dataclasses.replace(trial, metrics=metrics, validation_recall_at_50=0.3 + 0.01 * seed))

    def load_ranks(self, dataset, arm, seed, share=1.0):
        (key,) = (t.key for t in self.trials if (t.dataset, t.arm, t.seed, t.share) == (dataset, arm, seed, share))
        return np.load(self.ranks / f"{key}.npz")

    def summarise(self):
        return summary.summarise(self.trials, self.ranks, self.tasks)


def describe(ranks, whole=True):
    found = {f"recall_at_{k}": round(float((ranks <= k).mean()), 6) if len(ranks) else None for k in (10, 50)}
    if whole:
        precision, rankings = average_precision(ranks, OFFSETS, 10)
        found |= {"map_at_10": round(float(precision.sum() / rankings.sum()), 6), "map_at_50": 0.0}
    return {**found, "pairs": len(ranks)}


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two data sets with all controls and treatments at both shares, and a deterministic baseline."""
    study = Study(tmp_path_factory.mktemp("whole"))
    for dataset in ("frappe", "movielens-small"):
        for share in (1.0, 0.1):
            for arm in ("none", *PAPER_BASELINES, "cfm", RECOMMENDED):
                study.add(dataset, arm, share)
            study.add(dataset, "popular", share, seeds=range(1 if share == 1.0 else 5))
    return study


@pytest.fixture(scope="module")
def found(whole):
    return whole.summarise()


def row_of(found, share, dataset, treatment, against):
    rows = found["comparisons"][share][dataset]
    return next(row for row in rows if (row["treatment"], row["against"]) == (treatment, against))


# --- Numbers ----------------------------------------------------------------------------------------


def test_cells_are_means_over_seeds_with_students_interval(whole, found):
    cell = found["cells"]["full"]["frappe"][RECOMMENDED]
    recalls = [(whole.load_ranks("frappe", RECOMMENDED, seed)["ranks"] <= 50).mean() for seed in range(5)]
    half = student.ppf(0.975, 4) * np.std(recalls, ddof=1) / math.sqrt(5)
    assert cell["recall_at_50"] == pytest.approx([np.mean(recalls), half], rel=1e-4)
    assert (cell["seeds"], cell["expected"], cell["pairs"]) == (5, 5, NUM_USERS * PAIRS_OF_A_USER)
    assert cell["slices"]["cold"] == {"recall_at_50": None, "pairs": 0.0}


def test_a_comparison_is_paired_over_users_and_seeds(whole, found):
    row = row_of(found, "full", "frappe", RECOMMENDED, "none")
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


def test_holm_corrects_within_the_controls_of_one_treatment(whole, found):
    rows = [row_of(found, "full", "frappe", RECOMMENDED, arm) for arm in ("none", *PAPER_BASELINES)]
    assert {row["family"] for row in rows} == {"controls"}
    np.testing.assert_allclose([row["holm"] for row in rows], adjust_holm(np.array([row["p"] for row in rows])))
    assert row_of(found, "full", "frappe", RECOMMENDED, "cfm")["family"] == "others"


def test_a_deterministic_arm_stands_beside_every_seed(whole, found):
    row = row_of(found, "full", "frappe", RECOMMENDED, "popular")
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
    study.add("frappe", "none", seeds=range(3))
    study.add("frappe", "popular", seeds=[0])
    rows = {(row["share"], row["dataset"], row["arm"]): row["seeds"] for row in study.summarise()["missing"]}
    assert rows["full", "frappe", "none"] == 3
    assert ("full", "frappe", "popular") not in rows
    assert rows["sparse", "frappe", "popular"] == 0
    assert rows["full", "debian", "none"] == 0


def test_a_curve_holds_what_differs_in_its_setting_only(study):
    best = {"ssl.weight": 0.3, "ssl.value_dropout": 0.1}
    study.add("frappe", "none")
    study.add("frappe", "cfm", settings=best)
    for weight in (0.1, 1.0):
        study.add("frappe", "cfm", seeds=range(3), purpose="curve", settings={**best, "ssl.weight": weight})
    for dropout in (0.1, 0.5):
        study.add("frappe", "cfm", seeds=range(3), purpose="curve", settings={**best, "ssl.value_dropout": dropout})
    weights, dropouts = study.summarise()["curves"]
    assert (weights["setting"], weights["tuned"]) == ("ssl.weight", 0.3)
    assert [(point["x"], point["seeds"]) for point in weights["points"]] == [(0.1, 3), (0.3, 3), (1.0, 3)]
    assert [(point["x"], point["seeds"]) for point in dropouts["points"]] == [(0.1, 3), (0.5, 3)]
    assert weights["none"] == pytest.approx(interval_over_seeds([0.30, 0.31, 0.32, 0.33, 0.34]))


def test_curves_know_the_defaults_that_settings_leave_out():
    from recsys_ssl.training.config import TrainConfig

    assert {name: operator.attrgetter(name)(TrainConfig()) for name in summary.CURVES} == summary.CURVES


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
    study.add("movielens-small", "cfm", settings={})
    study.add("movielens-small", "cfm", seeds=range(400), purpose="tune")
    text = tables.RENDERERS["tuned"](study.summarise())
    assert "| CFM (paper) | ssl.weight 0.1 (3) | none (400) | 403 | 13 |" in text  # 403 trials of 2 seconds


def test_split_seeds_stay_apart(study):
    for split_seed, rate in ((0, 0.4), (1, 0.9)):
        study.add("wikispeedia", "none", split_seed=split_seed, rate=rate)
        study.add("wikispeedia", RECOMMENDED, split_seed=split_seed)
    found = study.summarise()
    assert found["cells"]["full"]["wikispeedia"]["none"]["recall_at_50"][0] == pytest.approx(0.4, abs=0.05)
    assert found["splits"]["rows"]["0"]["difference"][1] > 0
    assert found["splits"]["rows"]["1"]["difference"][2] < 0
    assert list(found["splits"]["rows"]) == ["0", "1"]


# --- Claims -----------------------------------------------------------------------------------------


def test_claims_count_data_sets_and_divide_mean_gains(whole, found):
    values = {claim["id"]: claim["value"] for claim in found["claims"]}
    for id in (
        "ssl_beats_none_full_datasets",
        "ssl_beats_all_baselines_full_datasets",
        "ssl_beats_all_baselines_sparse_datasets",
        "cfm_paper_beats_none_sparse_datasets",
    ):
        assert values[id] == 2
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
    for arm in ("none", *PAPER_BASELINES, "cfm", RECOMMENDED):
        study.add("frappe", arm, rate=0.9 if arm == "spread_out" else 0.4 + 0.2 * (arm == RECOMMENDED))
    values = {claim["id"]: claim["value"] for claim in study.summarise()["claims"]}
    assert values["ssl_beats_none_full_datasets"] == 1
    assert values["ssl_beats_all_baselines_full_datasets"] == 0
    assert "cfm_paper_beats_none_sparse_datasets" not in values


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


# --- Markdown ---------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path, found, monkeypatch):
    monkeypatch.setattr(claims, "describe_hardware", lambda: "a CPU, 2 cores, 8 GiB")
    monkeypatch.setattr(claims, "describe_commit", lambda: "0123456789ab")
    tables.write(found, tmp_path / "benchmarks" / "results")
    names = "\n".join(f"<!-- evidence:{name} -->\n<!-- /evidence:{name} -->" for name in tables.RENDERERS)
    (tmp_path / "README.md").write_text("Before.\n<!-- evidence:main -->old<!-- /evidence:main -->\nAfter.\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "evidence.md").write_text(f"# Evidence\n\n{names}\n")
    (tmp_path / "docs" / "plain.md").write_text("No table.\n")
    return tmp_path


def test_tables_are_made_from_the_committed_numbers_alone(root, capsys):
    assert tables.main(["--check"], root) == 1
    assert tables.main(["--from-json"], root) == 0
    assert "tables written: README.md, docs/evidence.md" in capsys.readouterr().out
    assert tables.main(["--check"], root) == 0
    readme = (root / "README.md").read_text()
    assert readme.startswith("Before.\n<!-- evidence:main -->\n| Data set |")
    assert readme.endswith("<!-- /evidence:main -->\nAfter.\n")
    assert "nan" not in (root / "docs" / "evidence.md").read_text().lower().replace("nance", "")
    assert (root / "docs" / "plain.md").read_text() == "No table.\n"


def test_a_table_shows_the_numbers_with_the_best_in_bold(root):
    numbers = tables.load(root / "benchmarks" / "results")
    text = tables.RENDERERS["full"](numbers)
    mean, half = numbers["cells"]["full"]["frappe"][RECOMMENDED]["recall_at_50"]
    lines = [line for line in text.splitlines() if line.startswith(f"| {ARMS[RECOMMENDED]} |")]
    assert len(lines) == 3
    assert f"| **{100 * mean:.2f} ± {100 * half:.2f}** |" in lines[0]
    popular = numbers["cells"]["full"]["frappe"]["popular"]["recall_at_50"][0]
    assert f"| {ARMS['popular']} | {100 * popular:.2f} |" in text
    assert ARMS["ials"] not in text  # no data set has it


def test_a_gap_is_explained_and_a_data_set_without_any_proposal_is_left_out(study):
    study.add("frappe", "none")
    study.add("movielens-small", "none")
    study.add("movielens-small", "logq_none")
    found = study.summarise()
    full, proposals = (tables.RENDERERS[name](found) for name in ("full", "proposals"))
    assert "–: not run." in full
    assert "| Frappe |" in full
    assert "| MovieLens small | all |" in proposals
    assert "| Frappe |" not in proposals


def test_the_headline_shows_the_lead_over_the_best_model_without_towers(found):
    text = tables.RENDERERS["headline"](found)
    lines = text.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:4]] == ["| MovieLens small", "| Frappe"]  # those that were run
    cells = found["cells"]["full"]["frappe"]
    none, ours, popular = (cells[arm]["recall_at_50"][0] for arm in ("none", RECOMMENDED, "popular"))
    assert f"| 100% | {100 * none:.2f} | **{100 * ours:.2f}** | " in lines[3]
    assert f" | {100 * popular:.2f} ({ARMS['popular']}) | " in lines[3]
    gain, low, high = row_of(found, "full", "frappe", RECOMMENDED, "none")["relative"]
    assert f"| {100 * gain:+.1f}% ({100 * low:+.1f}% to {100 * high:+.1f}%) |" in lines[3]
    lead, low, high = row_of(found, "full", "frappe", RECOMMENDED, "popular")["difference"]
    assert lines[3].endswith(f"| {100 * lead:+.2f} ({100 * low:+.2f} to {100 * high:+.2f}) |")


def test_the_headline_says_so_where_a_model_without_towers_is_ahead(study):
    for arm, rate in (("none", 0.3), (RECOMMENDED, 0.4), ("ease", 0.6), ("popular", 0.2)):
        study.add("frappe", arm, seeds=range(1 if arm in ("ease", "popular") else 5), rate=rate)
    found = study.summarise()
    line = tables.RENDERERS["headline"](found).splitlines()[2]
    ease, ours = (found["cells"]["full"]["frappe"][arm]["recall_at_50"][0] for arm in ("ease", RECOMMENDED))
    assert f"| **{100 * ease:.2f}** (EASE) | \N{MINUS SIGN}" in line
    assert f"| {100 * ours:.2f} |" in line


def test_the_views_of_both_towers_stand_beside_those_of_one(root):
    results = root / "benchmarks" / "results"
    assert tables.RENDERERS["towers"](tables.load(results)) == "Not measured yet."
    for id, value in (("none", 0.5), ("item_masks_item", 0.51), ("item_masks_both", 0.5346), ("whole_both", 0.54)):
        claims.record("towers", id=id, what="x", value=value, command="c", seconds=1, results=results)
    lines = tables.RENDERERS["towers"](tables.load(results)).splitlines()
    assert lines[2:6] == [
        "| plain towers (no auxiliary loss) | 50.00 |  |",
        "| random features hidden (item masks) | 51.00 | 53.46 |",
        "| single values dropped (value dropout) | – | – |",
        "| nothing hidden | – | 54.00 |",
    ]


def test_too_few_seeds_are_marked(study):
    study.add("frappe", "none", seeds=range(3))
    text = tables.RENDERERS["full"](study.summarise())
    line = next(line for line in text.splitlines() if line.startswith(f"| {ARMS['none']} |"))
    assert line.endswith("†** |")
    assert "Frappe 3 of 5" in text


def test_the_claims_are_recorded(root):
    recorded = {claim.id: claim for claim in claims.load(root / "benchmarks" / "results" / "evidence.json")}
    claim = recorded["ssl_beats_none_full_datasets"]
    assert (claim.value, claim.command) == (2, tables.COMMAND)
    assert claim.seconds == 2.0 * 2 * (6 * 5 * 2 + 1 + 5)


def test_the_numbers_have_no_nan_and_seven_digits(root):
    text = (root / "benchmarks" / "results" / "evidence" / "tables.json").read_text()
    assert "NaN" not in text
    json.loads(text, parse_float=lambda number: len(number.split("e")[0].strip("-0.").replace(".", "")) <= 7 or 1 / 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- evidence:full -->", "come in pairs"),
        ("<!-- /evidence:full -->", "come in pairs"),
        ("<!-- evidence:full --><!-- /evidence:main -->", "come in pairs"),
        ("<!-- evidence:full --><!-- evidence:full --><!-- /evidence:full -->", "come in pairs"),
        ("<!-- evidence:absent --><!-- /evidence:absent -->", "must be one of main, full"),
    ],
    ids=["unclosed", "unopened", "crossed", "nested", "unknown"],
)
def test_a_bad_marker_is_an_error_and_the_file_stays(root, text, message, capsys):
    (root / "README.md").write_text(text)
    assert tables.main(["--from-json"], root) == 1
    assert message in capsys.readouterr().err
    assert (root / "README.md").read_text() == text


def test_no_numbers_are_an_error_only_where_a_table_wants_them(tmp_path, capsys):
    (tmp_path / "README.md").write_text("No table.\n")
    assert tables.main(["--check"], tmp_path) == 0
    (tmp_path / "README.md").write_text("<!-- evidence:main --><!-- /evidence:main -->")
    assert tables.main(["--check"], tmp_path) == 1
    assert "tables.json must exist. Run python -m benchmarks.evidence.run" in capsys.readouterr().err


def test_every_table_says_so_when_there_is_nothing(study):
    found = study.summarise()
    for name, renderer in tables.RENDERERS.items():
        assert renderer(found), name
    assert plots.draw_all(found, study.ranks) == []


def test_figures_are_small_and_the_same_numbers_give_the_same_bytes(root, tmp_path):
    numbers = tables.load(root / "benchmarks" / "results")
    first, second = (plots.draw_all(numbers, tmp_path / name) for name in ("a", "b"))
    assert [path.name for path in first] == ["evidence_gains.png", "evidence_slices.png"]
    for one, other in zip(first, second):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size < 80_000
