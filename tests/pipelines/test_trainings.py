import dataclasses

import pytest

from pipelines.config import configure_training, list_trainings, parse_overrides
from pipelines.trainings import name_training, parse_training


def test_trainings_are_named_by_their_arm_and_number():
    config = parse_overrides(["evaluation.seeds=3"])
    assert list_trainings(config, "control") == ["control", "control.2", "control.3"]
    assert list_trainings(parse_overrides([]), "treatment") == ["treatment"]
    for arm in ("control", "treatment"):
        for number in (1, 2, 10, 20):
            assert parse_training(name_training(arm, number)) == (arm, number)


@pytest.mark.parametrize(
    "name", ["both", "control.1", "control.0", "control.02", "treatment.21", "control.2.2", ".2", ""]
)
def test_another_name_is_an_error(name):
    with pytest.raises(ValueError, match=r"must be control or treatment.* with \.2 to \.20 behind it\. Received: "):
        parse_training(name)


def test_a_training_differs_from_its_arm_in_the_seed_alone():
    config = parse_overrides(["train.seed=4", "control.steps=7"])
    assert configure_training(config, "control") == config.control
    assert configure_training(config, "treatment.3") == dataclasses.replace(config.train, seed=6)
    assert configure_training(config, "control.2") == dataclasses.replace(config.control, seed=5)
