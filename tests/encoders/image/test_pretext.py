"""Pre-training on handwritten digits: batches, that vectors get better, and that a killed run goes on."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier

from recsys_ssl import seeds
from recsys_ssl.encoders import store
from recsys_ssl.encoders.image.pretext import PRETEXT, ImagePretext, PretrainData, _check_rejected
from recsys_ssl.encoders.image.settings import PretrainConfig
from recsys_ssl.encoders.image.views import normalise, to_pixels
from recsys_ssl.encoders.pretrain import pretrain
from recsys_ssl.encoders.pretrain_step import PretrainStep

NUM_TRAIN = 1200
# Digits must not be mirrored.
CONFIG = PretrainConfig(
    size=8,
    patch=2,
    dim=16,
    depth=2,
    num_heads=2,
    flip=False,
    min_crop=0.5,
    dropout=0.0,
    batch_size=64,
    steps=300,
    eval_every=300,
    max_learning_rate=5e-3,
    validation_size=150,
)
TINY = dataclasses.replace(CONFIG, dim=8, depth=1, steps=4, eval_every=2, batch_size=8, dropout=0.3, validation_size=10)


@pytest.fixture(scope="module")
def digits():
    """Images [1797, 8, 8, 1] uint8, 1200 to train on, 197 to validate on, and labels."""
    loaded = load_digits()
    images = np.round(loaded.images * 255 / 16).astype(np.uint8)[..., np.newaxis]
    prepared = SimpleNamespace(
        name="digits",
        train=images[:NUM_TRAIN],
        validation=images[NUM_TRAIN : NUM_TRAIN + 197],
        rejected={"no_image": 3},
    )
    return SimpleNamespace(images=images, labels=loaded.target, data=PretrainData(prepared))


@pytest.fixture
def eagerly():
    """A few steps cost less than tracing them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


# --- Batches ---------------------------------------------------------------------------------------------


def test_an_epoch_has_every_image_once_and_any_step_can_be_the_first(digits):
    config = dataclasses.replace(TINY, batch_size=400, seed=3)
    first = [digits.data.train_batch(config, step) for step in range(6)]
    for epoch in (first[:3], first[3:]):
        found = np.concatenate(epoch).reshape(NUM_TRAIN, -1)
        np.testing.assert_array_equal(
            np.unique(found, axis=0), np.unique(digits.images[:NUM_TRAIN].reshape(NUM_TRAIN, -1), axis=0)
        )
    assert (first[0] != first[3]).any()
    again = PretrainData(SimpleNamespace(name="", train=digits.images[:NUM_TRAIN], validation=[], rejected={}))
    np.testing.assert_array_equal(again.train_batch(config, 4), first[4])
    assert (again.train_batch(dataclasses.replace(config, seed=4), 4) != first[4]).any()


def test_validation_reads_some_images_the_same_each_time(digits):
    config = dataclasses.replace(TINY, batch_size=8, validation_size=20)
    batches = digits.data.validation_batches(config)
    assert [len(batch) for batch in batches] == [8, 8, 4]
    for batch, again in zip(batches, digits.data.validation_batches(config)):
        np.testing.assert_array_equal(batch, again)


def test_the_summary_counts_what_was_rejected(digits):
    assert digits.data.summary.rejected == {"no_image": 3}
    _check_rejected(digits.data.summary, 3 / 1400)
    with pytest.raises(ValueError, match="Received: 3 no_image of 1,400"):
        _check_rejected(digits.data.summary, 2.9 / 1400)
    with pytest.raises(ValueError, match="no file at all"):
        _check_rejected(dataclasses.replace(digits.data.summary, num_train=0, num_validation=0, rejected={}), 1.0)


# --- Learning --------------------------------------------------------------------------------------------


