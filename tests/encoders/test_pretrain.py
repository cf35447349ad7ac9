"""Whole pre-training runs: what they learn and tell, and that a killed one ends like an unharmed one."""

import dataclasses
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.encoders.pretrain import pretrain
from recsys_ssl.encoders.pretrain_step import PretrainStep

ROOT = Path(__file__).resolve().parents[2]
CHAINS = ("C", "CC", "C=C", "CCC", "CC(C)C", "C#C")
RINGS = ("c1ccc({})cc1", "C1CCC({})CC1", "c1cc({})sc1", "C1CN({})CCO1")
ENDS = ("O", "N", "C(=O)O", "C(N)=O", "C#N")
SMILES = [f"{chain}{ring.format(end)}" for chain, ring, end in itertools.product(CHAINS, RINGS, ENDS)]
# Two rows that give no molecule, after a header.
LINES = ["smiles", *SMILES[:7], "C1CC", *SMILES[7:], "not-a-molecule name"]
CONFIG = PretrainConfig(
    hidden_dim=16,
    num_heads=2,
    batch_size=16,
    steps=120,
    warmup_share=0.2,
    init_learning_rate=1e-3,
    max_learning_rate=1e-2,
    final_learning_rate=1e-3,
    validation_share=0.2,
    min_count=2,
    eval_every=30,
    dropout=0.05,
)


@pytest.fixture(scope="module")
def smiles_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("smiles") / "molecules.smi"
    path.write_text("\n".join(LINES) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def unharmed(smiles_file, tmp_path_factory):
    """A run that nothing interrupts."""
    workdir, told, traces, take = tmp_path_factory.mktemp("unharmed"), [], [], PretrainStep.take

    def count(*arguments):
        traces.append(1)
        return take(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainStep, "take", count)
        result = pretrain("molecule", smiles_file, CONFIG, workdir, progress=lambda *news: told.append(news))
    return SimpleNamespace(result=result, told=told, traces=len(traces), workdir=workdir)


def weights_of(workdir):
    with np.load(Path(workdir, "encoder", "weights.npz")) as stored:
        return [stored[f"arr_{i}"] for i in range(len(stored.files))]


# --- Learning --------------------------------------------------------------------------------------------


def test_contexts_of_hidden_atoms_and_bonds_are_learnt(unharmed):
    figures = [figures for phase, _, _, figures in unharmed.told if phase == "train"]
    best = unharmed.result.figures
    for name, share in (("loss", 0.75), ("atom_loss", 0.85), ("bond_loss", 0.7), ("motif_loss", 0.9)):
        assert best[f"validation_{name}"] < share * figures[0][f"validation_{name}"]
    assert best["validation_atom_top1"] > best["validation_atom_majority"] + 0.2
    assert best["validation_bond_top1"] > best["validation_bond_majority"] + 0.2


def test_a_step_is_traced_once(unharmed):
    assert unharmed.traces == 1


def test_progress_and_tensorboard_tell_every_validation(unharmed):
    phases = [(phase, done, most) for phase, done, most, _ in unharmed.told]
    assert phases == [
        ("count contexts", 0, 122),
        ("write shards", 0, 122),
        *(("train", step, 120) for step in (30, 60, 90, 120)),
    ]
    logged = {}
    for path in Path(unharmed.workdir).glob("tensorboard/*/*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                logged[event.step, value.tag] = tf.make_ndarray(value.tensor).item()
    for phase, now, _, figures in unharmed.told:
        if phase == "train":
            assert figures["examples_per_second"] > 0
            assert figures["seconds_left"] >= 0
            for name, value in figures.items():
                assert logged[now, name] == pytest.approx(value, rel=1e-5)
    assert unharmed.told[-1][3]["seconds_left"] == 0


def test_the_result_is_that_of_the_best_step(unharmed):
    told = {now: figures for phase, now, _, figures in unharmed.told if phase == "train"}
    losses = {now: figures["validation_loss"] for now, figures in told.items()}
    assert unharmed.result.best_step == min(losses, key=losses.get)
    for name, value in unharmed.result.figures.items():
        assert told[unharmed.result.best_step][name] == pytest.approx(value, rel=1e-6)
    stored = json.loads((unharmed.workdir / "pretrain.json").read_text())
    assert stored["figures"] == unharmed.result.figures
    assert stored["config"]["hidden_dim"] == 16
    for ours, theirs in zip(store.load(unharmed.result.encoder_dir).get_weights(), weights_of(unharmed.workdir)):
        np.testing.assert_array_equal(ours, theirs)


def test_the_learning_rate_rises_over_the_warm_up_and_falls_to_the_last_step(unharmed):
    rates = {now: figures["learning_rate"] for phase, now, _, figures in unharmed.told if phase == "train"}
    # A step's rate is that before it: 24 steps of warm-up, then 96 over which it falls to a tenth.
    assert rates == pytest.approx({now: 1e-2 * 0.1 ** ((now - 1 - 24) / 96) for now in (30, 60, 90, 120)}, rel=1e-5)


# --- Repeating and resuming ------------------------------------------------------------------------------


@pytest.fixture
def eagerly():
    """A few steps take less time without a trace; `test_kinds` holds graphs against them."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.usefixtures("eagerly")
def test_a_killed_run_ends_like_an_unharmed_one(smiles_file, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, steps=6, eval_every=2, warmup_share=0.5, validation_size=8)
    unharmed = pretrain("molecule", smiles_file, config, tmp_path / "unharmed")

    def take_or_die(step, batch):
        # A step after a checkpoint is lost.
        if int(step.step) == 3:
            raise KeyboardInterrupt
        return take(step, batch)

    take = PretrainStep.take
    monkeypatch.setattr(PretrainStep, "take", take_or_die)
    with pytest.raises(KeyboardInterrupt):
        pretrain("molecule", smiles_file, config, tmp_path / "killed")
    monkeypatch.undo()
    assert not (tmp_path / "killed" / "encoder").exists()
    told = []
    result = pretrain("molecule", smiles_file, config, tmp_path / "killed", progress=lambda *news: told.append(news))
    # Molecules are not prepared again.
    assert [(phase, done) for phase, done, *_ in told] == [("train", 4), ("train", 6)]
    assert (result.best_step, result.figures) == (unharmed.best_step, unharmed.figures)
    for ours, theirs in zip(weights_of(tmp_path / "killed"), weights_of(tmp_path / "unharmed"), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_run_that_cannot_begin_says_why(smiles_file, tmp_path):
    with pytest.raises(ValueError, match="Set pretrain.batch_size to at most"):
        pretrain("molecule", smiles_file, dataclasses.replace(CONFIG, batch_size=500), tmp_path)
    with pytest.raises(ValueError, match="there must be molecules to validate on"):
        pretrain("molecule", smiles_file, dataclasses.replace(CONFIG, validation_share=1e-9), tmp_path)
