"""A study end to end: budgets, repeats, failures, fresh seeds, kills; objectives are cheap functions."""

import itertools
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsys_ssl.tuning.config import SearchConfig, SearchError
from recsys_ssl.tuning.space import Ladder, LogUniform, Uniform
from recsys_ssl.tuning.study import Study
from recsys_ssl.tuning.trials import open_storage

ROOT = Path(__file__).parents[2]
SPACE = {"x": Uniform(-1.0, 1.0), "y": LogUniform(0.01, 1.0)}
FEW = {"x": Ladder((1, 2)), "y": Ladder((1, 2))}


def bowl(request):
    return request.settings["x"] ** 2 + math.log10(request.settings["y"] * 10) ** 2


def make(storage=None, space=SPACE, larger_is_better=False, name="s", most_reports=None, **changes):
    config = SearchConfig(**{"sampler": "random", "trials": 8, **changes})
    return Study(open_storage(storage), name, "about", space, config, larger_is_better, most_reports)


# --- Budget -------------------------------------------------------------------------------------------


def test_a_search_ends_with_the_asked_trials_and_can_be_asked_for_more(tmp_path):
    path = tmp_path / "journal.log"
    assert make(path).search(bowl) == 8
    assert make(path).search(bowl) == 0
    study = make(path, trials=12)
    assert study.search(bowl, most=3) == 3
    assert study.search(bowl) == 1
    assert [trial.slot for trial in study.read().trials] == list(range(12))


def test_no_trial_is_begun_after_the_time(tmp_path):
    def slow(request):
        time.sleep(0.2)
        return bowl(request)

    study = make(trials=None)
    assert study.search(slow, seconds=0.0) == 0
    assert 1 <= study.search(slow, seconds=0.5) <= 3
    assert study.search(slow, seconds=100.0, most=2) == 2


@pytest.mark.parametrize("larger_is_better", [True, False])
def test_the_best_is_the_best(larger_is_better):
    study = make(larger_is_better=larger_is_better, trials=20, fresh_seeds=0)
    study.search(bowl)
    found = study.read()
    choose = max if larger_is_better else min
    assert found.best.score == choose(trial.score for trial in found.trials)
    assert found.best_so_far() == list(itertools.accumulate((trial.score for trial in found.trials), choose))


