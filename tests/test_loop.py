"""The loop of all training on a model of one weight, which walks along a line."""

import dataclasses
import math
import os
import re
from types import SimpleNamespace

import pytest
import tensorflow as tf
import tf_keras as keras

from recsys_ssl.artifacts import DamagedError
from recsys_ssl.loop import Schedule, run_steps

SCHEDULE = Schedule(
    steps=10, eval_every=2, score="distance", larger_is_better=False, examples_per_step=4, advice="Walk slower."
)


class Walker(keras.Model):
    def __init__(self):
        super().__init__()
        self.place = self.add_weight(name="place", shape=[], initializer="zeros")


class Walk(tf.Module):
    """Adds each batch, a number, to the place; the velocity is a part of the state that the model does not have."""

    def __init__(self):
        super().__init__()
        self.model, self.step = Walker(), tf.Variable(0, dtype=tf.int64)
        self.velocity = tf.Variable(0.0)

    def take(self, batch):
        self.velocity.assign(0.5 * self.velocity + batch)
        self.model.place.assign_add(self.velocity)
        self.step.assign_add(1)
        return {"loss": self.model.place * 1.0}


def run(directory, goal=3.0, end=None, batches=lambda step: 1.0, log_dir=None, scores=None, **changes):
    """Walks towards a goal; `end` raises at the validation of that step, `scores` takes the place of distances."""
    walk, told, firsts = Walk(), [], []

    def make_batches(first):
        firsts.append(first)
        return (batches(step) for step in range(first, 10**6))

    def validate():
        if int(walk.step) == end:
            raise KeyboardInterrupt
        return {"distance": abs(float(walk.model.place) - goal) if scores is None else next(scores)}

    schedule = dataclasses.replace(SCHEDULE, **changes)
    progress = lambda *news: told.append(news)  # noqa: E731
    outcome = run_steps(walk, walk.model, make_batches, walk.take, validate, schedule, directory, log_dir, progress)
    return SimpleNamespace(outcome=outcome, told=told, place=float(walk.model.place), firsts=firsts)


def places(steps):
    """Where the walk is after each step, the first counted as 0."""
    velocity, place, found = 0.0, 0.0, [0.0]
    for _ in range(steps):
        velocity = 0.5 * velocity + 1.0
        place += velocity
        found.append(place)
    return found


def test_the_best_weights_are_kept_and_every_validation_is_told(tmp_path):
    done = run(tmp_path)
    distances = {step: abs(places(10)[step] - 3.0) for step in (2, 4, 6, 8, 10)}
    assert done.outcome.best_step == min(distances, key=distances.get) == 2
    assert done.outcome.best_score == pytest.approx(distances[2])
    assert done.outcome.last_step == 10
    assert done.place == pytest.approx(places(10)[2])
    assert [(step, most) for step, most, _ in done.told] == [(step, 10) for step in distances]
    for step, _, figures in done.told:
        assert figures["distance"] == pytest.approx(distances[step])
        assert figures["loss"] == pytest.approx(places(10)[step])
        assert figures["examples_per_second"] > 0
    assert done.told[-1][2]["seconds_left"] == 0


def test_a_larger_score_may_be_the_better_one(tmp_path):
    done = run(tmp_path, larger_is_better=True)
    assert done.outcome.best_step == 10
    assert done.place == pytest.approx(places(10)[10])


@pytest.mark.parametrize("larger_is_better", [False, True])
def test_without_a_score_every_step_is_taken_and_the_last_weights_are_kept(tmp_path, larger_is_better):
    changes = {"score": None, "patience": 1, "larger_is_better": larger_is_better}
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, end=6, **changes)
    done = run(tmp_path, **changes)
    assert (done.firsts, done.place) == ([4], pytest.approx(places(10)[10]))
    outcome = done.outcome
    assert (outcome.score, outcome.best_score, outcome.best_step, outcome.last_step) == (None, None, 10, 10)
    assert not outcome.still_improves


