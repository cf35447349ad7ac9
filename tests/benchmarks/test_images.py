"""The study of images on made ones: files, labels that are drawn, budgets, rates that are chosen, trials and tables."""

import contextlib
import dataclasses
import gzip
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.claims import load
from benchmarks.images import costs, run, tables, trials
from benchmarks.images.datasets import FILES, read_labelled
from benchmarks.images.trials import (
    ARMS,
    BUDGET,
    FINETUNED,
    LABEL_RATES,
    OBJECTIVES,
    RATES,
    SUPERVISED,
    UNTRAINED,
    Trial,
    count_steps,
    draw_labelled,
    read_trials,
    run_trial,
    split,
)

TINY = {"batch_size": 8, "vit": "mini", "patch": 4, "dim": 8, "depth": 1, "num_heads": 2}


def write_idx(path, array, pack=False):
    content = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if pack else content)


def make_part(num, rng):
    """Images of three classes, each light in another third."""
    labels = (np.arange(num) % 3).astype(np.uint8)
    images = rng.integers(0, 100, [num, 12, 12]).astype(np.uint8)
    for image, label in zip(images, labels):
        image[4 * label : 4 * label + 4] += 100
    return images, labels


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    top, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for part, num in (("train", 90), ("test", 30)):
        images, labels = make_part(num, rng)
        write_idx(top / FILES[f"{part}_images"], images)
        write_idx(top / f"{FILES[f'{part}_labels']}.gz", labels, pack=True)
    return top


def test_idx_files_are_read_plain_and_packed(directory):
    data = read_labelled(directory)
    images, labels = make_part(90, np.random.default_rng(0))
    np.testing.assert_array_equal(data.train_images, images[..., np.newaxis])
    np.testing.assert_array_equal(data.train_labels, labels)
    assert (data.test_images.shape, data.test_labels.shape) == ((30, 12, 12, 1), (30,))
    assert data.digest == read_labelled(directory.parent).digest  # found below, too


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "must hold train-images-idx3-ubyte, plain or .gz. Received: no such file"),
        (b"PK\3\4", "must be an IDX file of bytes"),
        (b"\0\0\x08\x01" + struct.pack(">I", 4) + b"abc", "must have .* values. Received: 3"),
        (b"\0\0\x08\x01" + struct.pack(">I", 3) + b"abc", "train must have square images and as many labels"),
    ],
    ids=["missing", "other", "cut", "labels"],
)
def test_files_that_cannot_be_used(directory, tmp_path, content, message):
    for path in directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    images = tmp_path / FILES["train_images"]
    images.unlink() if content is None else images.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_labelled(tmp_path)


def test_a_share_of_each_class_is_drawn_by_the_seed():
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    rows = draw_labelled(labels, 0.1, 1)
    assert np.bincount(labels[rows]).tolist() == [10, 5, 1]
    np.testing.assert_array_equal(rows, draw_labelled(labels, 0.1, 1))
    assert rows.tolist() != draw_labelled(labels, 0.1, 2).tolist()
    np.testing.assert_array_equal(draw_labelled(labels, 1.0, 1), np.arange(153))


COSTS = {"reconstruction": 0.25, "contrast": 0.5, "v1": 0.6, "momentum": 0.8, "classifier": 0.2}


def score(trial, value):
    name = "accuracy" if trial.steps[1] else "linear"
    return dataclasses.replace(trial, metrics={name: value})


def test_a_budget_pays_for_steps_by_their_costs():
    arms = ("pixels", "contrast", "momentum", "supervised_1", "finetuned_1")
    assert [count_steps(arm, 12.0, COSTS) for arm in arms] == [(0, 0), (24, 0), (15, 0), (0, 60), (12, 30)]


