"""Which arms validation picks to stand against each other."""

import dataclasses

import pytest

from benchmarks.evidence import peers, run
from benchmarks.evidence.trials import Trial


def tune(arm, score, dataset="frappe"):
    """All trials of an arm's search, the best of which has the score."""
    done, missing = [], [None]
    while missing:
        _, missing = run.search(done, dataset, 1.0, arm)
        answers = [score - 0.01 * len(done) - 0.001 * place for place in range(len(missing))]
        done += [dataclasses.replace(t, validation_recall_at_50=a) for t, a in zip(missing, answers)]
    return done


def test_the_best_of_the_finished_searches_is_picked():
    trials = [*tune("popular", 0.2), *tune("bpr", 0.6), *tune("ease", 0.4)]
    assert peers.pick_best(trials, "frappe", ["popular", "ease"], ["popular", "ease", "bpr", "own_counts"]) == "bpr"
    unfinished = [*trials, *tune("lightgcn", 0.9)[:-1]]
    assert peers.pick_best(unfinished, "frappe", ["popular"], ["popular", "bpr", "lightgcn"]) == "bpr"


@pytest.mark.parametrize("known", [0, 3])
def test_nothing_is_picked_while_an_arm_that_is_needed_lacks_trials(known):
    trials = [*tune("popular", 0.2), *tune("ease", 0.4)[:known]]
    assert peers.pick_best(trials, "frappe", ["popular", "ease"], ["popular", "ease"]) is None
    assert peers.pick_best(trials, "frappe", ["popular"], ["popular", "ease"]) == "popular"


def test_the_log_of_repeats_needs_own_counts_and_others_do_not():
    trials = tune("popular", 0.2, "complete-journey")
    assert peers.pick_best(trials, "complete-journey", ["own_counts"], ["popular", "own_counts"]) is None
    assert peers.pick_best(tune("popular", 0.2), "frappe", ["own_counts"], ["popular", "own_counts"]) == "popular"


def test_what_lacks_trials_is_shown_as_such_and_nothing_is_recorded(tmp_path, capsys):
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "trials.jsonl").write_text(Trial("tune", "frappe", "popular").to_json() + "\n")
    peers.main([], tmp_path)
    assert capsys.readouterr().out.count("not tested yet") == len(peers.STUDIED) + len(peers.START_AT_FACTORS)
    assert not (tmp_path / "retrieval.json").exists()
