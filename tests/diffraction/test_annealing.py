"""When beta rises, stops, and goes back."""

import math

import pytest

from recsys_ssl.diffraction.annealing import Annealing, first_beta, judge, rise


def run(likelihoods, factor=2.0, patience=2, beta=0.1):
    """The betas of iterations whose volumes have these held-out likelihoods, and where the best was taken up again."""
    annealing, betas, back = Annealing(beta, is_rising=True), [], []
    for place, held_out in enumerate(likelihoods):
        betas.append(annealing.beta)
        annealing, _ = judge(annealing, held_out)
        annealing, goes_back = rise(annealing, held_out, factor, patience)
        if goes_back:
            back.append(place)
    return betas, back, annealing


def test_beta_rises_while_the_likelihood_does_and_ends_at_one():
    betas, back, annealing = run([-9.0, -8.0, -7.0, -6.0, -5.0])
    assert betas == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])
    assert back == []
    assert annealing.is_rising


def test_a_plateau_does_not_end_the_rise():
    """A symmetric volume explains held-out patterns as well at any beta, until it is left."""
    betas, back, _ = run([-9.0, -9.0, -9.0, -9.00001, -9.0])
    assert betas == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])
    assert back == []


def test_falls_in_a_row_end_it_at_the_best():
    betas, back, annealing = run([-9.0, -5.0, -6.0, -7.0, -4.0])
    assert betas == pytest.approx([0.1, 0.2, 0.4, 0.8, 0.2])
    assert back == [3]
    assert annealing.best == -4.0  # is still taken note of
    assert not annealing.is_rising


def test_a_single_fall_is_forgiven():
    betas, back, _ = run([-9.0, -5.0, -6.0, -4.0, -5.0])
    assert betas == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0])
    assert back == []


def test_iterations_at_a_beta_are_counted():
    annealing = Annealing(0.1, is_rising=True)
    for held_out in (-9.0, -8.0, -8.5):
        annealing, _ = judge(annealing, held_out)
    assert annealing.held == 3
    assert rise(annealing, -8.5, 2.0, 2)[0].held == 0


def test_the_first_beta_falls_with_the_photons():
    assert first_beta(1400) == pytest.approx(math.exp(-6.5 * 0.014**0.15))
    assert first_beta(6000) == pytest.approx(math.exp(-6.5 * 0.06**0.15))
    assert first_beta(1400) > first_beta(6000)
    assert first_beta(0) == 1.0