def test_rates_are_chosen_on_validation_before_the_test(directory):
    data = read_labelled(directory)
    plan = run.Plan(data.digest, 60.0, 12.0, COSTS)
    first = plan.list_pending([], list(ARMS), 2)
    assert [(trial.purpose, trial.arm) for trial in first if trial.purpose == "test"] == [
        ("test", arm) for _ in range(2) for arm in UNTRAINED
    ]
    tuning = [trial for trial in first if trial.purpose == "tune"]
    assert {trial.arm for trial in tuning} == {*OBJECTIVES, *SUPERVISED}  # fine-tuning waits for contrast
    assert {trial.rates for trial in tuning if trial.arm == "v1"} == {(rate, 0.0) for rate in RATES}
    # The second rate is the best of each; of equals the smallest is taken.
    best = {(RATES[1], 0.0), (0.0, LABEL_RATES[1])}
    done = [score(trial, 0.6 if trial.rates in best else 0.5) for trial in first]
    second = plan.list_pending(done, list(ARMS), 2)
    finetuned = [trial for trial in second if trial.purpose == "tune"]
    assert {trial.rates for trial in finetuned} == {(RATES[1], rate) for rate in LABEL_RATES}
    tests = [trial for trial in second if trial.purpose == "test"]
    assert {trial.rates for trial in tests} == best
    done += [score(trial, 0.5) for trial in second]
    third = plan.list_pending(done, list(ARMS), 2)
    assert {trial.arm for trial in third} == set(FINETUNED)
    assert {trial.rates for trial in third} == {(RATES[1], LABEL_RATES[0])}
    done += [score(trial, 0.5) for trial in third]
    assert plan.list_pending(done, list(ARMS), 2) == []
    # More classifiers than encoders: those of the first ones stay, the others take an encoder that is there.
    shared = run.Plan(data.digest, 60.0, 12.0, COSTS, encoders=2)
    more = shared.list_pending(done, ["finetuned_1"], 4)
    assert [(trial.seed, trial.encoder_seed) for trial in more] == [(2, 0), (3, 1)]
    assert len({trial.key for trial in done}) == len(done)
    # Another budget has tests of its own, but of arms that have none, and no tuning.
    longer = run.Plan(data.digest, 90.0, 12.0, COSTS).list_pending(done, list(ARMS), 1)
    assert {trial.arm for trial in longer} == set(ARMS) - set(UNTRAINED)
    assert {trial.purpose for trial in longer} == {"test"}


@pytest.mark.parametrize(("objective", "contrast"), [("contrast", (0.2, 2)), ("momentum", (0.2, 3)), ("v1", (0.5, 1))])
def test_the_study_keeps_the_settings_that_it_was_made_with(directory, objective, contrast):
    config = trials.make_config(read_labelled(directory), objective, patch=4)
    assert (config.chosen.temperature, config.chosen.head_layers, config.min_crop) == (*contrast, 0.3)
    assert (config.max_learning_rate, config.final_learning_rate) == (1e-3, 1e-5)


def test_validation_images_are_not_trained_on(directory):
    data = read_labelled(directory)
    tuned = split(data, Trial("tune", "contrast", 3, data.digest, 1.0, (1, 0), (1e-3, 0.0)))
    assert (len(tuned.train_labels), len(tuned.test_labels)) == (72, 18)
    seen = {image.tobytes() for image in tuned.train_images}
    held_out = {image.tobytes() for image in tuned.test_images}
    assert len(seen) == 72
    assert not seen & held_out
    assert seen | held_out == {image.tobytes() for image in data.train_images}


class Here(contextlib.nullcontext):
    """A pool that works in this process."""

    def __init__(self, *_):
        super().__init__(self)

    def apply(self, function, arguments):
        return function(*arguments)


def test_costs_are_measured_once(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SETTINGS", TINY)
    data, path = read_labelled(directory), tmp_path / "costs.json"
    monkeypatch.setattr(costs, "_ROUNDS", 1)
    kinds = ("contrast", costs.CLASSIFIER)
    monkeypatch.setattr(costs, "multiprocessing", SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=Here)))
    found = costs.measure(data, kinds, path)
    assert found["contrast"] > found[costs.CLASSIFIER] / 2 > 0
    assert costs.measure(data, kinds, path) == found
    with pytest.raises(ValueError, match="must have the costs of v1. Received: contrast, classifier"):
        costs.measure(data, ("v1",), path)


def test_trials_run_once_and_are_judged(directory, tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "SETTINGS", TINY)
    monkeypatch.setattr(trials, "_COMPONENTS", 2)
    data = read_labelled(directory)
    for arm in ("pixels", "pca"):
        done = run_trial(Trial("test", arm, 0, data.digest, 0.0, (0, 0), (0.0, 0.0)), data, tmp_path)
        assert done.metrics == {"linear": 1.0, "nearest": 1.0, "few_shot": 1.0}
    random = run_trial(Trial("test", "random", 0, data.digest, 0.0, (0, 0), (0.0, 0.0)), data, tmp_path)
    contrast = Trial("test", "contrast", 0, data.digest, 1.0, (40, 0), (1e-2, 0.0))
    first, again = (run_trial(contrast, data, tmp_path) for _ in range(2))
    assert set(first.metrics) == set(random.metrics) == {"linear", "nearest", "few_shot"}
    assert first.metrics == again.metrics != random.metrics  # the second began with the weights of the first
    with np.load(tmp_path / "vectors" / "1" / "contrast-0.npz") as kept:
        assert (kept["train"].shape, kept["test"].dtype) == ((90, 16), np.float16)
    tune = run_trial(dataclasses.replace(contrast, purpose="tune", steps=(2, 0)), data, tmp_path)
    assert set(tune.metrics) == {"linear"}
    finetuned = Trial("test", "finetuned_100", 0, data.digest, 1.0, (40, 150), (1e-2, 1e-2))
    assert run_trial(finetuned, data, tmp_path).metrics["accuracy"] > 0.6  # 1/3 by chance
    assert read_trials(tmp_path / "none.jsonl") == []
    # Of two encoders the third classifier takes the first one, with labels of its own.
    third = dataclasses.replace(finetuned, seed=2, settings={**TINY, "encoders": 2})
    made = set((tmp_path / "weights").iterdir())
    assert run_trial(third, data, tmp_path).metrics["accuracy"] > 0.6
    assert set((tmp_path / "weights").iterdir()) == made


