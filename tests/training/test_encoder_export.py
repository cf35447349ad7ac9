"""Molecules from raw examples to a served model: transformed, trained on a frozen encoder, exported and embedded."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl import examples
from recsys_ssl.encoders import store
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.graph import batch_molecules, to_bytes
from recsys_ssl.encoders.molecule.grover import embed_molecules
from recsys_ssl.encoders.molecule.settings import PretrainConfig
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.encoders.whitening import FixedWhitening
from recsys_ssl.features import preprocessing
from recsys_ssl.index.embed import embed_items
from recsys_ssl.index.embeddings import read_items
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.export import export_towers
from recsys_ssl.training.train import TrainInputs, build_model, fit

SPEC = FeatureSpec.model_validate(
    {
        "name": "compounds",
        "events": {"paths": ["e.csv"], "query_id": "target", "item_id": "compound"},
        "items": {
            "table": {"paths": ["i.csv"]},
            "id": "compound",
            "features": [
                {"name": "structure", "kind": "molecule"},
                {"name": "maker", "kind": "categorical"},
            ],
        },
        "queries": {"id": "target", "features": [{"name": "target", "kind": "id"}]},
        "split": {"kind": "random"},
        "evaluation": {"group_by": "event"},
    }
)
# The third compound has no structure; the first shard of the catalogue has none at all.
SMILES = ["", "", "", *("C" * n + "O" for n in range(1, 6)), *("C" * n + "c1ccccc1" for n in range(6))]
PRETRAINING = PretrainConfig(hidden_dim=4, num_heads=2, depth=2)


def raw_items():
    packed = [[to_bytes(featurise(smiles))] if smiles else [] for smiles in SMILES]
    rows = range(len(SMILES))
    return {
        "item_row": [[row] for row in rows],
        "item_id": [[b"c%d" % row] for row in rows],
        "train_count": [[row % 4] for row in rows],
        "structure": packed,
        "maker": [[b"m%d" % (row % 2)] for row in rows],
    }


def raw_events(num_events):
    rows = [number % len(SMILES) for number in range(num_events)]
    return {
        "query_id": [[b"t%d" % (row % 3)] for row in rows],
        "item_id": [[b"c%d" % row] for row in rows],
        "item_row": [[row] for row in rows],
        "example_weight": [[1.0]] * num_events,
        "target": [[b"t%d" % (row % 3)] for row in rows],
    }


def save(encoder, directory):
    store.save(encoder, "molecule", PRETRAINING.grover, directory, PRETRAINING)


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_records, make_config):
    root = tmp_path_factory.mktemp("compounds")
    raw, encoded = (
        SimpleNamespace(**{name: str(root / kind / name) for name in ("interactions", "catalogue", "query", "item")})
        for kind in ("raw", "encoded")
    )
    catalogue = make_records(raw_items())
    examples.write_shard(catalogue.slice(0, 3), raw.catalogue, "catalogue", "part-0")
    examples.write_shard(catalogue.slice(3), raw.catalogue, "catalogue", "part-1")
    for split, size in (("train", 60), ("eval", 14), ("test", 14)):
        examples.write_shard(make_records(raw_events(size)), raw.interactions, split, "part-0")
    preprocessing.transform(
        SPEC, raw.interactions, raw.catalogue, encoded.query, encoded.item, encoded.interactions, encoded.catalogue
    )
    inputs = TrainInputs(encoded.interactions, encoded.catalogue, encoded.query, encoded.item)

    encoder = MoleculeEncoder(PRETRAINING.grover)
    save(encoder, root / "encoder")
    settings = {"molecule": {"pretrained": str(root / "encoder"), "learning_rate": 0.0}}
    config = make_config(steps=4, eval_every=2, batch_size=16, ssl_batch_size=8, encoder=settings, popularity_prior=0.5)
    fitted = fit(SPEC, config, inputs, str(root / "checkpoints"))
    export_towers(fitted.model, SPEC, encoded.query, encoded.item, str(root / "towers"), fitted.catalogue)
    return SimpleNamespace(root=root, raw=raw, inputs=inputs, config=config, encoder=encoder, fitted=fitted)


def test_training_keeps_the_pretrained_weights_of_a_frozen_encoder(run):
    assert run.fitted.outcome.last_step == 4
    for found, expected in zip(run.fitted.model.encoders["molecule"].get_weights(), run.encoder.get_weights()):
        np.testing.assert_array_equal(found, expected)
    vectors = run.fitted.catalogue.gather(tf.range(len(SMILES), dtype=tf.int64)).dense["structure"].numpy()
    assert np.isnan(vectors[:3]).all()
    graphs = batch_molecules([featurise(smiles) for smiles in SMILES[3:]])
    np.testing.assert_allclose(vectors[3:], embed_molecules(run.encoder, graphs), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("rate", "whitened"), [(0.0, True), (1e-4, False)], ids=["frozen", "trained"])
def test_vectors_are_whitened_for_a_frozen_encoder_only(run, rate, whitened):
    settings = {**run.config.encoder["molecule"], "learning_rate": rate}
    model, _ = build_model(SPEC, dataclasses.replace(run.config, encoder={"molecule": settings}), run.inputs)
    (whitening,) = [layer for layer in model.item_encoder.submodules if isinstance(layer, FixedWhitening)]
    kernel = next(weight for weight in whitening.weights if "kernel" in weight.name)
    off_diagonal = kernel.numpy() - np.diag(np.diag(kernel.numpy()))
    assert (np.abs(off_diagonal).max() > 1e-3) == whitened


def test_the_beam_job_embeds_packed_molecules_as_training_does(run):
    embed_items(str(run.root / "towers"), run.raw.catalogue, str(run.root / "items"), batch_size=5)
    found = read_items(run.root / "items")
    rows = tf.range(len(SMILES), dtype=tf.int64)
    catalogue, model = run.fitted.catalogue, run.fitted.model
    expected = model.vectorize_items(catalogue.gather(rows), tf.constant(catalogue.train_counts)).numpy()
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-4, atol=1e-5)
    # Molecules tell compounds of one maker and popularity apart.
    assert np.abs(expected[3] - expected[11]).max() > 1e-3


SERVE = """
import sys
import numpy as np
import tensorflow as tf