def test_a_study_is_of_one_space_sampler_and_seed(tmp_path):
    make(tmp_path / "j")
    for changes in ({"seed": 1}, {"sampler": "tpe"}, {"space": FEW}, {"pruner": "median"}):
        with pytest.raises(ValueError, match="a study has one space, sampler, pruner, seed"):
            make(tmp_path / "j", **changes)
    make(tmp_path / "j", trials=9)
    make(tmp_path / "j", name="another", seed=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampler": "grid"}, "sampler must be one of random, tpe, tpe-multivariate, cmaes"),
        ({"pruner": "all"}, "pruner must be one of none, median, hyperband"),
        ({"trials": 0}, "trials must be at least 1"),
        ({"top": 0}, "top must be at least 1"),
        ({"fresh_seeds": -1}, "fresh_seeds must be at least 0"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        SearchConfig(**changes)


# --- Repeats and failures -----------------------------------------------------------------------------


def test_a_point_that_was_tried_is_answered_from_the_first_time():
    asked = []

    def objective(request):
        asked.append(tuple(request.settings.values()))
        if request.settings == {"x": 2, "y": 2}:
            raise ValueError("too large")
        request.report(1, 0.5)
        return request.settings["x"] + request.settings["y"]

    study = make(space=FEW, trials=30)
    assert study.search(objective) == 30
    assert sorted(asked) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    trials = study.read().trials
    first = {trial.slot: trial for trial in trials if trial.repeats is None}
    assert len(first) == 4
    for trial in trials:
        of = first[trial.slot if trial.repeats is None else trial.repeats]
        assert (trial.settings, trial.score, trial.state, trial.reason, trial.reports) == (
            (of.settings, of.score, of.state, of.reason, of.reports)
        )


def test_a_failed_trial_has_its_reason_and_the_search_goes_on():
    answers = iter(
        [math.nan, ValueError("the loss must be finite. Received: nan."), 1.0, TypeError("x"), math.inf, 2.0]
    )

    def objective(request):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    study = make(trials=6, fresh_seeds=0)
    study.search(objective)
    assert [(trial.state, trial.reason) for trial in study.read().trials] == [
        ("failed", "ValueError: the score must be finite. Received: nan."),
        ("failed", "ValueError: the loss must be finite. Received: nan."),
        ("complete", None),
        ("failed", "TypeError: x"),
        ("failed", "ValueError: the score must be finite. Received: inf."),
        ("complete", None),
    ]
    assert study.read().best.score == 1.0


@pytest.mark.parametrize(("trials", "run"), [(8, 5), (3, 3)])
def test_if_all_of_the_first_fail_one_error_says_why(trials, run):
    asked = []

    def objective(request):
        asked.append(request)
        raise ValueError("train.batch_size must be positive.")

    message = f"the first {run} points must succeed. Received: {run} failures, the last: ValueError: train.batch_size"
    with pytest.raises(SearchError, match=message):
        make(trials=trials).search(objective)
    assert len(asked) == run


def test_one_point_that_is_drawn_again_and_again_is_one_failure():
    """The first five draws of this seed are all of the value that fails."""

    def objective(request):
        if request.settings["x"] == 1:
            raise ValueError("x is 1")
        return 1.0

    study = make(space={"x": Ladder((1, 2))}, seed=35, trials=20, fresh_seeds=0)
    assert study.search(objective) == 20
    found = study.read()
    assert [trial.state for trial in found.trials[:5]] == ["failed"] * 5
    assert found.best.score == 1.0


def test_a_small_space_of_failures_ends_too():
    def objective(request):
        raise ValueError("no point works")

    with pytest.raises(SearchError, match="Received: 2 failures, the last: ValueError: no point works"):
        make(space={"x": Ladder((1, 2))}, trials=None).search(objective, seconds=60.0)


def test_importance_is_for_those_who_ask():
    study = make(trials=20, fresh_seeds=0)
    study.search(bowl)
    assert study.read().importance == {}
    assert set(study.read(with_importance=True).importance) == {"x", "y"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), MemoryError(), KeyboardInterrupt()])
def test_what_says_nothing_of_the_settings_ends_the_search_and_its_trial_is_run_again(error):
    study, answers = make(trials=2), iter([1.0, error])

    def objective(request):
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    with pytest.raises(type(error)):
        study.search(objective)
    assert [trial.state for trial in study.read().trials] == ["complete"]
    assert study.search(bowl) == 1
    assert [(trial.slot, trial.state) for trial in study.read().trials] == [(0, "complete"), (1, "complete")]


# --- Fresh seeds --------------------------------------------------------------------------------------


def test_the_winner_is_by_the_mean_of_fresh_seeds_and_not_by_luck():
    """Of four points the truly worst is the luckiest in the search."""
    truth = {(1, 1): 4.0, (1, 2): 3.0, (2, 1): 2.0, (2, 2): 1.0}
    luck = {(1, 1): 0.0, (1, 2): 0.5, (2, 1): 2.5, (2, 2): 5.0}

    def objective(request):
        point = tuple(request.settings.values())
        return truth[point] + (luck[point] if request.seed == 0 else (request.seed - 2) * 0.1)

    study = make(space=FEW, trials=30, top=3, fresh_seeds=3, larger_is_better=True)
    study.search(objective)
    assert study.read().best is None
    assert study.rescore(objective, most=4) == 4
    assert study.rescore(objective) == 5
    assert study.rescore(objective) == 0
    found = study.read()
    assert [tuple(each.settings.values()) for each in found.candidates] == [(2, 2), (2, 1), (1, 1)]
    assert found.candidates[0].scores == pytest.approx((0.9, 1.0, 1.1))
    assert [each.mean for each in found.candidates] == pytest.approx([1.0, 2.0, 4.0])
    assert found.candidates[0].deviation == pytest.approx(0.1)
    assert tuple(found.best.settings.values()) == (1, 1)


def test_a_candidate_that_fails_with_a_fresh_seed_does_not_win():
    def objective(request):
        if request.seed == 2 and request.settings["x"] == 1:
            return math.nan
        return float(request.settings["x"])

    study = make(space=FEW, trials=30, top=4, fresh_seeds=2)
    study.search(objective)
    study.rescore(objective)
    assert study.read().candidates[0].mean is None
    assert study.read().best.settings["x"] == 2