@pytest.mark.parametrize(
    ("scores", "larger_is_better", "improves"),
    [
        # Validations after 2, 4, ... of 10 steps: the first four are of the first four fifths.
        ([0.1, 0.2, 0.3, 0.400, 0.405], True, True),
        ([0.1, 0.2, 0.3, 0.400, 0.403], True, False),
        ([0.4, 0.2, 0.3, 0.100, 0.405], True, True),
        ([0.1, 0.2, 0.5, 0.400, 0.450], True, False),
        ([0.0, 0.0, 0.0, 0.000, 0.001], True, True),
        ([0.0, 0.0, 0.0, 0.000, 0.000], True, False),
        ([0.9, 0.8, 0.7, 0.600, 0.593], False, True),
        ([0.9, 0.8, 0.7, 0.600, 0.595], False, False),
    ],
)
@pytest.mark.parametrize("killed", [False, True])
def test_a_score_still_improves_if_the_last_is_the_best_and_clearly_above_the_earlier(
    tmp_path, scores, larger_is_better, improves, killed
):
    left = iter(scores)
    changes = {"larger_is_better": larger_is_better, "scores": left}
    if killed:
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, end=10, **changes)
    assert run(tmp_path, **changes).outcome.still_improves == improves


@pytest.mark.parametrize("changes", [{"eval_every": 10}, {"patience": 1, "scores": iter([0.3, 0.2])}])
def test_of_one_validation_or_an_early_end_no_improvement_is_told(tmp_path, changes):
    assert not run(tmp_path, larger_is_better=True, **changes).outcome.still_improves


@pytest.mark.parametrize("steps", [9, 10])
def test_the_last_step_is_validated_whatever_the_interval(tmp_path, steps):
    assert [step for step, _, _ in run(tmp_path, steps=steps, eval_every=4).told] == [4, 8, steps]


def test_a_killed_run_goes_on_at_its_checkpoint_and_ends_like_an_unharmed_one(tmp_path):
    unharmed = run(tmp_path / "unharmed", goal=12.0, batches=lambda step: 1.0 + step % 3)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", goal=12.0, end=6, batches=lambda step: 1.0 + step % 3)
    resumed = run(tmp_path / "killed", goal=12.0, batches=lambda step: 1.0 + step % 3)
    assert (unharmed.firsts, resumed.firsts) == ([0], [4])
    assert [step for step, _, _ in resumed.told] == [6, 8, 10]
    assert resumed.place == unharmed.place
    names = ("best_step", "best_score", "last_step")
    assert [getattr(resumed.outcome, n) for n in names] == [getattr(unharmed.outcome, n) for n in names]


@pytest.mark.parametrize(
    ("pattern", "size"),
    [("latest/ckpt-*.index", 9), ("latest/ckpt-*.data-*", 9), ("latest/checkpoint", 0), ("best/ckpt-*.data-*", 9)],
)
def test_a_checkpoint_that_is_cut_off_says_what_to_delete(tmp_path, pattern, size):
    run(tmp_path)
    (path,) = tmp_path.glob(pattern)
    os.truncate(path, size)
    with pytest.raises(DamagedError, match=rf"is damaged.* Delete {re.escape(str(tmp_path))} and run"):
        run(tmp_path)


def test_a_finished_run_is_not_gone_on_with(tmp_path):
    first, again = run(tmp_path), run(tmp_path)
    assert again.told == []
    assert again.place == first.place
    assert again.outcome.last_step == 10


@pytest.mark.parametrize(("patience", "last"), [(1, 4), (2, 6), (None, 10)])
def test_a_run_ends_when_nothing_gets_better(tmp_path, patience, last):
    assert run(tmp_path, patience=patience).outcome.last_step == last
    # Also one that is started again.
    assert run(tmp_path, patience=patience).told == []


@pytest.mark.parametrize("batch", [math.inf, math.nan])
def test_a_loss_that_is_not_finite_ends_the_run_and_leaves_no_checkpoint_of_it(tmp_path, batch):
    with pytest.raises(ValueError, match=r"the loss must be finite\. Received: .* at step 6\. Walk slower\."):
        run(tmp_path, batches=lambda step: batch if step == 5 else 1.0)
    assert run(tmp_path).firsts == [4]


@pytest.mark.parametrize("goal", [math.inf, math.nan])
def test_a_score_that_is_not_finite_ends_the_run(tmp_path, goal):
    with pytest.raises(ValueError, match=r"distance must be finite\. Received: (inf|nan) at step 2\. Walk slower\."):
        run(tmp_path, goal=goal)
    assert run(tmp_path).firsts == [0]


def test_tensorboard_has_every_figure(tmp_path):
    done = run(tmp_path / "checkpoints", log_dir=tmp_path / "logs")
    logged = {}
    for path in (tmp_path / "logs").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                logged[event.step, value.tag] = tf.make_ndarray(value.tensor).item()
    told = {(step, name): value for step, _, figures in done.told for name, value in figures.items()}
    assert logged == pytest.approx(told, rel=1e-5)