towers_dir, inputs, outputs = sys.argv[1:]
raw = np.load(inputs, allow_pickle=True)
features = {name: tf.constant(raw[name]) for name in raw.files}
np.save(outputs, tf.saved_model.load(towers_dir).signatures["embed_item"](**features)["embedding"].numpy())
assert not {"rdkit", "recsys_ssl", "tensorflow_transform"} & set(sys.modules)
"""


def test_a_server_needs_neither_rdkit_nor_this_package(run):
    new = ["CCN", "CCCO", ""]
    packed = np.array([to_bytes(featurise(smiles)) if smiles else b"" for smiles in new], object)
    counts = np.array([np.nan, 4 % 4, np.nan], np.float32)
    np.savez(run.root / "raw.npz", structure=packed, maker=np.array([b"m0", b"m1", b""]), train_count=counts)
    paths = [str(run.root / name) for name in ("towers", "raw.npz", "vectors.npy")]
    subprocess.run([sys.executable, "-c", SERVE, *paths], check=True, cwd=run.root)
    vectors = np.load(run.root / "vectors.npy")
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :-1], axis=1), 1.0, rtol=1e-5)
    # Propanol of maker m1 is compound 5 of the catalogue.
    batch = run.fitted.catalogue.gather(tf.constant([5], tf.int64))
    np.testing.assert_allclose(vectors[1, :-1], run.fitted.model.embed_items(batch)[0], rtol=1e-4, atol=1e-5)


def test_another_encoder_in_its_place_is_another_run(run, tmp_path):
    save(run.encoder, tmp_path / "encoder")
    same = store.hash_encoder(tmp_path / "encoder")
    assert same == store.hash_encoder(run.config.pretrained["molecule"])
    save(MoleculeEncoder(PRETRAINING.grover), tmp_path / "encoder")
    assert store.hash_encoder(tmp_path / "encoder") != same


def test_an_encoder_without_content_is_refused(shop, shop_inputs, make_config):
    config = make_config(encoder={"molecule": {"pretrained": "d"}})
    with pytest.raises(
        ValueError, match=r"train\.encoder\.molecule needs an item feature of kind molecule\. Received: "
    ):
        build_model(shop.spec, config, shop_inputs)


def test_an_encoder_that_is_not_there_is_refused(run, make_config):
    config = make_config(encoder={"molecule": {"pretrained": str(run.root / "nowhere")}})
    with pytest.raises(FileNotFoundError, match=r"an encoder must have config\.json and weights\.npz"):
        build_model(SPEC, config, run.inputs)


def test_an_encoder_of_another_kind_is_refused(run, make_config, tmp_path):
    save(run.encoder, tmp_path / "encoder")
    path = tmp_path / "encoder" / "config.json"
    path.write_text(path.read_text().replace('"kind": "molecule"', '"kind": "image"'))
    config = make_config(encoder={"molecule": {"pretrained": str(tmp_path / "encoder")}})
    with pytest.raises(ValueError, match="the encoder must be one of kind molecule. Received: 'image'"):
        build_model(SPEC, config, run.inputs)
