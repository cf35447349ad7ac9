"""Which arms validation picks to stand against each other."""

import pytest

from benchmarks.evidence import peers
from benchmarks.evidence.picks import pick_best
from benchmarks.evidence.trials import Trial
from tests.benchmarks.made_study import tune


def test_the_best_of_the_finished_searches_is_picked():
    trials = [*tune("popular", 0.2), *tune("bpr", 0.6), *tune("ease", 0.4)]
    assert pick_best(trials, "frappe", 1.0, ["popular", "ease"], ["popular", "ease", "bpr", "own_counts"]) == "bpr"
    unfinished = [*trials, *tune("lightgcn", 0.9)[:-1]]
    assert pick_best(unfinished, "frappe", 1.0, ["popular"], ["popular", "bpr", "lightgcn"]) == "bpr"


@pytest.mark.parametrize("known", [0, 3])
def test_nothing_is_picked_while_an_arm_that_is_needed_lacks_trials(known):
    trials = [*tune("popular", 0.2), *tune("ease", 0.4)[:known]]
    assert pick_best(trials, "frappe", 1.0, ["popular", "ease"], ["popular", "ease"]) is None
    assert pick_best(trials, "frappe", 1.0, ["popular"], ["popular", "ease"]) == "popular"


def test_the_log_of_repeats_needs_own_counts_and_others_do_not():
    trials = tune("popular", 0.2, "complete-journey")
    assert pick_best(trials, "complete-journey", 1.0, ["own_counts"], ["popular", "own_counts"]) is None
    assert pick_best(tune("popular", 0.2), "frappe", 1.0, ["own_counts"], ["popular", "own_counts"]) == "popular"


def test_what_lacks_trials_is_shown_as_such_and_nothing_is_recorded(tmp_path, capsys):
    (tmp_path / "evidence").mkdir()
    (tmp_path / "evidence" / "trials.jsonl").write_text(Trial("tune", "frappe", "popular").to_json() + "\n")
    peers.main([], tmp_path)
    assert capsys.readouterr().out.count("not tested yet") == len(peers.STUDIED) + len(peers.START_AT_FACTORS)
    assert not (tmp_path / "retrieval.json").exists()