def nearest_neighbour_accuracy(encoder, digits):
    """Of the last 400 digits among the first 1200, by cosine of standardised vectors."""
    vectors = encoder.embed(normalise(to_pixels(digits.images))).numpy()
    vectors = (vectors - vectors[:NUM_TRAIN].mean(axis=0)) / (vectors[:NUM_TRAIN].std(axis=0) + 1e-6)
    nearest = KNeighborsClassifier(1, metric="cosine").fit(vectors[:NUM_TRAIN], digits.labels[:NUM_TRAIN])
    return nearest.score(vectors[-400:], digits.labels[-400:])


def test_contrast_makes_better_vectors_than_chance_does(digits):
    seeds.set_initial_weights(CONFIG.seed)
    model = PRETEXT.make_model(CONFIG, digits.data)
    step = PretrainStep(model, PRETEXT, CONFIG)
    validate = step.compile_validation(digits.data.validation_batches(CONFIG))
    untrained, figures_before = nearest_neighbour_accuracy(model.encoder, digits), validate()
    take = step.compile()
    for number in range(CONFIG.steps):
        take(digits.data.train_batch(CONFIG, number))
    figures = validate()
    assert nearest_neighbour_accuracy(model.encoder, digits) > untrained + 0.15
    assert figures["validation_loss"] < figures_before["validation_loss"] - 0.5
    assert figures["validation_contrast_top1"] > 5 / (2 * CONFIG.batch_size - 1)  # five times chance


@pytest.mark.usefixtures("eagerly")
def test_a_killed_run_goes_on_as_if_nothing_had_been(digits, tmp_path, monkeypatch):
    """The teacher and learned variances are kept too; of all these weights only the encoder's are left in the end."""
    changes = {"objective": "momentum", "weighting": "uncertainty", "rotation_weight": 1.0}
    config, dies = dataclasses.replace(TINY, **changes), False
    make_model, take, made = ImagePretext.make_model, PretrainStep.take, []

    def keep_model(*arguments):
        made.append(make_model(*arguments))
        return made[-1]

    def take_or_die(step, batch):
        # A step after a checkpoint is lost.
        if dies and int(step.step) == 3:
            raise KeyboardInterrupt
        return take(step, batch)

    monkeypatch.setattr(ImagePretext, "prepare", lambda *_: digits.data)
    monkeypatch.setattr(ImagePretext, "make_model", keep_model)
    monkeypatch.setattr(PretrainStep, "take", take_or_die)
    unharmed = pretrain("image", "", config, tmp_path / "unharmed")
    dies = True
    with pytest.raises(KeyboardInterrupt):
        pretrain("image", "", config, tmp_path / "killed")
    dies = False
    result = pretrain("image", "", config, tmp_path / "killed")
    assert (result.best_step, result.figures) == (unharmed.best_step, unharmed.figures)
    for ours, theirs in zip(made[0].get_weights(), made[2].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)

    loaded = store.load(result.encoder_dir, "image")
    assert loaded.config == config.sizes
    assert store.read_pretraining(result.encoder_dir) == config
    for ours, theirs in zip(loaded.get_weights(), made[2].encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.usefixtures("eagerly")
def test_a_figure_is_a_mean_over_batches(digits):
    model = PRETEXT.make_model(TINY, digits.data)
    batches = digits.data.validation_batches(TINY)
    means = [PRETEXT.summarise({name: float(v) for name, v in PRETEXT.evaluate(model, b).items()}) for b in batches]
    validate = PretrainStep(model, PRETEXT, TINY).compile_validation(batches)
    figures = validate()
    for name in ("loss", "contrast", "contrast_top1"):
        expected = np.average([mean[name] for mean in means], weights=[8, 2])
        assert figures[f"validation_{name}"] == pytest.approx(expected, rel=1e-4)
    pixels = normalise(to_pixels(np.concatenate(batches))).numpy()
    expected = np.mean([np.abs(pixels - pixels.mean(axis=0))])
    assert figures["validation_mean_image_l1"] == pytest.approx(expected, rel=1e-5)
