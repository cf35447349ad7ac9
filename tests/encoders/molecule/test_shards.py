"""Preparing molecules for pre-training: shards, rejected rows, killed preparations, batches and their targets."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.molecule import shards as pretrain_data
from recsys_ssl.encoders.molecule.contexts import OTHER, ContextVocabulary
from recsys_ssl.encoders.molecule.labels import label_molecule
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.encoders.molecule.shards import PretrainData, draw_targets, is_held_out, make_batch, prepare

CHAINS = ("C", "CC", "C=C", "CCC", "CC(C)C", "C#C")
RINGS = ("c1ccc({})cc1", "C1CCC({})CC1", "c1cc({})sc1", "C1CN({})CCO1")
ENDS = ("O", "N", "C(=O)O", "C(N)=O", "C#N")
SMILES = [f"{chain}{ring.format(end)}" for chain, ring, end in itertools.product(CHAINS, RINGS, ENDS)]
# Two rows that give no molecule, after a header.
LINES = ["smiles", *SMILES[:7], "C1CC", *SMILES[7:], "not-a-molecule name"]
CONFIG = PretrainConfig(hidden_dim=16, batch_size=16, validation_share=0.2, min_count=2)


@pytest.fixture(scope="module")
def smiles_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("smiles") / "molecules.smi"
    path.write_text("\n".join(LINES) + "\n")
    return str(path)


# --- Preparation -----------------------------------------------------------------------------------------


def read_all(data):
    return [shard[i] for shard in data._shards for i in range(len(shard))]


def check_same(ours, theirs):
    for a, b in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


def test_shards_hold_every_molecule_and_its_labels(smiles_file, tmp_path):
    data = prepare(smiles_file, tmp_path, CONFIG)
    found = read_all(data)
    assert len(found) == len(SMILES)
    for text, molecule in zip(SMILES, found):
        check_same(molecule, label_molecule(text, data.atom_vocabulary, data.bond_vocabulary))
    held_out = [is_held_out(text, 0.2) for text in SMILES]
    assert data._shards[0].is_validation.tolist() == held_out
    summary = data.summary
    assert (summary.num_smiles, summary.num_train, summary.num_validation) == (
        len(SMILES) + 2,
        len(SMILES) - sum(held_out),
        sum(held_out),
    )
    assert data.atom_vocabulary == ContextVocabulary.from_json((data.directory / "atom_vocabulary.json").read_text())


def test_rare_contexts_have_no_class(tmp_path):
    (tmp_path / "a.smi").write_text("CCO\nCCO\nCF\n")
    data = prepare(tmp_path / "a.smi", tmp_path, CONFIG)
    assert set(data.atom_vocabulary.tokens) == {"C_C-SINGLE1", "C_C-SINGLE1_O-SINGLE1", "O_C-SINGLE1"}
    assert read_all(data)[2].atom_classes.tolist() == [OTHER, OTHER]


def test_rejected_rows_are_told(smiles_file, tmp_path):
    data = prepare(smiles_file, tmp_path, CONFIG)
    lines = [json.loads(line) for line in (data.directory / "rejected.jsonl").read_text().splitlines()]
    assert lines == [
        {"row": 7, "reason": "unparsable", "smiles": "C1CC"},
        {"row": len(SMILES) + 1, "reason": "unparsable", "smiles": "not-a-molecule"},
    ]
    assert data.summary.rejected == {"unparsable": 2}


def test_too_many_rejected_rows_are_an_error(smiles_file, tmp_path):
    config = dataclasses.replace(CONFIG, max_rejected_share=0.01)
    with pytest.raises(ValueError, match=r"at most 1.0% of the SMILES may be rejected.*Received: 2 of 122") as error:
        prepare(smiles_file, tmp_path, config)
    path = str(error.value).split("listed in ")[1].split(". Mend")[0]
    assert len(Path(path).read_text().splitlines()) == 2


def test_too_many_rejected_rows_are_shown(tmp_path):
    (tmp_path / "names.csv").write_text("label,smiles,id\n" + "".join(f"{text},{text},x{text}\n" for text in SMILES))
    with pytest.raises(ValueError, match=f"the first 'x{SMILES[0][:3]}.*name the right column by --column"):
        prepare(tmp_path / "names.csv", tmp_path, CONFIG, column="id")


def test_the_column_of_the_smiles_can_be_named(smiles_file, tmp_path):
    (tmp_path / "all.csv").write_text("smiles;drug\n" + "".join(f"C;{text}\n" for text in [*SMILES, "C1CC", "no"]))
    data = prepare(tmp_path / "all.csv", tmp_path, CONFIG, column="drug")
    assert data.summary.num_smiles == prepare(smiles_file, tmp_path, CONFIG).summary.num_smiles
    for text, molecule in zip(SMILES, read_all(data), strict=True):
        check_same(molecule, label_molecule(text, data.atom_vocabulary, data.bond_vocabulary))


def test_an_empty_file_is_an_error(tmp_path):
    (tmp_path / "no.smi").write_text("smiles\n")
    with pytest.raises(ValueError, match="the file is empty"):
        prepare(tmp_path / "no.smi", tmp_path, CONFIG)


def test_a_killed_preparation_goes_on_and_a_finished_one_is_not_repeated(smiles_file, tmp_path, monkeypatch):
    whole = prepare(smiles_file, tmp_path / "whole", CONFIG)
    monkeypatch.setattr(pretrain_data, "SHARD_ROWS", 30)
    told = []

    def die(done, most):
        told.append((done, most))
        if done >= 60:
            raise KeyboardInterrupt

    monkeypatch.setattr(pretrain_data, "_TELL_EVERY", 10)
    # One chunk of 512 rows would swallow the file before the first shard.
    monkeypatch.setattr("recsys_ssl.encoders.chunks.CHUNK_SIZE", 5)
    with pytest.raises(KeyboardInterrupt):
        prepare(smiles_file, tmp_path / "parts", CONFIG, tell_write=die)
    assert told[0] == (0, 122)
    (directory,) = (tmp_path / "parts").iterdir()
    assert [path.name for path in directory.glob("shard-*")] == ["shard-000000000000.bin", "shard-000000000030.bin"]

    told.clear()
    data = prepare(
        smiles_file,
        tmp_path / "parts",
        CONFIG,
        tell_count=lambda *_: pytest.fail("counted again"),
        tell_write=lambda done, most: told.append((done, most)),
    )
    assert told[0] == (60, 122)
    assert len(data._shards) == 5
    assert data.summary == whole.summary
    check_same(read_all(data), read_all(whole))
    check_same(data.train_batch(CONFIG, 3), whole.train_batch(CONFIG, 3))
    again = prepare(smiles_file, tmp_path / "parts", CONFIG, tell_write=lambda *_: pytest.fail("written again"))
    assert again.directory == directory


def test_other_smiles_and_settings_are_prepared_apart(smiles_file, tmp_path):
    (tmp_path / "other.smi").write_text("\n".join(SMILES[:20]))
    runs = [
        (smiles_file, CONFIG),
        (smiles_file, dataclasses.replace(CONFIG, min_count=3)),
        (tmp_path / "other.smi", CONFIG),
    ]
    assert len({prepare(path, tmp_path / "data", config).directory for path, config in runs}) == 3
    # The steps of a run do not matter here.
    assert prepare(smiles_file, tmp_path / "data", dataclasses.replace(CONFIG, steps=30)).summary.num_smiles == 122
    assert len(list((tmp_path / "data").iterdir())) == 3


def test_held_out_molecules_have_the_share_asked_for():
    assert sum(is_held_out(f"C{i}", 0.2) for i in range(10_000)) == pytest.approx(2000, abs=5 * 40)
    assert not any(is_held_out(f"C{i}", 0.1) and not is_held_out(f"C{i}", 0.2) for i in range(1000))


# --- Batches ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(smiles_file, tmp_path_factory):
    return prepare(smiles_file, tmp_path_factory.mktemp("data"), CONFIG)


def test_an_epoch_has_each_molecule_once_and_no_held_out_one(data):
    steps = data.summary.num_train // CONFIG.batch_size
    epochs = []
    for epoch in (0, 1):
        batches = [data.train_batch(CONFIG, epoch * steps + i) for i in range(steps)]
        epochs.append([batch.motifs.tobytes() + batch.molecules.atoms.tobytes() for batch in batches])
        assert [int(batch.molecules.num_molecules) for batch in batches] == [CONFIG.batch_size] * steps
    assert not set(epochs[0]) & set(epochs[1])
    order = PretrainData(data.directory)
    order.train_batch(CONFIG, steps)
    assert sorted(order._epoch[1]) == sorted(order._train)
    assert not set(order._train) & set(order._validation)


def test_targets_are_a_share_of_every_molecule_with_its_classes(data):
    molecules = read_all(data)[:9]
    batch = make_batch([*molecules, label_molecule("[Na+]", data.atom_vocabulary, data.bond_vocabulary)], 0.15, rng())
    for classes, name, owners in (
        (batch.atom_classes, "atom_classes", batch.molecules.molecules),
        (batch.bond_classes, "bond_classes", batch.molecules.molecules[batch.molecules.sources[::2]]),
    ):
        for i, molecule in enumerate(molecules):
            found, expected = classes[owners == i], getattr(molecule, name)
            assert np.count_nonzero(found) == math.ceil(0.15 * len(expected))
            np.testing.assert_array_equal(found[found > 0], expected[found > 0])
        assert not classes[owners > 9].any()
    ion = batch.molecules.molecules == 9
    assert batch.atom_classes[ion].tolist() == [OTHER]


def rng():
    return np.random.default_rng(0)


def test_targets_are_drawn_uniformly():
    owners = np.repeat([0, 1, 2], [20, 1, 5])
    draws = np.array([draw_targets(owners, 2, 0.15, np.random.default_rng(i)) for i in range(2000)])
    assert draws[:, :20].sum(axis=1).tolist() == [3] * 2000
    assert draws[:, 20].all()
    assert not draws[:, 21:].any()
    # 300 expected of 2000; five standard deviations of 16.
    assert np.abs(draws[:, :20].sum(axis=0) - 300).max() < 80


@pytest.mark.parametrize(("rate", "size", "expected"), [(0.1, 30, 3), (0.15, 20, 3), (0.15, 21, 4), (0.01, 5, 1)])
def test_targets_are_rounded_up(rate, size, expected):
    assert draw_targets(np.zeros(size, int), 1, rate, rng()).sum() == expected


# --- Settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "pretrain.steps must be at least 1"),
        ({"warmup_share": 1.0}, "pretrain.warmup_share must be in"),
        ({"mask_rate": 0.0}, "pretrain.mask_rate must be in"),
        ({"max_learning_rate": math.nan}, "pretrain.max_learning_rate must be positive"),
        ({"weight_decay": -1.0}, "pretrain.weight_decay must not be negative"),
        ({"max_rejected_share": 2.0}, "pretrain.max_rejected_share must be in"),
        ({"size": "huge"}, "size must be one of tiny, small, base, large"),
        ({"num_heads": 3}, "num_heads must divide hidden_dim"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**change)


def test_sizes_name_widths():
    assert PretrainConfig(size="base").grover.hidden_dim == 800
    assert PretrainConfig(size="base", hidden_dim=32).grover.hidden_dim == 32
