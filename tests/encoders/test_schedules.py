import pytest

from recsys_ssl.encoders.schedules import WarmUpThenDecay


def test_rises_linearly_then_falls_exponentially():
    rate = WarmUpThenDecay(0.1, 1.0, 0.01, warmup_steps=10, steps=30)
    expected = {0: 0.1, 5: 0.1 + 0.9 * 5 / 10, 10: 1.0, 20: 1.0 * 0.01 ** (10 / 20), 30: 0.01, 99: 0.01}
    assert {step: float(rate(step)) for step in expected} == pytest.approx(expected, rel=1e-6)


def test_without_a_warm_up_it_starts_at_the_largest():
    rate = WarmUpThenDecay(0.1, 1.0, 0.5, warmup_steps=0, steps=2)
    assert [float(rate(step)) for step in range(3)] == pytest.approx([1.0, 0.5**0.5, 0.5])


def test_is_made_anew_from_its_config():
    rate = WarmUpThenDecay(0.1, 1.0, 0.01, 3, 9)
    assert WarmUpThenDecay.from_config(rate.get_config()).get_config() == rate.get_config()


@pytest.mark.parametrize("steps", [0, 5])
def test_the_warm_up_must_end(steps):
    with pytest.raises(ValueError, match="must end before the last step. Received: 5 of"):
        WarmUpThenDecay(0.1, 1.0, 0.1, 5, steps)


@pytest.mark.parametrize("rates", [(-0.1, 1.0, 0.1), (0.1, 0.0, 0.1), (0.1, 1.0, 0.0)])
def test_rates_must_be_positive(rates):
    with pytest.raises(ValueError, match="learning rates must be positive"):
        WarmUpThenDecay(*rates, 1, 5)