def test_what_cannot_be_read_is_one_line(tmp_path, capsys):
    assert run.main(["--data", str(tmp_path)]) == 1
    assert "must hold train-images" in capsys.readouterr().err


def test_a_trial_of_an_arm_that_is_gone_is_left_out(tmp_path):
    trial = Trial("test", "contrast", 0, "abc", 1.0, (3, 0), (1e-3, 0.0), TINY, metrics={"linear": 0.5})
    path = tmp_path / "trials.jsonl"
    path.write_text(trial.to_json() + "\n" + trial.to_json().replace('"contrast"', '"gone"') + "\n")
    assert read_trials(path) == [trial]


# --- Tables ----------------------------------------------------------------------------------------------


def made_trial(arm, seed, **metrics):
    trained = arm not in UNTRAINED
    steps = (60_000 // 256 * trained, 0)
    return Trial("test", arm, seed, "abc", BUDGET * trained, steps, (1e-3, 0.0), metrics=metrics, seconds=10.0)


def test_tables_and_claims_are_those_of_the_trials(tmp_path, monkeypatch, capsys):
    of_seeds = {"supervised_1": (0.70, 0.71, 0.72), "finetuned_1": (0.75, 0.75, 0.78)}
    made = [made_trial("pixels", seed, linear=0.84, nearest=0.85, few_shot=0.69) for seed in range(3)]
    made += [made_trial("contrast", s, linear=0.86 + s / 100, nearest=0.8, few_shot=0.7) for s in range(3)]
    made += [made_trial(arm, seed, accuracy=value) for arm, of in of_seeds.items() for seed, value in enumerate(of)]
    results = tmp_path / "benchmarks" / "results"
    path = results / "images" / "trials.jsonl"
    path.parent.mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "images.md"
    page.write_text("".join(f"<!-- images:{name} -->\n<!-- /images:{name} -->\n" for name in tables.RENDERERS))
    assert tables.main([], tmp_path) == 0
    assert page.read_text().count("Not measured yet") == 2
    path.write_text("".join(trial.to_json() + "\n" for trial in made))
    assert tables.main([], tmp_path) == 0
    text = page.read_text()
    # t of 2 degrees of freedom is 4.3027: 0.01 * 4.3027 / sqrt(3) = 0.0248.
    assert "| contrast of clean views | 120 | 1.0 | 3 | **87.00 ± 2.48** | 80.00 | **70.00** |" in text
    assert "| pixels | – | – | 3 | 84.00 | **85.00** | 69.00 |" in text
    # Differences of 5, 4 and 6 points.
    assert "| 1% | – | 120 | 3 | 71.00 ± 2.48 | – |" in text
    assert "| 1% | 60 | 60 | 3 (3) | 76.00 ± 4.30 | +5.00 (+2.52 to +7.48) |" in text
    claims = {claim.id: claim for claim in load(results / "images.json")}
    assert set(claims) == {
        *("linear_probe_acc", "knn_acc", "ten_shot_acc"),
        *("finetune_gain_1pct", "finetune_gain_1pct_lower_bound"),
    }
    assert claims["linear_probe_acc"].value == pytest.approx(0.87)
    assert claims["knn_acc"].interval == pytest.approx((0.8, 0.8))
    assert claims["finetune_gain_1pct_lower_bound"].value == pytest.approx(0.0252, abs=1e-4)
    capsys.readouterr()
    assert tables.main(["--check"], tmp_path) == 0
    page.write_text("<!-- images:other --><!-- /images:other -->")
    assert tables.main(["--check"], tmp_path) == 1
    assert "a table of images must be one of frozen, labels" in capsys.readouterr().err
