"""The simulation of coverage: its logs are of the situation that they are named for, and its counts are right."""

from itertools import product

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.coverage import SITUATIONS, Cell, Situation


def find(pairs, metric, effect):
    return SITUATIONS[SITUATIONS.index(Situation(pairs, metric, effect))]


@pytest.mark.parametrize("situation", [each for each in SITUATIONS if each.pairs != "zipf"], ids=str)
def test_logs_have_the_difference_that_the_intervals_must_cover(situation):
    control, treatment, pairs = coverage.draw_logs(np.random.default_rng(3), situation, 200, 500)
    of_log = (treatment - control).sum(axis=0) / pairs.sum(axis=0)
    difference, relative = coverage.find_truth(situation, 200, blocks=5)
    error = of_log.std() / np.sqrt(500)
    assert (treatment - control).sum() / pairs.sum() == pytest.approx(difference, abs=4 * error)
    assert treatment.sum() / control.sum() - 1 == pytest.approx(relative, abs=4 * error * pairs.sum() / control.sum())
    assert (difference == 0) == (situation.effect in ("null", "spread", "spread_control", "rare_null"))
    assert ((control <= pairs) & (treatment <= pairs)).all()
    differs = np.mean(treatment != control)
    assert (differs < 0.06) == situation.effect.startswith("rare")


def test_pairs_are_as_uneven_as_they_say():
    rng = np.random.default_rng(0)
    for pairs, share in (("one", 1.0), ("lognormal", 0.37)):
        drawn = coverage.draw_pairs(rng, pairs, (20_000, 1))
        assert drawn.sum() ** 2 / np.square(drawn).sum() / 20_000 == pytest.approx(share, rel=0.1)
    assert coverage.draw_pairs(rng, "zipf", (5, 2)).T.tolist() == [[5, 2, 2, 1, 1]] * 2


def test_swapping_agrees_with_all_swaps():
    gain = np.array([[1.0, 2], [0, 1], [-2, 1], [3, 1], [1, 0]])
    pairs = np.array([[1.0, 2], [1, 1], [2, 1], [3, 1], [1, 1]])

    def studentise(of, d):
        return abs(of.sum()) / np.sqrt(np.square(of - of.sum() / d.sum() * d).sum())

    plain, studentised = coverage.swap_arms(gain, pairs, np.random.default_rng(0), 20_000)
    swaps = [np.array(signs) for signs in product([-1, 1], repeat=5)]
    for log in range(2):
        of, d = gain[:, log], pairs[:, log]
        expected = np.mean([abs((signs * of).sum()) >= abs(of.sum()) - 1e-9 for signs in swaps])
        assert plain[log] == pytest.approx(expected, abs=0.015)
        expected = np.mean([studentise(signs * of, d) >= studentise(of, d) - 1e-9 for signs in swaps])
        assert studentised[log] == pytest.approx(expected, abs=0.015)


def test_a_cell_is_refused_or_counts_the_logs_that_show_an_interval():
    for situation, num_queries in ((find("one", "recall", "null"), 30), (find("zipf", "recall", "lift"), 200)):
        assert coverage.simulate(situation, num_queries, 200) == Cell(0.0, None, None, None, None)
    cell = coverage.simulate(find("one", "recall", "null"), 60, 500)
    assert cell.shown > 0.99
    assert 0.92 < cell.coverage <= 1.0
    assert all(0 < size < 0.08 for size in (cell.p_size, cell.swap_size, cell.studentised_size))
    some = coverage.simulate(find("one", "graded", "rare"), 200, 200)
    assert 0.2 < some.shown < 0.6
    assert some.p_size is None
    assert [coverage.describe(each) for each in (cell, Cell(0.0, None, None, None, None))] == [
        f"{cell.coverage:.3f}",
        "refused",
    ]


def test_seeds_are_refused_like_one_and_cover():
    assert coverage.simulate_seeds("lognormal", 60, 3, 100) is None
    assert 0.9 < coverage.simulate_seeds("one", 100, 2, 100) <= 1.0
