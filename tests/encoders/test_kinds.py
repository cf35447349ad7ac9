"""What holds of every kind of content; a new kind is a row of `SAMPLES`."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

from recsys_ssl import kinds, seeds
from recsys_ssl.encoders import store
from recsys_ssl.encoders.contract import Mask, Pass
from recsys_ssl.encoders.dropout import DropoutSeed
from tests.encoders.image.made_images import as_uri, encode, noise

SEED, OTHER_SEED = tf.constant([5, 7], tf.int64), tf.constant([5, 8], tf.int64)


class Sample(NamedTuple):
    sound: list
    """Raw content of five records that differ."""
    bad: dict
    """Raw content that gives none -> its reason."""
    sizes: dict
    """Settings of an encoder that is made in no time."""


SAMPLES = {
    "molecule": Sample(
        ["CCO", "c1ccccc1", "CC(=O)O", "CN", "C1CC1C"],
        {"C1CC": "unparsable", " ": "empty"},
        {"hidden_dim": 8, "num_heads": 2, "depth": 2},
    ),
    "image": Sample(
        [as_uri(encode(noise(28, 28, seed=number))) for number in range(5)],
        {"none.png": "no_file", "data:image/png;base64,AAAA": "no_image"},
        {"dim": 8, "num_heads": 2, "depth": 1},
    ),
}


@pytest.fixture(scope="module", params=list(kinds.KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def sample(kind):
    return SAMPLES[kind]


@pytest.fixture(scope="module")
def module(kind):
    return kinds.load(kind, "encoder")


@pytest.fixture(scope="module")
def encoder(kind, module, sample):
    seeds.set_initial_weights(0)
    return module.make(kinds.load(kind, "settings").EncoderConfig(**sample.sizes))


@pytest.fixture(scope="module")
def packed(kind, sample):
    """[5] bytes."""
    lists, reasons = kinds.load(kind, "column").read(pa.array([[text] for text in sample.sound], to_lists()))
    assert reasons == {}
    return [values[0] for values in lists.to_pylist()]


@pytest.fixture(scope="module")
def content(module, packed):
    """Seven records, the third and the last without content."""
    return module.unpack(tf.constant([*packed[:2], b"", *packed[2:], b""]))


def to_lists():
    return pa.large_list(pa.large_string())


def shown(content):
    return content.gather(tf.where(content.present())[:, 0])


# --- Reading ---------------------------------------------------------------------------------------------


def test_bad_content_is_told_and_missing_content_stays_missing(kind, sample):
    cells = [[], [sample.sound[0]], *([text] for text in sample.bad)]
    lists, reasons = kinds.load(kind, "column").read(pa.array(cells, to_lists()))
    assert [len(values) for values in lists.to_pylist()] == [0, 1, *[0] * len(sample.bad)]
    found = {row: reason for reason, mask in reasons.items() for row in np.flatnonzero(mask).tolist()}
    assert found == {2 + i: reason for i, reason in enumerate(sample.bad.values())}


# --- Content ---------------------------------------------------------------------------------------------


def test_missing_content_stays_missing(content):
    present = [True, True, False, True, True, True, False]
    assert content.present().numpy().tolist() == present
    rows = [6, 0, 2, 2, 5]
    assert content.gather(tf.constant(rows, tf.int64)).present().numpy().tolist() == [present[row] for row in rows]


def test_contents_lie_one_after_the_other(module, packed, encoder):
    parts = [module.unpack(tf.constant(part)) for part in ([*packed[:2], b""], [b""], packed[2:])]
    whole = module.concat(parts)
    assert whole.present().numpy().tolist() == [True, True, False, False, True, True, True]
    expected = encoder.encode(module.unpack(tf.constant(packed)))
    np.testing.assert_allclose(encoder.encode(shown(whole)), expected, rtol=1e-4, atol=1e-5)


# --- Vectors ---------------------------------------------------------------------------------------------


def test_vectors_differ_and_do_not_depend_on_the_other_records(encoder, content):
    vectors = encoder.encode(shown(content)).numpy()
    assert vectors.shape == (5, encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert min(np.abs(a - b).max() for i, a in enumerate(vectors) for b in vectors[:i]) > 1e-4
    rows = [5, 0, 5]
    found = encoder.encode(content.gather(tf.constant(rows, tf.int64))).numpy()
    np.testing.assert_allclose(found, vectors[[4, 0, 4]], rtol=1e-4, atol=1e-5)


def test_no_record_gives_no_vector(encoder, content):
    assert encoder.encode(content.gather(tf.zeros([0], tf.int64))).shape == (0, encoder.dim)


def test_a_seed_draws_a_view_and_a_view_keeps_its_shape(encoder, content):
    whole = encoder.encode(shown(content)).numpy()
    one, again, other = (
        encoder.encode(shown(content), Pass(mask=Mask(0.5, seed))).numpy() for seed in (SEED, SEED, OTHER_SEED)
    )
    assert one.shape == whole.shape
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-5
    assert np.abs(one - whole).max() > 1e-5


@pytest.mark.parametrize("how", ["whole", "masked", "training"])
def test_graph_and_eager_vectors_agree(encoder, content, how):
    passes = {"whole": Pass(), "masked": Pass(mask=Mask(0.3, SEED)), "training": Pass(SEED, Mask(0.3, SEED))}[how]
    dropout = DropoutSeed(encoder)

    def encode(content):
        dropout.reset(3, tf.constant(4, tf.int64))
        return encoder.encode(content, passes)

    expected = encode(shown(content))
    found = tf.function(encode, autograph=False)(shown(content))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_gradients_reach_the_encoder(encoder, content):
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder.encode(shown(content), Pass(SEED, Mask(0.3, SEED))) ** 2)
    gradients = [gradient for gradient in tape.gradient(loss, encoder.trainable_variables) if gradient is not None]
    assert len(gradients) > 0
    assert all(np.isfinite(gradient).all() for gradient in map(tf.convert_to_tensor, gradients))


# --- Files -----------------------------------------------------------------------------------------------


def test_a_saved_encoder_gives_the_same_vectors(kind, module, sample, encoder, content, tmp_path):
    settings = kinds.load(kind, "settings")
    pretraining = settings.PretrainConfig(**sample.sizes)
    store.save(encoder, kind, encoder.config, tmp_path / "encoder", pretraining)
    assert store.read_kind(tmp_path / "encoder") == kind
    assert store.read_pretraining(tmp_path / "encoder") == pretraining
    expected = encoder.encode(shown(content)).numpy()
    in_a_tower = module.make(settings.EncoderConfig(pretrained=str(tmp_path / "encoder")))
    for loaded in (store.load(tmp_path / "encoder", kind), in_a_tower):
        np.testing.assert_allclose(loaded.encode(shown(content)), expected, rtol=1e-5, atol=1e-6)


def test_an_embedder_gives_the_vectors_of_the_tower(kind, sample, encoder, content):
    embedder = kinds.load(kind, "embed").Embedder(encoder)
    assert embedder.dim == encoder.dim
    vectors = embedder.embed(sample.sound)
    np.testing.assert_allclose(vectors, encoder.encode(shown(content)), rtol=1e-4, atol=1e-5)
    rejected = []
    stream = embedder.embed_stream([sample.sound[1], *sample.bad, sample.sound[3]], rejected, 1)
    found = list(stream)
    assert np.concatenate([batch.rows for batch in found]).tolist() == [0, 1 + len(sample.bad)]
    assert [(line.row, line.reason) for line in rejected] == [(1 + i, r) for i, r in enumerate(sample.bad.values())]
    np.testing.assert_allclose(np.concatenate([b.vectors for b in found]), vectors[[1, 3]], rtol=1e-4, atol=1e-5)


def test_settings_are_dataclasses_with_the_shared_ones(kind):
    settings = kinds.load(kind, "settings")
    names = {field.name for field in dataclasses.fields(settings.EncoderConfig)}
    assert names >= {"pretrained", "learning_rate", "dropout"}
    with pytest.raises(ValueError, match="learning_rate must not be negative"):
        settings.EncoderConfig(learning_rate=-1.0)


def test_another_kind_or_part_is_an_error(kind):
    with pytest.raises(ValueError, match="a kind must be one of "):
        kinds.load("film", "encoder")
    with pytest.raises(ValueError, match=f"kind '{kind}' has no colour"):
        kinds.load(kind, "colour")
