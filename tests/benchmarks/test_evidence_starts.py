import numpy as np
import pytest

from benchmarks.evidence import starts
from benchmarks.evidence.measurements import render_starts
from benchmarks.evidence.starts import ARMS, SEEDS, Start, change_factors
from benchmarks.evidence.trials import Trial

VECTORS = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0], [1.0, 0.0]], np.float32)
"""Of lengths 5, 0 (without factors), 2 and 1."""


def lengths(vectors):
    return np.linalg.norm(vectors, axis=1).tolist()


def test_a_change_takes_away_what_it_says():
    rng = np.random.default_rng(0)
    directions = change_factors(VECTORS, "directions", rng)
    np.testing.assert_allclose(directions, [[0.6, 0.8], [0, 0], [0, 1], [1, 0]], rtol=1e-6)
    drawn = change_factors(VECTORS, "lengths", rng)
    assert lengths(drawn) == pytest.approx([5.0, 0.0, 2.0, 1.0])
    assert not np.allclose(drawn[[0, 2, 3]], VECTORS[[0, 2, 3]])
    strangers = change_factors(VECTORS, "strangers", np.random.default_rng(1))
    assert sorted(map(tuple, strangers)) == sorted(map(tuple, VECTORS))
    assert strangers[1].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(change_factors(VECTORS, "", rng), VECTORS)


@pytest.fixture
def tuned(monkeypatch):
    best = {"random_start": {"learning_rate": 0.2}, "none": {"learning_rate": 0.02}}
    monkeypatch.setattr(starts, "search", lambda done, dataset, share, arm: (best[arm], []))


def finish(planned, score):
    return [Start(**{**vars(each), "curve": {"75": 0.1, "150": score(each)}, "seconds": 1.0}) for each in planned]


def test_each_arm_differs_in_one_thing_and_the_best_rate_gets_all_seeds(tuned):
    planned = starts.plan([], [], ["movielens-small"])
    of = {(each.arm, each.rate): dict(each.settings) for each in planned}
    assert {each.seed for each in planned} == {SEEDS[0]}
    assert of["random", 0.0] == {"learning_rate": 0.2, "start.ids": "random", "steps": 600}
    assert of["factors", 0.0] == {"learning_rate": 0.02, "start.ids": "factors", "steps": 600}
    assert of["directions", 0.0] == of["strangers", 0.0] == of["factors", 0.0]
    assert of["still", 0.0] == of["factors", 0.0] | {"learning_rate": 1e-9, "steps": 1}
    assert of["lengths", 0.0] == of["random", 0.0] | {"start.ids": "factors"}
    assert of["longer", 0.0] == of["random", 0.0] | {"steps": 2400}
    assert [rate for arm, rate in of if arm == "adam"] == list(ARMS["adam"].rates)
    done = finish(planned, lambda each: 0.5 - abs(each.rate - 3e-3))
    later = starts.plan(done, [], ["movielens-small"])
    assert {(each.arm, each.seed) for each in later} == {(arm, seed) for arm in ARMS for seed in SEEDS[1:]}
    assert {each.rate for each in later if each.arm == "adam"} == {3e-3}
    assert starts.plan([*done, *finish(later, lambda each: 0.4)], [], ["movielens-small"]) == []


def test_the_table_shows_the_first_validation_and_the_best(tuned):
    done = finish(starts.plan([], [], ["frappe"]), lambda each: 0.5 - abs(each.rate - 3e-3))
    done += finish(starts.plan(done, [], ["frappe"]), lambda each: 0.4)
    lines = render_starts(starts.summarise(done)).splitlines()
    assert lines[0] == "| Ids start | Frappe, step 75 | best |"
    (adam,) = (line for line in lines if line.startswith("| at random, by Adam"))
    # 0.5, 0.4 and 0.4: a mean of 43.33, and Student's 4.303 of two degrees times 0.0577 / sqrt(3).
    assert adam == "| at random, by Adam | 10.00 | 43.33 ± 14.34 (rate 0.003) |"
    assert "not measured" in render_starts(None)


def test_within_the_change_the_towers_start_elsewhere_and_step_by_adam(monkeypatch):
    from recsys_ssl.training import start, step

    adagrad = step.keras.optimizers.legacy.Adagrad
    monkeypatch.setattr(start, "_factorise", lambda *arguments: (VECTORS, VECTORS))
    with starts.change_start("directions", 0), starts.change_optimizer(0.01, 100):
        queries, items = start._factorise()
        assert lengths(queries) == lengths(items) == pytest.approx([1.0, 0.0, 1.0, 1.0])
        optimizer = step.keras.optimizers.legacy.Adagrad(0.1, 1e-5)
        assert isinstance(optimizer, step.keras.optimizers.legacy.Adam)
        assert float(optimizer.learning_rate(50)) == pytest.approx(0.005)
    assert step.keras.optimizers.legacy.Adagrad is adagrad
    with starts.change_optimizer(0.0, 100):
        assert step.keras.optimizers.legacy.Adagrad is adagrad


def test_a_log_that_was_not_tuned_is_named(monkeypatch):
    monkeypatch.setattr(starts, "search", lambda *arguments: ({}, [Trial("tune", "frappe", "none")]))
    with pytest.raises(ValueError, match="random_start of frappe must have been tuned"):
        starts.plan([], [], ["frappe"])
