"""Processes of a search: they share it, their errors arrive, and what kills one of them does not end it."""

import multiprocessing
import os
import signal

import pytest

from recsys_ssl.tuning import workers
from recsys_ssl.tuning.config import SearchConfig, SearchError
from recsys_ssl.tuning.space import Uniform
from recsys_ssl.tuning.workers import Search, run

# What processes of their own can import.
OBJECTIVES = """
import functools, os, signal, time

def make_bowl(processes, directory, kill=None, hang=None):
    def bowl(request):
        open(os.path.join(directory, f"{request.slot}-{os.getpid()}-{time.monotonic_ns()}"), "w").close()
        if request.slot == kill:
            os.kill(os.getpid(), signal.SIGKILL)
        while request.slot == hang:
            time.sleep(0.1)
        return (request.settings["x"] - 0.5) ** 2 + 0.01 * request.seed
    return bowl

def make_nothing(processes):
    raise ValueError(f"no data for {processes} processes.")

def make_end(processes):
    os.kill(os.getpid(), signal.SIGKILL)

def make_failing(processes):
    def fail(request):
        raise ValueError("train.steps must be positive.")
    return fail

def fail_with_fresh_seeds(processes):
    def fail(request):
        return request.settings["x"] if request.seed == 0 else 1 / (request.seed - request.seed)
    return fail
"""


@pytest.fixture
def objectives(tmp_path, monkeypatch):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "made_objectives.py").write_text(OBJECTIVES)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    import made_objectives

    yield made_objectives
    del __import__("sys").modules["made_objectives"]


@pytest.fixture
def search(tmp_path):
    config = SearchConfig(sampler="random", trials=6, top=2, fresh_seeds=1)
    return Search(str(tmp_path / "journal.log"), "s", "about", {"x": Uniform(0.0, 1.0)}, config, False)


@pytest.fixture
def make_bowl(objectives, tmp_path):
    (tmp_path / "told").mkdir()

    def make(**how):
        return objectives.functools.partial(objectives.make_bowl, directory=str(tmp_path / "told"), **how)

    return make


def told(tmp_path):
    """Slots in the order of their names, and the processes that worked on them."""
    names = [name.split("-") for name in sorted(os.listdir(tmp_path / "told"))]
    return [name[0] for name in names], {name[1] for name in names}


def test_two_processes_search_and_score_anew(search, make_bowl, tmp_path):
    heard = []
    found = run(search, make_bowl(), jobs=2, tell=lambda phase, found: heard.append((phase, len(found.ended))))
    slots, processes = told(tmp_path)
    assert slots == sorted([str(slot) for slot in range(6)] + [f"{each.slot}:1" for each in found.candidates])
    assert str(os.getpid()) not in processes
    assert 2 <= len(processes) <= 4
    scores = sorted(trial.score for trial in found.trials)
    assert [each.score for each in found.candidates] == scores[:2]
    assert found.best.mean == pytest.approx(scores[0] + 0.01)
    assert heard[-1] == ("rescore", 6)


def test_a_killed_process_is_replaced_and_what_kills_each_fails_in_the_end(search, make_bowl, tmp_path):
    found = run(search, make_bowl(kill="2"), jobs=1)
    assert told(tmp_path)[0].count("2") == workers.MOST_DEATHS
    assert [trial.state for trial in found.trials] == ["complete", "complete", "failed", *["complete"] * 3]
    assert "its process ended" in found.trials[2].reason


def test_an_interrupt_ends_the_processes_and_costs_nothing(search, make_bowl, tmp_path):
    def interrupt(phase, found):
        if len(found.ended) >= 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(search, make_bowl(hang="2"), jobs=1, tell=interrupt)
    assert not multiprocessing.active_children()
    before = search.open().read()
    assert [trial.state for trial in before.trials] == ["complete", "complete"]
    after = run(search, make_bowl(), jobs=1)
    assert after.trials[:2] == before.trials
    assert [trial.state for trial in after.trials] == ["complete"] * 6


def test_an_error_of_a_process_is_that_of_the_search(search, objectives):
    with pytest.raises(ValueError, match="no data for 1 processes"):
        run(search, objectives.make_nothing, jobs=1)
    with pytest.raises(SearchError, match="Received: 5 failures, the last: ValueError: train.steps must be positive"):
        run(search, objectives.make_failing, jobs=1)


def test_processes_that_end_before_any_trial_are_not_started_for_ever(search, objectives, monkeypatch):
    monkeypatch.setattr(workers, "MOST_DEATHS", 1)
    with pytest.raises(RuntimeError, match=f"2 ended one after the other .* status -{signal.SIGKILL.value}"):
        run(search, objectives.make_end, jobs=1)


def test_why_the_best_fail_with_a_fresh_seed_is_told(search, objectives):
    with pytest.raises(SearchError, match="Received: 6 trials that ended, 6 that succeeded once. .*ZeroDivisionError"):
        run(search, objectives.fail_with_fresh_seeds, jobs=1)


def test_without_time_there_is_no_best(search, make_bowl):
    with pytest.raises(SearchError, match="a trial must succeed.* Received: 0 trials that ended"):
        run(search, make_bowl(), jobs=1, seconds=0.0)
