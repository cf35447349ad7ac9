"""Pre-training of an encoder without labels: raw content in, an encoder out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from recsys_ssl import artifacts, kinds, seeds
from recsys_ssl.encoders import store
from recsys_ssl.encoders.config import PretrainConfig
from recsys_ssl.encoders.contract import Pretext, PretrainData
from recsys_ssl.encoders.pretrain_step import PretrainStep
from recsys_ssl.loop import Schedule, run_steps

Progress = Callable[[str, int, int, dict[str, float]], None]
"""Called with the phase ("train", or one of the kind's preparation), what is done of it, all of it, and the newest
figures, which only "train" has: it is told after each validation."""


@dataclasses.dataclass(frozen=True)
class PretrainResult:
    """What a finished run reports; speed and `seconds` count the training of this process only."""

    encoder_dir: str
    data: Any
    """The summary of the prepared content."""
    best_step: int
    last_step: int
    figures: dict[str, float]
    """Validation figures of the best step, whose weights the encoder has."""
    examples_per_second: float
    seconds: float


def pretrain(
    kind: str,
    source: str | os.PathLike,
    config: PretrainConfig,
    workdir: str | os.PathLike,
    workers: int = 1,
    progress: Progress | None = None,
    column: str | None = None,
) -> PretrainResult:
    """Pre-trains an encoder and writes the best of it, by validation loss, to WORKDIR/encoder.

    A run that finds prepared content, or a checkpoint, of the same content and settings in `workdir` goes on from it
    and ends with the same weights as one that was never interrupted: batches, targets and what the encoder draws are
    functions of the seed and the step. (On a GPU, sums in another order may differ in the last digits.)

    Args:
        kind: of content, see `kinds`.
        source: raw content, as the kind's `pretext` reads it.
        config: the kind's PretrainConfig.
        workdir: receives prepared content, checkpoints, TensorBoard events and the encoder.
        workers: processes that prepare.
        column: of the content in a file of several columns; None: the kind finds it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: too much is rejected, there is less than a batch or nothing to validate on, or the loss is not
            finite.
    """
    # --- Data ------------------------------------------------------------------------------------
    workdir, tell = Path(workdir), progress or (lambda *_: None)
    pretext: Pretext = kinds.load(kind, "pretext").PRETEXT
    data = pretext.prepare(
        Path(source),
        workdir / pretext.noun,
        config,
        workers,
        lambda phase, done, most: tell(phase, done, most, {}),
        column,
    )
    _check_sizes(data.summary, config, pretext.noun)

    # --- Model -----------------------------------------------------------------------------------
    seeds.set_initial_weights(config.seed)
    model = pretext.make_model(config, data)
    step = PretrainStep(model, pretext, config)
    validate = step.compile_validation(data.validation_batches(config))

    # --- Loop ------------------------------------------------------------------------------------
    fingerprint = _fingerprint(kind, config, data)
    outcome = run_steps(
        step,
        model,
        lambda first: _read_ahead(lambda now: data.train_batch(config, now), range(first, config.steps)),
        step.compile(),
        validate,
        Schedule(
            steps=config.steps,
            eval_every=config.eval_every,
            score="validation_loss",
            larger_is_better=False,
            examples_per_step=config.batch_size,
            advice="Lower pretrain.max_learning_rate.",
        ),
        workdir / "checkpoints" / fingerprint,
        workdir / "tensorboard" / fingerprint,
        lambda now, most, figures: tell("train", now, most, figures),
    )

    # --- Encoder ---------------------------------------------------------------------------------
    encoder_dir = workdir / artifacts.ENCODER_DIR
    store.save(model.encoder, kind, model.encoder.config, encoder_dir, config, data.files)
    result = PretrainResult(
        encoder_dir=str(encoder_dir),
        data=data.summary,
        best_step=outcome.best_step,
        last_step=outcome.last_step,
        figures=validate(),
        examples_per_second=outcome.examples_per_second,
        seconds=outcome.seconds,
    )
    content = artifacts.to_json(dataclasses.asdict(result) | {"config": config})
    artifacts.write_text(workdir / artifacts.PRETRAIN_RESULT_FILE, content)
    return result


def _check_sizes(summary: Any, config: PretrainConfig, noun: str) -> None:
    if summary.num_train < config.batch_size:
        raise ValueError(
            f"a batch must not be larger than the {noun} to train on. Received: batch_size={config.batch_size}, "
            f"{summary.num_train} {noun}. Set pretrain.batch_size to at most {max(1, summary.num_train // 4)}."
        )
    if not summary.num_validation:
        raise ValueError(
            f"there must be {noun} to validate on. Received: none of {summary.num_train} {noun}. "
            f"Give more {noun} or raise pretrain.validation_share."
        )


def _read_ahead(make: Callable[[int], Any], steps: Iterable[int]) -> Iterator[Any]:
    """Makes the next batch in a thread while the last one is trained on."""
    with ThreadPoolExecutor(1) as thread:
        coming = None
        for step in steps:
            ready, coming = coming, thread.submit(make, step)
            if ready is not None:
                yield ready.result()
        if coming is not None:
            yield coming.result()


def _fingerprint(kind: str, config: PretrainConfig, data: PretrainData) -> str:
    """Names a run by what it is made of: settings and prepared content."""
    facts = [kind, dataclasses.asdict(config), data.name]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
