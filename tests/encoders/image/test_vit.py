"""The transformer against NumPy on its own weights, its published sizes, and its heads."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras
from scipy.special import erf, softmax

from recsys_ssl.encoders.dropout import DropoutSeed
from recsys_ssl.encoders.image import vit
from recsys_ssl.encoders.image.settings import EncoderConfig, ViTConfig

CONFIG = ViTConfig(size=6, channels=3, patch=2, dim=8, depth=2, num_heads=2, rotation=True, dropout=0.0)
IMAGES = np.random.default_rng(0).normal(size=[4, 6, 6, 3]).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    made = vit.VisionTransformer(CONFIG)
    rng = np.random.default_rng(1)
    # No bias is 0 and no scale 1, so that a forgotten one is found.
    made.set_weights([weight + 0.1 * rng.normal(size=weight.shape) for weight in made.get_weights()])
    return made


# --- Sizes -----------------------------------------------------------------------------------------------


def count_by_hand(dim, depth, size, patch, channels, own_tokens=1):
    """Weights without a classifier."""
    tokens = (size // patch) ** 2 + own_tokens
    embedding = patch * patch * channels * dim + dim + own_tokens * dim + tokens * dim
    attention = dim * 3 * dim + 3 * dim + dim * dim + dim
    perceptron = dim * 4 * dim + 4 * dim + 4 * dim * dim + dim
    return embedding + depth * (attention + perceptron + 2 * 2 * dim) + 2 * dim


@pytest.mark.parametrize(("name", "millions"), [("tiny", 5.5), ("small", 21.7), ("base", 85.8)])
def test_published_sizes(name, millions):
    config = EncoderConfig(vit=name, size=224, patch=16, channels=3).sizes
    found = sum(int(np.prod(weight.shape)) for weight in vit.VisionTransformer(config).weights)
    dim = ViTConfig.SIZES[name].dim
    assert found == count_by_hand(dim, 12, 224, 16, 3)
    assert found / 1e6 == pytest.approx(millions, abs=0.05)
    assert dim / ViTConfig.SIZES[name].num_heads == 64


def test_the_default_trains_on_a_cpu():
    config = EncoderConfig().sizes
    assert (config.size, config.patch, config.dim, config.depth, config.num_patches) == (28, 7, 128, 4, 16)
    found = sum(int(np.prod(weight.shape)) for weight in vit.VisionTransformer(config).weights)
    assert found == count_by_hand(128, 4, 28, 7, 1)


# --- Forward ---------------------------------------------------------------------------------------------


def encode_by_loop(weights, image):
    """[num_tokens, dim], one token and head at a time; weights by the last two parts of their names."""

    def norm(tokens, name):
        mean, variance = tokens.mean(axis=1, keepdims=True), tokens.var(axis=1, keepdims=True)
        return (tokens - mean) / np.sqrt(variance + 1e-6) * weights[f"{name}/gamma"] + weights[f"{name}/beta"]

    def dense(tokens, name):
        return tokens @ weights[f"{name}/kernel"] + weights[f"{name}/bias"]

    patches = [image[y : y + 2, x : x + 2].ravel() for y in (0, 2, 4) for x in (0, 2, 4)]
    tokens = np.concatenate([weights["tokens"][0], dense(np.array(patches), "patches")]) + weights["positions"][0]
    for number in range(CONFIG.depth):
        block = f"block_{number}"
        qkv = dense(norm(tokens, f"{block}/attention_norm"), f"{block}/qkv")
        heads = []
        for head in range(2):
            query, key, value = (qkv[:, 8 * part + 4 * head : 8 * part + 4 * head + 4] for part in range(3))
            attention = np.array([softmax(row) for row in query @ key.T / np.sqrt(4)])
            heads.append(attention @ value)
        tokens = tokens + dense(np.concatenate(heads, axis=1), f"{block}/out")
        hidden = dense(norm(tokens, f"{block}/mlp_norm"), f"{block}/hidden")
        hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
        tokens = tokens + dense(hidden, f"{block}/mlp_out")
    return norm(tokens, "norm")


def named_weights(model):
    """The weights by layer and name, which are unique but for those of blocks."""
    found = {"tokens": model._own_tokens, "positions": model._positions}
    layers = {"patches": model._project, "norm": model._norm}
    for number, block in enumerate(model._blocks):
        parts = (block._attention_norm, block._mlp_norm, block._qkv, block._out, *block._mlp)
        layers |= {f"block_{number}/{layer.name}": layer for layer in parts}
    for name, layer in layers.items():
        found |= {f"{name}/{weight.name.rpartition('/')[2].removesuffix(':0')}": weight for weight in layer.weights}
    return {name: weight.numpy() for name, weight in found.items()}


def test_tokens_are_those_of_a_loop(model):
    tokens = model(IMAGES)
    weights = named_weights(model)
    assert len(weights) == len(model.weights)
    for row, image in enumerate(IMAGES):
        expected = encode_by_loop(weights, image)
        np.testing.assert_allclose(tokens.contrast[row], expected[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(tokens.rotation[row], expected[1], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(tokens.data[row], expected[2:], rtol=1e-3, atol=1e-4)


def test_a_graph_says_the_same(model):
    spec = tf.TensorSpec([None, 6, 6, 3], tf.float32)
    found = tf.function(model.call, input_signature=[spec], autograph=False)(IMAGES)
    for ours, theirs in zip(found, model(IMAGES)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_there_is_no_rotation_token_unless_asked_for():
    made = vit.VisionTransformer(dataclasses.replace(CONFIG, rotation=False))
    tokens = made(IMAGES)
    assert tokens.rotation is None
    assert tokens.data.shape == (4, 9, 8)


def test_branches_are_left_out_of_whole_images_at_a_rate_that_rises():
    config = dataclasses.replace(CONFIG, depth=3, dropout=0.8)
    made = vit.VisionTransformer(config)
    assert [drop.rate for block in made._blocks for drop in block._drops] == pytest.approx([0, 0, 0.4, 0.4, 0.8, 0.8])
    DropoutSeed(made).reset(0, tf.constant(0, tf.int64))
    branch = np.random.default_rng(0).normal(size=[500, 3, 8]).astype(np.float32)
    kept = made._blocks[1]._drops[0](branch, training=True).numpy() / branch
    # Each image has all of its branch, scaled up by 1 / 0.6, or nothing.
    assert np.allclose(kept, kept[:, :1, :1], atol=1e-5)
    assert np.isclose(kept, 0).mean() == pytest.approx(0.4, abs=0.1)
    assert kept.max() == pytest.approx(1 / 0.6, rel=1e-5)
    np.testing.assert_array_equal(made(IMAGES).contrast, made(IMAGES, training=False).contrast)


# --- Patches and heads -----------------------------------------------------------------------------------


def test_patches_are_cut_out_row_by_row_and_put_back():
    patches = vit.to_patches(IMAGES, 2).numpy()
    np.testing.assert_array_equal(patches[1, 3 * 1 + 2], IMAGES[1, 2:4, 4:6].ravel())
    np.testing.assert_array_equal(vit.from_patches(patches, 2, 6), IMAGES)


def test_a_linear_reconstruction_is_a_transposed_convolution_of_each_patch():
    head = vit.Reconstruction(CONFIG, 1)
    data = np.random.default_rng(2).normal(size=[4, 9, 8]).astype(np.float32)
    kernel, bias = (weight + np.float32(0.1) for weight in head.get_weights())
    head.set_weights([kernel, bias])
    convolution = keras.layers.Conv2DTranspose(3, 2, strides=2, use_bias=False)
    convolution.build([None, 3, 3, 8])
    convolution.set_weights([kernel.reshape(8, 2, 2, 3).transpose(1, 2, 3, 0)])
    expected = convolution(data.reshape(4, 3, 3, 8)).numpy() + np.tile(bias.reshape(2, 2, 3), [3, 3, 1])
    np.testing.assert_allclose(head(data), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("num_layers", "shapes"), [(1, [(5, 3)]), (3, [(5, 7), (7, 7), (7, 3)])])
def test_a_perceptron_has_as_many_layers_as_told_and_a_linear_end(num_layers, shapes):
    made = vit.mlp(5, 7, 3, num_layers)
    assert [weight.shape for weight in made.get_weights()[::2]] == shapes
    x = np.random.default_rng(0).normal(size=[2, 5]).astype(np.float32)
    expected = x
    for layer, (kernel, bias) in enumerate(zip(made.get_weights()[::2], made.get_weights()[1::2]), start=1):
        expected = expected @ kernel + bias
        if layer < num_layers:
            expected = expected * 0.5 * (1 + erf(expected / np.sqrt(2)))
    np.testing.assert_allclose(made(x), expected, rtol=1e-4, atol=1e-6)


# --- Settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 257}, "size must be in 1-256"),
        ({"channels": 2}, "channels must be 1"),
        ({"patch": 5}, "patch must divide size"),
        ({"dim": 0}, "must be 1 or more"),
        ({"dim": 9}, "num_heads must divide dim"),
        ({"depth": 101}, "at most 100"),
        ({"dropout": 1.0}, "dropout must be in"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_sizes(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_an_unknown_name_of_sizes():
    with pytest.raises(ValueError, match="vit must be one of mini, tiny, small, base. Received: 'huge'"):
        EncoderConfig(vit="huge")
