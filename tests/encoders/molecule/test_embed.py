"""A stored encoder and its vectors; its weights are random: nothing here needs training."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras as keras

from recsys_ssl.artifacts import DamagedError
from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.contexts import ContextVocabulary
from recsys_ssl.encoders.molecule.embed import Embedder
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.graph import batch_molecules
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.encoders.molecule.smiles import featurise

SMILES = [
    "CCO",
    "OCC(N)=O",
    "[Na+].[Cl-]",
    "c1ccccc1",
    "CC(=O)Oc1ccccc1C(=O)O",
    "[Ar]",
    "C#CC1CC1",
    "CCN",
    "CC(C)C",
    "O",
]
CONFIG = PretrainConfig(hidden_dim=16, num_heads=2)
FILES = {"atom_vocabulary.json": ContextVocabulary(("C_C-SINGLE1",)).to_json()}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """An encoder and the directory that it was written to, over an older one."""
    directory = tmp_path_factory.mktemp("run") / "encoder"
    for seed in (0, 1):
        keras.utils.set_random_seed(seed)
        model = MoleculeEncoder(CONFIG.grover)
        store.save(model, "molecule", CONFIG.grover, directory, CONFIG, FILES)
    return SimpleNamespace(model=model, directory=directory)


@pytest.fixture(scope="module")
def encoder(stored):
    return Embedder(store.load(stored.directory))


def test_an_encoder_is_read_as_it_was_written(stored):
    assert store.read_pretraining(stored.directory) == CONFIG
    loaded = store.load(stored.directory)
    assert loaded.config == stored.model.config
    for ours, theirs in zip(loaded.get_weights(), stored.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for name, text in FILES.items():
        assert (stored.directory / name).read_text() == text
    assert [path.name for path in stored.directory.parent.iterdir()] == ["encoder"]


def test_vectors_are_mean_readouts_of_the_atoms(stored, encoder):
    vectors = encoder.embed(SMILES)
    assert vectors.shape == (10, encoder.dim) == (10, 32)
    assert vectors.dtype == np.float32
    for row in (0, 2):
        graph = featurise(SMILES[row])
        outputs = stored.model(batch_molecules([graph]))
        expected = [values.numpy()[: len(graph.atoms)].mean(axis=0) for values in outputs[:2]]
        np.testing.assert_allclose(vectors[row], np.concatenate(expected), rtol=1e-4, atol=1e-5)


def test_vectors_do_not_depend_on_the_batch_nor_on_how_the_smiles_is_written(encoder, monkeypatch):
    together = encoder.embed(SMILES)
    monkeypatch.setattr("recsys_ssl.encoders.molecule.embed._BATCH_ATOMS", 9)
    np.testing.assert_allclose(encoder.embed(SMILES), together, rtol=1e-4, atol=1e-5)
    first, second = encoder.embed(["OCC(N)=O", "NC(=O)CO"])
    np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)


def test_rejected_smiles_are_an_error_or_listed(encoder):
    smiles = ["CCO", "C1CC", "", "CC"]
    with pytest.raises(ValueError, match=r"Received: 2 of 4 that do not, the first 'C1CC' at 1 \(unparsable\)"):
        encoder.embed(smiles)
    rejected = []
    vectors = encoder.embed(smiles, rejected)
    assert [(rejection.row, rejection.reason) for rejection in rejected] == [(1, "unparsable"), (2, "empty")]
    assert np.isnan(vectors).all(axis=1).tolist() == [False, True, True, False]
    np.testing.assert_allclose(vectors[[0, 3]], encoder.embed(["CCO", "CC"]), rtol=1e-4, atol=1e-5)
    assert encoder.embed([]).shape == (0, 32)


def test_no_encoder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="an encoder must have config.json"):
        store.load(tmp_path)


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"kind": "molecule", "encoder": null, "pretrain": {}}'], ids=str)
def test_settings_that_are_none_are_an_error_that_names_the_file(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    (tmp_path / "weights.npz").touch()
    for kind in ("molecule", None):
        with pytest.raises(DamagedError, match=r"config\.json is damaged, or not whole"):
            store.load(tmp_path, kind)


def test_weights_of_another_encoder_are_an_error(stored, tmp_path):
    directory = stored.directory
    settings = json.loads((directory / "config.json").read_text())
    settings["encoder"]["hidden_dim"] = 8
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "weights.npz").write_bytes((directory / "weights.npz").read_bytes())
    with pytest.raises(ValueError, match="weights.npz must fit config.json"):
        store.load(tmp_path)
