import dataclasses

import pytest

from benchmarks import reproduce
from benchmarks.claims import load
from benchmarks.evidence.trials import Trial

METRICS = {"all": {"recall_at_50": 0.5, "pairs": 10}, "cold": {"recall_at_50": None, "pairs": 0}}


def make_test(arm="none", seed=0, share=1.0, **changes):
    outcome = {"validation_recall_at_50": 0.25, "best_step": 40, "last_step": 80, "metrics": METRICS, "seconds": 3.0}
    return Trial("test", "frappe", arm, share, seed, **{**outcome, **changes})


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command on committed tests; `again` maps a trial that has no outcome yet to the finished one."""
    prepared = []
    monkeypatch.setattr(reproduce, "prepare", prepared.append)
    path = tmp_path / "trials.jsonl"

    def run(committed, again, *arguments):
        path.write_text("".join(f"{trial.to_json()}\n" for trial in committed))

        def run_each(pending, run, workers):
            assert run is reproduce.run_trial
            assert all(trial.metrics is None and trial.validation_recall_at_50 is None for trial in pending)
            return ((f"{count}/{len(pending)}", again(trial)) for count, trial in enumerate(pending, 1))

        monkeypatch.setattr(reproduce, "run_each", run_each)
        prepared.clear()
        status = reproduce.main(["--datasets", "frappe", *arguments], path, tmp_path)
        assert prepared == (["frappe"] if (tmp_path / "house.json").exists() else [])
        return status

    return run


def finish(trial, **changes):
    return make_test(trial.arm, trial.seed, trial.share, **changes)


def test_tests_that_come_out_the_same_are_identical(run, tmp_path, capsys):
    # The seconds are the machine's.
    assert run([make_test(), make_test("cfm", share=0.1)], lambda trial: finish(trial, seconds=9.0)) == 0
    (claim,) = load(tmp_path / "house.json")
    assert (claim.id, claim.value) == ("trials_identical", 1.0)
    assert claim.command == "python -m benchmarks.reproduce --datasets frappe"
    assert claim.what.startswith("share of 2 committed tests")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1/2  frappe 1 none seed 0: identical"
    assert lines[-1] == "2 of 2 are identical"


def test_a_metric_that_a_committed_trial_did_not_have_makes_no_difference(run):
    more = {**METRICS, "all": {**METRICS["all"], "ndcg_at_20": 0.1}}
    assert run([make_test("none")], lambda trial: finish(trial, metrics=more)) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"validation_recall_at_50": 0.250001}, "validation_recall_at_50 0.25, now 0.250001"),
        ({"best_step": 50}, "best_step 40, now 50"),
        ({"last_step": 90}, "last_step 80, now 90"),
        (
            {"metrics": {**METRICS, "all": {"recall_at_50": 0.500001, "pairs": 10}}},
            "metrics.all.recall_at_50 0.5, now 0.500001",
        ),
        (
            {"metrics": {**METRICS, "cold": {"recall_at_50": 0.0, "pairs": 0}}},
            "metrics.cold.recall_at_50 None, now 0.0",
        ),
    ],
    ids=["validation", "best_step", "last_step", "metric", "undefined_metric"],
)
def test_the_last_digit_of_one_number_makes_a_difference(run, tmp_path, capsys, change, message):
    arms = ("none", "cfm", "item_masks", "ials")

    def again(trial):
        return finish(trial, **(change if trial.arm == "cfm" else {}))

    assert run([make_test(arm) for arm in arms], again) == 1
    assert load(tmp_path / "house.json")[0].value == 3 / 4
    out = capsys.readouterr().out
    assert f"frappe 1 cfm seed 0: DIFFERENT: {message}\n" in out
    assert out.count("identical\n") == 3 + 1  # the last line counts them


def test_only_tests_of_the_options_are_run(run, tmp_path):
    wanted = [make_test(), make_test("ials", share=0.1)]
    others = [
        make_test(seed=1),
        make_test("ease"),
        make_test(split_seed=1),
        dataclasses.replace(make_test(), purpose="tune", metrics=None),
        dataclasses.replace(make_test(), dataset="wikispeedia"),
    ]
    ran = []

    def again(trial):
        ran.append(trial.key)
        return finish(trial)

    assert run([*others, *wanted], again) == 0
    assert ran == [trial.key for trial in wanted]
    assert run([*others, *wanted], again, "--seeds", "2", "--arms", "none", "--shares", "1.0") == 0
    assert ran[2:] == [others[0].key, wanted[0].key]


def test_nothing_to_run_is_one_message(run, tmp_path, capsys):
    assert run([make_test("ease")], finish) == 1
    assert "must hold tests of these arms" in capsys.readouterr().err
    assert not (tmp_path / "house.json").exists()