# --- Kills --------------------------------------------------------------------------------------------

# Each trial says where it is, and the one that is told to hang does.
WORKER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_study import bowl, make

def objective(request):
    name = Path({told!r}, f"{{request.slot}}-{{time.monotonic_ns()}}")
    name.write_text("")
    while Path({told!r}, "hang").exists() and request.slot == "3":
        time.sleep(0.05)
    return bowl(request)

make({path!r}, sampler={sampler!r}, trials=14).search(objective)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a worker on a study in tmp_path; those that are left at the end are killed."""
    (tmp_path / "told").mkdir()
    workers = []

    def start(path, sampler="random"):
        facts = {"tests": str(Path(__file__).parent), "told": str(tmp_path / "told"), "path": str(path)}
        script = WORKER.format(**facts, sampler=sampler)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        workers.append(subprocess.Popen([sys.executable, "-c", script], env=environment))
        return workers[-1]

    yield start
    for worker in workers:
        if worker.poll() is None:
            worker.kill()
            worker.wait()


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("url", ["{}/journal.log", "sqlite:///{}/study.db"], ids=["journal", "sqlite"])
def test_two_processes_share_a_study_of_which_one_is_killed(start, tmp_path, url):
    path, told = url.format(tmp_path), tmp_path / "told"
    (told / "hang").touch()
    make(path, trials=14)
    workers = [start(path), start(path)]
    # One hangs in slot 3; the other does all else and waits.
    wait_for(lambda: len({name.name.split("-")[0] for name in told.glob("*-*")}) == 14)
    (hanging,) = [trial for trial in make(path, trials=14)._trials[1].list_trials() if not trial.state.is_finished()]
    pid = hanging.user_attrs["owner"]["pid"]
    os.kill(pid, signal.SIGKILL)
    (told / "hang").unlink()
    (victim,) = [worker for worker in workers if worker.pid == pid]
    (survivor,) = [worker for worker in workers if worker.pid != pid]
    assert victim.wait(60) == -signal.SIGKILL
    assert survivor.wait(60) == 0
    trials = make(path, trials=14).read().trials
    assert [(trial.slot, trial.state) for trial in trials] == [(slot, "complete") for slot in range(14)]
    assert [len(list(told.glob(f"{slot}-*"))) for slot in range(14)] == [1, 1, 1, 2, *[1] * 10]
    assert all(trial.score == bowl(trial) for trial in trials)


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_killed_search_goes_on_as_if_it_had_not_been_killed(start, tmp_path, sampler):
    path, told = tmp_path / "journal.log", tmp_path / "told"
    (told / "hang").touch()
    worker = start(path, sampler)
    wait_for(lambda: list(told.glob("3-*")))
    worker.kill()
    worker.wait()
    killed, unharmed = make(path, sampler=sampler, trials=14), make(sampler=sampler, trials=14)
    assert killed.search(bowl) == 11
    unharmed.search(bowl)
    points = [
        [(trial.slot, trial.settings, trial.score) for trial in study.read().trials] for study in (killed, unharmed)
    ]
    assert points[0] == points[1]


@pytest.mark.parametrize("sampler", ["random", "tpe"])
@pytest.mark.parametrize("pruner", ["median", "hyperband"])
def test_what_is_pruned_is_the_same_over_a_kill(tmp_path, sampler, pruner):
    def search(path, dies_at):
        begun = []

        def objective(request):
            begun.append(request.slot)
            for count in range(1, 10):
                if len(begun) == dies_at:
                    raise KeyboardInterrupt
                request.report(count, bowl(request) + 10 - count)
            return bowl(request)

        while True:
            study = make(path, sampler=sampler, pruner=pruner, trials=20, most_reports=9)
            try:
                study.search(objective)
            except KeyboardInterrupt:
                continue
            return [(trial.slot, trial.state, trial.settings, trial.reports) for trial in study.read().trials]

    unharmed = search(tmp_path / "unharmed.log", dies_at=0)
    assert {state for _, state, *_ in unharmed} == {"complete", "pruned"}
    assert search(tmp_path / "killed.log", dies_at=4) == unharmed
