"""SiT in pre-training: its views, that each objective has what it needs, and the teacher."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.image import losses
from recsys_ssl.encoders.image.objective import PRESETS
from recsys_ssl.encoders.image.settings import PretrainConfig
from recsys_ssl.encoders.image.sit import SiT, count_right, make_views, task_losses, task_weights, total_loss
from tests.encoders.image.made_batches import OTHER_SEED, SEED, make_images

IMAGES = make_images(6, 8)
SMALL = {"size": 8, "patch": 2, "dim": 8, "depth": 1, "num_heads": 2, "steps": 10, "warmup_share": 0.0}


def config_of(objective, **changes):
    return PretrainConfig(objective=objective, **SMALL | changes)


@pytest.fixture(scope="module")
def models():
    return {objective: SiT(config_of(objective)) for objective in PRESETS}


# --- Views -----------------------------------------------------------------------------------------------


def test_rotation_is_last_so_that_its_label_is_right():
    turned = make_views(IMAGES, config_of("v1"), SEED)
    upright = make_views(IMAGES, config_of("v1", rotation_weight=0.0), SEED)
    assert not upright.quarters.numpy().any()
    assert len(set(turned.quarters.numpy())) > 1
    for image, expected, quarter in zip(turned.clean.numpy(), upright.clean.numpy(), turned.quarters.numpy()):
        np.testing.assert_allclose(image, np.rot90(expected, quarter), atol=1e-6)


@pytest.mark.parametrize("objective", PRESETS)
def test_views_are_a_function_of_the_seed_and_differ_from_each_other(objective):
    config = config_of(objective)
    views = make_views(IMAGES, config, SEED)
    graph = tf.function(lambda seed: make_views(IMAGES, config, seed), autograph=False)
    for found, expected in zip(graph(SEED), views):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(views.clean) == 6 * config.chosen.num_views
    assert config.chosen.num_views == (1 if objective == "reconstruction" else 2)
    assert np.abs(views.clean - make_views(IMAGES, config, OTHER_SEED).clean).max() > 0.1
    if config.chosen.num_views == 2:
        assert (np.abs(views.clean[:6] - views.clean[6:]).max(axis=(1, 2, 3)) > 0.1).all()
    assert views.mask.numpy().any() == (objective != "contrast")


def test_blocks_of_another_image_are_never_of_the_other_view():
    config = config_of("v1", alien=0.9, least=1.0, noise=0.0, grey=0.0, blur=0.0, rotation_weight=0.0)
    views = make_views(IMAGES, config, SEED)
    clean, corrupted, mask = (part.numpy() for part in (views.clean, views.corrupted, views.mask))
    for row in np.flatnonzero(mask.any(axis=(1, 2, 3))):
        alike = [other for other in range(12) if (clean[other][mask[row]] == corrupted[row][mask[row]]).all()]
        assert len(alike) == 1
        assert alike[0] % 6 != row % 6
        assert alike[0] // 6 == row // 6


# --- Objectives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "tasks"),
    [
        ("contrast", {"contrast"}),
        ("reconstruction", {"reconstruction"}),
        ("v1", {"reconstruction", "contrast", "rotation"}),
        ("momentum", {"reconstruction", "contrast"}),
    ],
)
def test_an_objective_trains_the_heads_of_its_tasks(models, objective, tasks):
    model = models[objective]
    config, views = model.config, make_views(IMAGES, model.config, SEED)
    with tf.GradientTape() as tape:
        outputs = model(views, training=True)
        found = task_losses(outputs, views, config)
        loss = total_loss(model, found)
    assert set(found) == set(model.tasks) == set(task_weights(config)) == tasks
    gradients = tape.gradient(loss, model.trainable_variables)
    missing = [v.name for v, gradient in zip(model.trainable_variables, gradients) if gradient is None]
    assert missing == []
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    # Student, and nothing of the teacher.
    counted = {id(variable) for variable in model.trainable_variables}
    assert {id(variable) for variable in model.encoder.trainable_variables} <= counted
    assert (len(model.weights) > len(counted)) == (objective == "momentum")


def test_the_losses_are_those_of_the_outputs(models):
    model = models["v1"]
    views = make_views(IMAGES, model.config, SEED)
    outputs = model(views)
    found = task_losses(outputs, views, model.config)
    l1 = np.abs(outputs.reconstructed - views.clean).mean()
    assert float(found["reconstruction"]) == pytest.approx(l1, rel=1e-5)
    assert float(found["contrast"]) == pytest.approx(float(losses.nt_xent(*tf.split(outputs.contrast, 2), 0.5)))
    # exp(-a s) L + s / 2 with s = 1 at first, a = 1/2 of the L1 distance.
    expected = math.exp(-0.5) * l1 + math.exp(-1) * (float(found["contrast"]) + float(found["rotation"])) + 3 * 0.5
    assert float(total_loss(model, found)) == pytest.approx(expected, rel=1e-5)


def test_the_teacher_sees_the_other_clean_view(models):
    model = models["momentum"]
    views = make_views(IMAGES, model.config, SEED)
    outputs = model(views)
    found = task_losses(outputs, views, model.config)
    keys = model._teacher_contrast(model._teacher(views.clean).contrast)
    np.testing.assert_allclose(outputs.keys, keys, atol=1e-5)
    first, second = (
        losses.momentum_contrast(q, k, 0.2)
        for q, k in (
            (outputs.contrast[:6], keys[6:]),
            (outputs.contrast[6:], keys[:6]),
        )
    )
    assert float(found["contrast"]) == pytest.approx(float(first + second), rel=1e-5)
    mask = np.broadcast_to(views.mask, views.clean.shape)
    l1 = np.abs(outputs.reconstructed - views.clean)[mask].mean()
    assert float(found["reconstruction"]) == pytest.approx(l1, rel=1e-5)
    assert float(total_loss(model, found)) == pytest.approx(l1 + float(found["contrast"]), rel=1e-5)


def test_right_views_and_rotations_are_counted(models):
    model = models["v1"]
    views = make_views(IMAGES, model.config, SEED)
    outputs = model(views)
    told = outputs.rotation.numpy().argmax(axis=1)
    right = count_right(outputs, views)
    assert int(right["rotation"]) == (told == views.quarters.numpy()).sum()
    # The views of five images are alike; those of the sixth are nearer to others, without a tie that rounding decides.
    axes = np.eye(8, dtype=np.float32)
    first, other = axes[:6].copy(), axes[:6].copy()
    first[5] += axes[0] / 2
    other[5] = axes[4] + axes[6] / 2
    assert int(count_right(outputs._replace(contrast=tf.concat([first, other], 0)), views)["contrast"]) == 10


# --- Teacher ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 5, 10])
def test_the_teacher_follows_and_stands_at_the_end(step):
    model = SiT(config_of("momentum", momentum=0.9))
    pairs = [
        (teacher, student)
        for parts in model._pairs
        for teacher, student in zip(parts[0].weights, parts[1].weights, strict=True)
    ]
    before = [teacher.numpy() for teacher, _ in pairs]
    for (_, student), value in zip(pairs, before):
        np.testing.assert_array_equal(student, value)  # both begin alike
        student.assign_add(tf.ones_like(student))
    tf.function(model.move_teacher, autograph=False)(tf.constant(step, tf.int64))
    momentum = 1 - (1 - 0.9) * (1 + math.cos(math.pi * step / 10)) / 2
    assert {0: 0.9, 5: 0.95, 10: 1.0}[step] == pytest.approx(momentum)
    for (teacher, student), value in zip(pairs, before):
        np.testing.assert_allclose(teacher, momentum * value + (1 - momentum) * student, atol=1e-5)


# --- Settings --------------------------------------------------------------------------------------------


def test_what_is_set_overrides_the_objective():
    plain = config_of("momentum").chosen
    assert (plain.reconstruction_weight, plain.momentum, plain.temperature, plain.zeros) == (1.0, 0.996, 0.2, 0.5)
    changed = config_of("momentum", reconstruction_weight=5.0, masked_only=False, align=True).chosen
    assert changed == dataclasses.replace(plain, reconstruction_weight=5.0, masked_only=False, align=True)
    assert config_of("contrast", reconstruction_weight=0.0).chosen == config_of("contrast").chosen
    assert config_of("v1").sizes.rotation
    assert not config_of("v1", rotation_weight=0.0).sizes.rotation


@pytest.mark.parametrize(
    ("objective", "changes", "message"),
    [
        ("clusters", {}, "objective must be one of contrast, reconstruction, v1, momentum"),
        ("contrast", {"contrast_weight": 0.0}, "weights of losses must not be negative, and not all 0"),
        ("contrast", {"reconstruction_weight": 1.0}, "a reconstruction of corrupted pixels needs some"),
        ("reconstruction", {"momentum": 0.99}, "momentum must be in .* and needs a contrast"),
        ("v1", {"temperature": 0.0}, "temperature must be positive"),
        ("v1", {"noise": 1.0}, "noise must be in"),
        ("v1", {"least": 1.1}, "least must be in"),
        ("v1", {"min_side": 0.5}, "min_side <= max_side"),
        ("v1", {"head_layers": 0}, "head_layers must be in 1-10"),
        ("v1", {"weighting": "equal"}, "weighting must be one of"),
        ("v1", {"min_crop": 0.0}, "min_crop must be in"),
        ("v1", {"colour": 2.0}, "colour must be in"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else "",
)
def test_bad_settings(objective, changes, message):
    with pytest.raises(ValueError, match=message):
        config_of(objective, **changes)
