"""What is trained to measure the gain of a search: the recommender of the demo, and a small encoder of images.

All trainings of a subject cost about the same, whatever the settings: the recommender's batches are not searched, and
an encoder of images reads as many images in larger or smaller batches.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.claims import ROOT
from recsys_ssl.encoders.image.space import PRETRAIN
from recsys_ssl.tuning.space import Space


class Scores(NamedTuple):
    """Of one training; the greater the better."""

    validation: float
    test: float | None
    """None where it was not read."""


Train = Callable[[Mapping[str, Any], int, bool], Scores]
"""Settings, a seed, and whether the test is read -> scores."""


class Subject(NamedTuple):
    """What is trained, on what."""

    space: Space
    data: str
    """Names the content of the data set."""
    train: Train


RECOMMENDER = "movielens-100k"
HAND_SET = ("train.temperature=0.2", "train.batch_size=512", "train.ssl.batch_size=256")
"""The demo's settings as they were once chosen by hand, the defaults of this study."""
HAND_SET_RATES = {"max_learning_rate": 1e-3, "final_learning_rate": 1e-4}
"""The learning rates of SiT as they were once chosen by hand; with `trials.hand_set` the defaults of this study."""
_WORK = ROOT / "build" / "tuning"
_FIXED = ("batch_size", "ssl.batch_size")


def make_recommender(data: Path | None, steps: int) -> Subject:
    """The treatment on the log of `make demo`, with what was once set by hand there as the defaults.

    Scores are Recall@50.

    Args:
        data: not read; the log lies in `build/data/movielens-100k`.
        steps: of a training.
    """
    import tf_keras as keras

    from benchmarks.evidence.datasets import prepare
    from pipelines.config import parse_overrides
    from recsys_ssl.evaluation.metrics import recall
    from recsys_ssl.settings import change
    from recsys_ssl.training.space import make_space
    from recsys_ssl.training.train import fit
    from recsys_ssl.training.validation import Validator

    prepared = prepare(RECOMMENDER)
    demo = change("train", parse_overrides(HAND_SET).train, {"steps": steps})

    def train(settings: Mapping[str, Any], seed: int, is_test: bool) -> Scores:
        config = change("train", demo, {**settings, "seed": seed})
        checkpoints = _WORK / "checkpoints"
        shutil.rmtree(checkpoints, ignore_errors=True)
        fitted = fit(prepared.spec, config, prepared.inputs, str(checkpoints))
        test = None
        if is_test:
            of_test = Validator(prepared.spec, prepared.inputs.interactions_dir, fitted.catalogue, None, 0, "test")
            hits, pairs = recall(of_test.rank(fitted.model, k=1).ranks, of_test.task.positive_offsets, 50)
            test = float(hits.sum() / pairs.sum())
        shutil.rmtree(checkpoints)
        keras.backend.clear_session()
        return Scores(fitted.outcome.best_score, test)

    space = {name: of for name, of in make_space(prepared.spec, demo).items() if name not in _FIXED}
    return Subject(space, RECOMMENDER, train)


def make_sit(data: Path | None, images: int) -> Subject:
    """Pre-training of SiT (`vit=mini`) by `contrast` on Fashion-MNIST, with what was once set by hand as the defaults.

    Scores are the accuracy of a linear probe.

    The last 10,000 training images, in an order of a seed, are validation and never trained on; the probe is fitted to
    10,000 others.

    Args:
        data: directory of the IDX files.
        images: that a training reads, an image once for each of its two views.
    """
    import tf_keras as keras

    from benchmarks.images import training
    from benchmarks.images.datasets import read_labelled
    from benchmarks.images.trials import Trial, hand_set, split
    from recsys_ssl.encoders.image.settings import PretrainConfig
    from recsys_ssl.evaluation import probes

    if data is None:
        raise ValueError("sit needs --data, the directory of the IDX files of Fashion-MNIST. Received none.")
    whole = read_labelled(data)
    parts = split(whole, Trial("tune", "contrast", 0, whole.digest, 0.0, (0, 0), (0.0, 0.0)))
    fit_on = parts.train_labels[:_PROBED]
    size, channels = parts.train_images.shape[2:]

    def train(settings: Mapping[str, Any], seed: int, is_test: bool) -> Scores:
        batch_size = settings.get("batch_size", PretrainConfig.batch_size)
        changed = {**hand_set("contrast"), **HAND_SET_RATES, **settings}
        own = {**changed, "seed": seed, "steps": max(images // batch_size, 2)}
        config = PretrainConfig(objective="contrast", size=size, channels=channels, **own)
        encoder, take = training.make_pretraining(parts.train_images, config)
        for step in range(config.steps):
            take(step)
        known = probes.Labelled(training.encode(encoder, parts.train_images[:_PROBED]), fit_on)

        def judge(pictures: np.ndarray, labels: np.ndarray) -> float:
            held_out = probes.Labelled(training.encode(encoder, pictures), labels)
            return probes.linear(known, held_out, [seed]).mean

        validation = judge(parts.test_images, parts.test_labels)
        test = judge(whole.test_images, whole.test_labels) if is_test else None
        keras.backend.clear_session()
        return Scores(validation, test)

    return Subject(PRETRAIN, whole.digest, train)


_PROBED = 10_000


class Kind(NamedTuple):
    """A subject in the study."""

    make: Callable[[Path | None, int], Subject]
    trials: int
    """Of the search."""
    amount: int
    """Steps of the recommender, images of the encoder."""


KINDS: Mapping[str, Kind] = {
    "recommender": Kind(make_recommender, 24, 600),
    "sit": Kind(make_sit, 10, 16_384),
}
