"""The comparison of samplers on a made table with a known best point, and grids of trainings without the trainings."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from scipy import stats

from benchmarks import records
from benchmarks.claims import load
from benchmarks.evidence.trials import Trial
from benchmarks.tuning import compare, grid, molecule_grid, summary, tables, tables_of_scores, tabular, trained
from benchmarks.tuning.convolution import Scores
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
    found = tables_of_scores.read_table(table())
    assert found.space == {"a": Ladder(tuple(A)), "b": Ladder(tuple(B)), "c": Choice(tuple(C))}
    assert found.best == 1.0 == found.look_up({"a": 8, "b": 0.2, "c": "y"})
    assert tables_of_scores.read_table(table(larger_is_better=False)).best == min(
        score(*p) for p in itertools.product(A, B, C)
    )


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
    made = tables_of_scores.read_table(table())
    for sampler in tabular.SAMPLERS:
        found = tabular.search(made, tabular.plan("made", made, [sampler], 1, 60)[-1])
        curve = found.curve()
        assert (found.sampler, len(curve)) == (sampler, 60)
        assert curve == sorted(curve)
        assert curve[-1] > 0.75  # a step beside the best at most


def test_means_intervals_and_paired_tests_are_those_of_scipy():
    rng = np.random.default_rng(0)
    bests = {name: rng.random([12, 2]) for name in ("random", "tpe", "cmaes")}
    rows = compare.compare(bests, [5, 2.5], larger_is_better=False)
    assert [(row["budget"], row["sampler"]) for row in rows] == list(itertools.product([5, 2.5], bests))
    for row in rows:
        place = [5, 2.5].index(row["budget"])
        at = bests[row["sampler"]][:, place]
        assert row["mean"] == pytest.approx(at.mean())
        expected = stats.t.interval(0.95, 11, at.mean(), at.std(ddof=1) / np.sqrt(12))
        assert row["interval"] == pytest.approx(expected)
        if row["sampler"] != "random":
            baseline = bests["random"][:, place]
            assert row["gain"] == pytest.approx((baseline - at).mean())
            assert row["p"] == pytest.approx(stats.ttest_rel(at, baseline).pvalue)
            assert row["p"] <= row["holm"] <= 1.0
    ordered = sorted((row["p"], row["holm"]) for row in rows if "p" in row)
    assert ordered[0][1] == pytest.approx(min(1.0, 4 * ordered[0][0]))


@pytest.mark.parametrize(("gain", "p"), [(0.0, 1.0), (0.5, 0.0)])
def test_searches_that_all_differ_by_the_same_have_a_p_value(gain, p):
    bests = {"random": np.zeros([10, 1]), "tpe": np.full([10, 1], gain)}
    row = compare.compare(bests, [3], larger_is_better=True)[1]
    assert (row["gain"], row["p"], row["gain_interval"]) == (gain, p, (gain, gain))


def test_the_command_compares_at_equal_budgets_and_runs_no_search_again(table, tmp_path, capsys, monkeypatch):
    arguments = ["--table", str(table()), "--samplers", "cmaes", "--trials", "20", "--repetitions", "10"]
    assert tabular.main(arguments, results=tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "48 points, the best 1.0000; 10 searches each" in lines[0]
    assert [line.split()[:3] for line in lines[1:]] == [
        [str(budget), "trials", sampler] for budget in (8, 16, 20) for sampler in ("random", "cmaes")
    ]
    found = tabular.read_searches(tmp_path / tabular.SEARCHES)
    made = tables_of_scores.read_table(table())
    assert [each.key for each in found] == [each.key for each in tabular.plan("made", made, ["cmaes"], 10, 20)]
    ends = [each.curve()[-1] for each in found if each.sampler == "cmaes"]
    assert f"{np.mean(ends):.4f}" == lines[-1].split()[3]
    monkeypatch.setattr(tabular, "search", None)
    assert tabular.main(arguments, results=tmp_path) == 0
    assert capsys.readouterr().out.splitlines() == lines
    with pytest.raises(SystemExit):
        tabular.main([*arguments[:-1], "9"])


def test_a_curve_is_that_of_the_trials_that_were_better_than_all_before():
    bests = [[1, 0.5, 0.7, 1.5], [3, 0.4, 0.9, 4.0], [6, 0.1, 0.2, 4.5]]
    found = tabular.Search("made", "", "tpe", 0, 7, bests)
    assert found.curve() == [0.5, 0.5, 0.4, 0.4, 0.4, 0.1, 0.1]
    assert found.curve(2) == [0.7, 0.7, 0.9, 0.9, 0.9, 0.2, 0.2]
    assert [found.find_at(seconds) for seconds in (1.5, 3.9, 4.0, 9.0)] == [0.5, 0.5, 0.4, 0.1]
    assert np.isnan(found.find_at(1.4))


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
    table = tables_of_scores.read_table(tmp_path / "frappe-item_masks.table.json")
    assert table.space["batch_size"] == Ladder((128, 512, 2048))
    low = SHARED["temperature"].low
    assert table.look_up({"temperature": low, "batch_size": 512}) == pytest.approx(low + 0.005)
    assert "18 of 18 trainings are done" in capsys.readouterr().out


def test_a_grid_with_gaps_is_no_table():
    planned = [Trial("tune", "frappe", "item_masks", settings={"temperature": value}) for value in (0.1, 0.2)]
    done = [dataclasses.replace(planned[0], validation_recall_at_50=0.5)]
    with pytest.raises(ValueError, match="1 trainings missing"):
        grid.make_table(planned, done, "frappe")


# --- Grids of molecules, and what the tables say ----------------------------------------------------------


def write_grid(results, spoil=lambda lines: lines):
    """Level 0 of a data set, two trainings of each point; the best point is the widest with the highest rate."""
    lines = [
        dataclasses.replace(
            line,
            validation=[
                round(3.0 - 500 * rate - line.conv_width / 256 - line.dense_width / 512 + line.batch_size / 256, 4)
                + 0.5 * line.seed
                for rate in molecule_grid.RATES
            ],
            test=[10.0 + line.seed] * len(molecule_grid.RATES),
            seconds=1.5,
        )
        for line in molecule_grid.plan_lines(0, 2)
    ]
    path = results / "tuning" / "freesolv.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(records.to_line(line) + "\n" for line in spoil(lines)))
    return path


def test_the_levels_of_the_grid_of_the_paper():
    lines = [molecule_grid.plan_lines(level, 1) for level in range(4)]
    rates = len(molecule_grid.RATES)
    assert [len(found) * rates for found in lines] == [256, 1024, 2048, 2**13]
    assert [each.key for each in lines[3][:16]] == [each.key for each in lines[0]]
    assert len({each.key for each in lines[3]}) == 512


def test_the_largest_whole_level_is_read_with_its_mean_over_trainings(tmp_path):
    path = write_grid(tmp_path)
    table = tables_of_scores.read_table(path)
    assert table == tables_of_scores.read_table(path, level=0)
    assert list(table.costs.values()) == [pytest.approx(1.5 / 16)] * 256
    with pytest.raises(ValueError, match="each line of level 1"):
        tables_of_scores.read_table(path, level=1)
    assert [len(of.values) for of in table.space.values()] == [4, 16, 2, 2]
    assert (len(table.scores), table.trainings, table.larger_is_better) == (256, 2, False)
    best = {"batch_size": 32, "learning_rate": 0.0016, "conv_width": 160, "dense_width": 320}
    expected = 3.0 - 0.8 - 160 / 256 - 320 / 512 + 32 / 256 + 0.25
    assert table.best == table.look_up(best) == pytest.approx(expected)
    assert table.look_up_test(best) == 10.5


def test_one_training_is_read_where_the_second_is_not_whole_and_nothing_where_the_first_is_not(tmp_path):
    path = write_grid(tmp_path, lambda lines: lines[:-1])
    assert tables_of_scores.read_table(path).trainings == 1
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:16]))
    with pytest.raises(ValueError, match="Let benchmarks.tuning.molecule_grid finish"):
        tables_of_scores.read_table(path)


def test_a_training_without_a_score_makes_its_point_the_worst(tmp_path):
    def spoil(lines):
        return [dataclasses.replace(lines[0], validation=[float("nan")] * 16), *lines[1:]]

    table = tables_of_scores.read_table(write_grid(tmp_path, spoil))
    lost = {"batch_size": 32, "learning_rate": 0.0001, "conv_width": 32, "dense_width": 64}
    assert table.look_up(lost) == max(table.scores.values()) > 1e6


def test_searches_are_compared_at_equal_seconds_of_training(tmp_path):
    """Batches of 32 take four times as long as others, and a repeat nothing."""

    def spoil(lines):
        return [dataclasses.replace(line, seconds=16.0 * (4 if line.batch_size == 32 else 1)) for line in lines]

    table = tables_of_scores.read_table(write_grid(tmp_path, spoil))
    searches = [tabular.search(table, planned) for planned in tabular.plan("freesolv", table, tabular.SAMPLERS, 2, 40)]
    rows = tabular.compare_by_seconds(table, searches)
    mean, least = 7 / 4, min(each.training_seconds for each in searches)
    assert sorted({row["budget"] for row in rows}) == [8 * mean, 16 * mean][: 1 + (least >= 16 * mean)]
    for each in searches:
        settings, spent, best = [], 0.0, np.inf
        study = tabular.Study(
            tabular.open_storage(None),
            "again",
            "",
            table.space,
            tabular.SearchConfig(each.sampler, trials=40, seed=each.seed, fresh_seeds=0),
            False,
        )
        study.search(lambda request: table.look_up(request.settings))
        for trial in study.read().trials:
            if trial.settings not in settings:
                settings.append(trial.settings)
                spent += 4.0 if trial.settings["batch_size"] == 32 else 1.0
            if spent <= 8 * mean:
                best = min(best, trial.score)
        assert each.training_seconds == pytest.approx(spent)
        assert each.find_at(8 * mean) == pytest.approx(best, abs=1e-5)


def test_the_tables_of_docs_are_those_of_the_searches(tmp_path):
    results = tmp_path / "benchmarks" / "results"
    path = write_grid(results)
    assert summary.summarise(results) == {"tables": {}, "trained": []}
    assert tabular.main(["--table", str(path), "--repetitions", "10", "--trials", "16"], results=results) == 0
    (tmp_path / "README.md").write_text(
        "".join(f"<!-- tuning:{name} -->\n<!-- /tuning:{name} -->\n" for name in tables.RENDERERS)
    )
    assert tables.main([], tmp_path) == 0
    found = tables.load(results)["tables"]["freesolv-256"]
    table, searches = tables_of_scores.read_table(path), tabular.read_searches(results / tabular.SEARCHES)
    ends = [each.curve()[-1] for each in searches if each.sampler == "tpe"]
    (row,) = [row for row in found["rows"] if (row["sampler"], row["budget"]) == ("tpe", 16)]
    assert row["regret"] == pytest.approx(np.mean(ends) - table.best, abs=1e-5)
    top = sorted(table.scores.values())[2]
    reached = [
        next((at for at, score in enumerate(each.curve(), 1) if score <= top + 1e-9), None)
        for each in searches
        if each.sampler == "tpe"
    ]
    assert found["cost"]["tpe"]["reached"] == np.mean([at is not None for at in reached])
    page = (tmp_path / "README.md").read_text()
    assert f"| FreeSolv, 256 points | {min(row['budget'] for row in found['by_seconds'])} s | " in page
    assert "FreeSolv, small graph convolution, validation RMSE | 256 (4 x 16 x 2 x 2) | 2 |" in page
    assert f"{row['regret']:.3f} ± {np.ptp(row['interval']) / 2:.3f}" in page
    assert "10.500 ± 0.000" in page
    assert "Not measured yet: `python -m benchmarks.tuning.trained --data DIR`." in page
    claims = {claim.id: claim for claim in load(results / "tuning.json")}
    assert claims["repetitions_tabular"].value == 10
    assert claims["datasets_compared"].value == 1
    assert claims["freesolv-256_tpe"].value == pytest.approx(np.mean(ends), abs=1e-5)
    assert tables.main(["--check"], tmp_path) == 0


# --- Real trainings ------------------------------------------------------------------------------------


def make_outcome(arm, repetition, test, found=1.0):
    facts = {"found": None if arm == "default" else found, "validation": [1.0, 1.0], "test": [test - 0.1, test + 0.1]}
    return trained.Outcome("esol", "convolution", "grid", arm, repetition, 8, 2, **facts, search_seconds=0.8)


def test_searches_of_trainings_are_paired_by_repetition():
    base = [1.0, 2.0, 4.0]
    gains = {"default": -0.5, "random": 0.0, "tpe": 0.2, "tpe-multivariate": 0.1, "cmaes": 0.0}
    outcomes = [
        make_outcome(arm, repetition, level - gain)
        for arm, gain in gains.items()
        for repetition, level in enumerate(base)
    ]
    (group,) = summary.summarise_trained([*outcomes, make_outcome("tpe", 3, 9.0)])
    rows = {row["arm"]: row for row in group["rows"]}
    assert (group["repetitions"], group["trials"]) == (3, 8)
    assert rows["tpe"]["test"] == pytest.approx(7 / 3 - 0.2)
    assert rows["tpe"]["random"]["gain"] == pytest.approx(0.2)
    assert rows["tpe"]["default"]["gain"] == pytest.approx(0.7)
    assert rows["random"]["default"]["gain"] == pytest.approx(0.5)
    assert "random" not in rows["random"]
    assert rows["default"]["found"] is None
    assert rows["tpe"]["overhead"] == pytest.approx(0.1)
    assert summary.summarise_trained(outcomes[1:]) == []
    text = tables.render_trained({"trained": [group]})
    assert "| esol, grid, 3 x 8 | TPE | 1.000 | 1.000 | **2.133 ± " in text


def test_a_search_of_trainings_tests_the_best_with_seeds_that_it_did_not_use():
    asked = []

    def train(settings, seed):
        asked.append((settings, seed))
        return Scores(validation=settings["learning_rate"] + seed, test=100.0 + seed)

    planned = trained.plan(
        "convolution", "grid", ["esol"], ["default", "random"], [0], trials=6, fresh=2, presentations=9
    )
    done = trained.run(planned[1], train)
    searched, fresh = asked[:-2], asked[-2:]
    assert {seed for _, seed in searched} == {0}
    least = min(settings["learning_rate"] for settings, _ in searched)
    assert done.found == least == done.settings["learning_rate"]
    assert fresh == [(done.settings, 1), (done.settings, 2)]
    assert list(done.test) == [101.0, 102.0]
    assert planned[0].trials == 0
    with pytest.raises(KeyError):  # the defaults are the model's own
        trained.run(planned[0], train)
    assert asked[-1] == ({}, 1)


def test_trainings_read_as_many_molecules_whatever_the_data_set():
    assert [trained.count_epochs(rows, 10_000) for rows in (514, 902, 3360, 10**6)] == [19, 11, 3, 2]


def test_what_searches_found_is_the_default_of_fine_tuning():
    from recsys_ssl.encoders.molecule.settings import FinetuneConfig

    adopted = trained.ADOPTABLE["grover"]
    assert {name: getattr(FinetuneConfig(), name) for name in adopted} == adopted
    (planned,) = trained.plan("grover", "finetune", ["esol"], ["adopted"], [0], trials=6, fresh=2, presentations=9)
    asked = []
    done = trained.run(planned, lambda settings, seed: asked.append(settings) or trained.Scores(0.5, 0.6))
    assert (planned.trials, done.settings, asked) == (0, adopted, [adopted] * 2)
