"""The one loop that trains: towers, pre-training and fine-tuning alike, resumable at every validation."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import tensorflow as tf
import tf_keras as keras

from recsys_ssl import artifacts

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each validation with the step, the most steps and the newest figures."""


class State(Protocol):
    """A tf.Module with everything that a step changes, so that a checkpoint holds it."""

    step: tf.Variable
    """Scalar int64, steps taken."""


_EARLIER = 0.8
_GAIN = 0.01
_LATEST = "latest"


@dataclass(frozen=True)
class Schedule:
    """How long a run goes, and what it is judged by.

    Attributes:
        steps: the most steps.
        eval_every: steps between validations, each of which ends with a checkpoint.
        score: the figure of a validation that decides which weights are the best; None: there is no validation, and
            the last weights are kept.
        larger_is_better: whether a larger score is.
        patience: validations without a better score after which the run ends; None: it never ends early.
        examples_per_step: for the speed.
        advice: what to do when the loss is not finite.
    """

    steps: int
    eval_every: int
    score: str | None
    larger_is_better: bool
    examples_per_step: int
    advice: str
    patience: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What a finished run reports; speed and `seconds` count this process only."""

    score: str | None
    """The figure that `best_score` is of; both are None where there was no validation, and `best_step` is the last."""
    best_step: int
    best_score: float | None
    last_step: int
    still_improves: bool
    """Whether more steps would probably give a better score: the last validation of all steps is the best, and more
    than 1% better than the best of the first four fifths."""
    examples_per_step: int
    examples_per_second: float
    seconds: float


def run_steps(
    state: State,
    model: keras.Model,
    make_batches: Callable[[int], Iterator[Any]],
    take: Callable[[Any], dict[str, tf.Tensor]],
    validate: Callable[[], dict[str, float]],
    schedule: Schedule,
    directory: str | os.PathLike,
    log_dir: str | os.PathLike | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Trains to the last step, or until the score has stopped getting better, and leaves the best weights in `model`.

    Without a score every step is taken, and the last weights are left.

    A run that finds a checkpoint in `directory` goes on from it. It ends like one that was never interrupted if batches
    and draws are functions of the seed and the step.

    Args:
        state: what `take` advances; its `step` grows by one a call.
        model: what a validation judges, part of the state.
        make_batches: first step, counted from 0 -> the batches from there on.
        take: takes one optimiser step and returns the scalar losses before it, `loss` among them.
        validate: figures of the model as it is, the score among them.
        directory: receives the checkpoints `latest` and `best`; another for each run.
        log_dir: receives TensorBoard events; None writes none.
        progress: also hears `examples_per_second` and `seconds_left`.

    Raises:
        ValueError: the loss of a validation's step, or its score, is not finite; no checkpoint has it.
        DamagedError: a checkpoint cannot be read.
    """
    sign = 1.0 if schedule.larger_is_better else -1.0
    best_score, best_step = tf.Variable(-sign * math.inf, dtype=tf.float64), tf.Variable(0, dtype=tf.int64)
    earlier_score = tf.Variable(-sign * math.inf, dtype=tf.float64)  # the best of the first four fifths
    checkpoint = tf.train.Checkpoint(
        train=state, best_score=best_score, best_step=best_step, earlier_score=earlier_score
    )
    kept = tf.train.Checkpoint(model=model)
    advice = f"Delete {directory} and run the same command again; it trains from the beginning."
    with artifacts.reading(directory, advice):
        latest = tf.train.CheckpointManager(checkpoint, os.path.join(directory, _LATEST), max_to_keep=1)
        best = tf.train.CheckpointManager(kept, os.path.join(directory, "best"), max_to_keep=1)
        latest.restore_or_initialize()

    first_step, started = int(state.step), time.perf_counter()
    writer = tf.summary.create_file_writer(str(log_dir)) if log_dir else tf.summary.create_noop_writer()
    batches = make_batches(first_step)
    now = first_step
    while now < schedule.steps and not _is_stale(now, int(best_step), schedule):
        losses = take(next(batches))
        now += 1
        if now % schedule.eval_every and now != schedule.steps:
            continue
        figures = {name: float(value) for name, value in losses.items()}
        if not math.isfinite(figures["loss"]):
            raise ValueError(f"the loss must be finite. Received: {figures} at step {now}. {schedule.advice}")
        figures |= validate()
        score = figures[schedule.score] if schedule.score else sign * now  # without a validation the last is the best
        if not math.isfinite(score):
            raise ValueError(f"{schedule.score} must be finite. Received: {score} at step {now}. {schedule.advice}")
        if sign * score > sign * float(best_score):
            best_score.assign(score)
            best_step.assign(now)
            best.save(now)
        if now <= _EARLIER * schedule.steps:
            earlier_score.assign(best_score)
        latest.save(now)
        seconds = time.perf_counter() - started
        figures["examples_per_second"] = (now - first_step) * schedule.examples_per_step / seconds
        figures["seconds_left"] = (schedule.steps - now) * seconds / (now - first_step)
        with writer.as_default(step=now):
            for name, value in figures.items():
                tf.summary.scalar(name, value)
        writer.flush()
        if progress is not None:
            progress(now, schedule.steps, figures)

    seconds = time.perf_counter() - started
    with artifacts.reading(directory, advice):
        tf.train.Checkpoint(model=model).restore(best.latest_checkpoint).expect_partial()
    speed = (now - first_step) * schedule.examples_per_step / seconds
    gain, earlier = sign * (float(best_score) - float(earlier_score)), float(earlier_score)
    rises = int(best_step) == schedule.steps and math.isfinite(earlier) and gain > _GAIN * abs(earlier)
    return Outcome(
        score=schedule.score,
        best_step=int(best_step),
        best_score=float(best_score) if schedule.score else None,
        last_step=now,
        still_improves=rises and schedule.score is not None,
        examples_per_step=schedule.examples_per_step,
        examples_per_second=speed,
        seconds=seconds,
    )


def has_begun(directory: str | os.PathLike) -> bool:
    """Whether `run_steps` would go on from a checkpoint there, whatever weights the model starts with."""
    return tf.train.latest_checkpoint(os.path.join(directory, _LATEST)) is not None


def _is_stale(now: int, best_step: int, schedule: Schedule) -> bool:
    if schedule.patience is None or not best_step:
        return False
    return now - best_step >= schedule.patience * schedule.eval_every
