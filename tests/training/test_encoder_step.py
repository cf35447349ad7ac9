"""A step with molecules: two optimizers, masked views, a frozen encoder, and a checkpoint in between."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras as keras

from recsys_ssl import examples
from recsys_ssl.encoders.contract import WHOLE
from recsys_ssl.encoders.molecule import encoder as molecule
from recsys_ssl.encoders.molecule.graph import to_bytes
from recsys_ssl.encoders.molecule.grover import embed_molecules, mean_readout
from recsys_ssl.encoders.molecule.smiles import featurise
from recsys_ssl.encoders.molecule.table import take_molecules
from recsys_ssl.encoders.molecule.views import mask_molecules
from recsys_ssl.features.batch import Catalogue, FeatureBatch, lay_out
from recsys_ssl.features.encoding import EncodedFeature
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.training.data import Interactions
from recsys_ssl.training.step import TrainStep

SMILES = ["CCO", "c1ccccc1", "", "CC(=O)O", "CN", "C1CC1C", "CCCl", "C"]
NUM_ITEMS, BATCH_SIZE = len(SMILES), 6
ITEM = (
    EncodedFeature("brand", "item/brand", 4),
    EncodedFeature("structure", "item/structure", 0, content="molecule"),
)
QUERY = (EncodedFeature("user", "query/user", 3),)


@pytest.fixture(scope="module")
def catalogue_dir(tmp_path_factory, make_records):
    path = str(tmp_path_factory.mktemp("catalogue"))
    columns = {
        "item_row": [[row] for row in range(NUM_ITEMS)],
        "item_id": [[b"i%d" % row] for row in range(NUM_ITEMS)],
        "train_count": [[row % 3] for row in range(NUM_ITEMS)],
        "brand": [[row % 4] for row in range(NUM_ITEMS)],
        "structure": [[to_bytes(featurise(smiles))] if smiles else [] for smiles in SMILES],
    }
    batch = make_records(columns)
    # The last shard begins with an item without molecule.
    for shard, (start, stop) in enumerate(((0, 2), (2, NUM_ITEMS))):
        examples.write_shard(batch.slice(start, stop - start), path, "catalogue", f"part-{shard}")
    return path


@pytest.fixture
def make_step(catalogue_dir, make_config):
    """A step whose weights are always the same at first."""

    def make(learning_rate=0.1, encoder_rate=1e-3, dropout=0.1, make_encoder=molecule.make, **changes):
        sizes = {"hidden_dim": 4, "num_heads": 2, "depth": 2, "learning_rate": encoder_rate, "dropout": dropout}
        settings = {"batch_size": BATCH_SIZE, "ssl_batch_size": 8, "hidden": (), "encoder": {"molecule": sizes}}
        config = make_config(learning_rate=learning_rate, **settings | changes)
        (query, item), num_rows = lay_out([(QUERY, [False]), (ITEM, [False, False])])
        catalogue, encoder = Catalogue(catalogue_dir, item), make_encoder(config.encoder_config("molecule"))
        encoder.trainable = encoder_rate > 0
        model = TwoTower(query, item, num_rows, config.tower, encoders={"molecule": encoder})
        rng = np.random.default_rng(1)
        for variable in model.variables:
            variable.assign(rng.normal(scale=0.5, size=variable.shape))
        if not encoder.trainable:
            catalogue.replace_contents("structure", encoder.encode)
        return TrainStep(model, catalogue, config, False, None)

    return make


class MeanOfAtoms(keras.Model):
    """An encoder by the contract that is traced in no time: a layer on the mean of the atoms that are not masked."""

    def __init__(self, config):
        super().__init__(name="mean_of_atoms")
        self.dim = 8
        self._dropout, self._dense = keras.layers.Dropout(config.dropout), keras.layers.Dense(8)
        self._dense.build([None, 18])

    def encode(self, content, how=WHOLE):
        batch = take_molecules(content)
        if how.mask is not None:
            batch = mask_molecules(batch, *how.mask)
        means = mean_readout(tf.cast(batch.atoms, tf.float32) / 255.0, batch.molecules, batch.num_molecules)
        return self._dense(self._dropout(means, training=how.training_seed is not None))


def make_batch(seed=0):
    rng = np.random.default_rng(seed)
    codes = tf.constant(rng.integers(0, 3, BATCH_SIZE))
    records, slots = tf.range(BATCH_SIZE, dtype=tf.int64), tf.zeros(BATCH_SIZE, tf.int64)
    return Interactions(
        FeatureBatch(codes, records, slots, {}, {}, tf.constant(BATCH_SIZE, tf.int64)),
        query_rows=tf.zeros(BATCH_SIZE, tf.int64),
        item_rows=tf.constant(rng.integers(0, NUM_ITEMS, BATCH_SIZE)),
        example_weight=tf.ones(BATCH_SIZE),
    )


@pytest.fixture
def encoded(monkeypatch):
    """(batch, how) of every call of the encoder while a test runs."""
    calls = []

    def record(encoder, batch, **how):
        calls.append((batch, how))
        return embed_molecules(encoder, batch, **how)

    monkeypatch.setattr(molecule, "embed_molecules", record)
    return calls


def count_masked(batch):
    """Hidden atoms: the code of the element is none."""
    return int((batch.atoms[:, 0].numpy() == 255).sum())


def values_of(variables):
    return [variable.numpy() for variable in variables]


def test_the_encoder_moves_by_adam_and_the_towers_by_adagrad(make_step):
    step = make_step(ssl_regularizer="none", encoder_rate=1e-3, learning_rate=0.3)
    encoder, projection = step.model.encoders["molecule"], step.model.item_encoder.submodules
    kernel = next(layer.kernel for layer in projection if layer.name == "structure")
    before, kernel_before = values_of(encoder.trainable_variables), kernel.numpy()
    step.take(make_batch())
    moves = [np.abs(after - b).max() for after, b in zip(values_of(encoder.trainable_variables), before)]
    # Adam's first step is the learning rate wherever there is a gradient; the bond vectors do not reach the towers.
    assert max(moves) == pytest.approx(1e-3, rel=1e-2)
    assert sum(move > 5e-4 for move in moves) > len(moves) / 2
    assert np.abs(kernel.numpy() - kernel_before).max() > 1e-2


def test_both_learning_rates_follow_the_schedule(make_step):
    step = make_step(ssl_regularizer="none", schedule="linear", steps=4, learning_rate=0.2, encoder_rate=0.01)
    rates = []
    for iteration in range(4):
        for optimizer in (step.optimizer, step.encoder_optimizers["molecule"]):
            optimizer.iterations.assign(iteration)
        rates.append([float(o._decayed_lr(tf.float32)) for o in (step.optimizer, step.encoder_optimizers["molecule"])])
    np.testing.assert_allclose(rates, np.outer([1, 0.75, 0.5, 0.25], [0.2, 0.01]), rtol=1e-6)


def test_each_distinct_item_is_encoded_once_and_whole_for_the_main_loss(make_step, encoded):
    batch = make_batch()
    make_step(ssl_regularizer="none").take(batch)
    ((molecules, how),) = encoded
    known = {row for row in batch.item_rows.numpy() if SMILES[row]}
    assert int(molecules.num_molecules) == len(known) < BATCH_SIZE
    assert count_masked(molecules) == 0
    assert how["training"] is True


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_masked_views_hide_parts_of_the_molecules_that_they_show(make_step, encoded, rate):
    make_step(ssl_regularizer="dropout_only", ssl_mask_rate=rate, seed=3).take(make_batch())
    (main, how), (views, how_views) = encoded
    assert count_masked(main) == 0
    assert int(how["hops"]) == int(how_views["hops"])
    num_molecules, atoms = int(views.num_molecules), np.bincount(views.molecules)
    if rate == 0.0:
        # Both views show the same: once is enough.
        assert num_molecules < NUM_ITEMS
        assert count_masked(views) == 0
    else:
        assert num_molecules % 2 == 0
        half = num_molecules // 2
        np.testing.assert_array_equal(atoms[:half], atoms[half:num_molecules])
        assert count_masked(views) == np.ceil(rate * atoms[:num_molecules] - 1e-9).sum()
        first, second = views.atoms.numpy()[: 2 * atoms[:half].sum()].reshape(2, -1, 18)
        assert (first != second).any()


def test_the_main_loss_of_a_frozen_encoder_is_that_of_one_without_dropout(make_step, encoded):
    """Vectors that were computed once are what encoding at inference gives; at depth 2 training may draw one hop."""
    frozen = make_step(ssl_regularizer="none", encoder_rate=0.0)
    del encoded[:]
    before = values_of(frozen.model.encoders["molecule"].variables)
    figures = frozen.take(make_batch())
    assert encoded == []
    assert frozen.encoder_optimizers == {}
    other = make_step(ssl_regularizer="none")
    other._trained_kinds = []  # encodes as at serving
    np.testing.assert_allclose(other._supervised_loss(make_batch()), figures["supervised_loss"], rtol=1e-4)
    for after, expected in zip(values_of(frozen.model.encoders["molecule"].variables), before):
        np.testing.assert_array_equal(after, expected)


def test_a_frozen_encoder_shows_whole_molecules_in_masked_views(make_step):
    figures = make_step(ssl_regularizer="item_masks", encoder_rate=0.0).take(make_batch())
    other = make_step(ssl_regularizer="item_masks", encoder_rate=0.0, ssl_mask_rate=0.5).take(make_batch())
    assert float(figures["auxiliary_loss"]) == float(other["auxiliary_loss"]) > 0


def test_graph_and_eager_steps_agree(make_step):
    settings = {"ssl_regularizer": "item_masks", "dropout": 0.3, "make_encoder": MeanOfAtoms}
    eager, compiled = make_step(**settings), make_step(**settings)
    specs = tf.nest.map_structure(lambda x: tf.TensorSpec([None] * len(x.shape), x.dtype), make_batch())
    take = compiled.compile(specs)
    for seed in range(2):
        expected, found = eager.take(make_batch(seed)), take(make_batch(seed))
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-5)


def test_a_step_with_molecules_goes_on_from_a_checkpoint(make_step, tmp_path):
    settings = {"ssl_regularizer": "item_masks", "dropout": 0.3, "encoder_rate": 0.01}
    first = make_step(**settings)
    for seed in range(2):
        first.take(make_batch(seed))
    path = tf.train.Checkpoint(train=first).write(str(tmp_path / "checkpoint"))
    second = make_step(**settings)
    for variable in second.model.variables:
        variable.assign(tf.zeros_like(variable))
    tf.train.Checkpoint(train=second).read(path)
    for seed in range(2, 4):
        expected, found = first.take(make_batch(seed)), second.take(make_batch(seed))
        assert {name: float(value) for name, value in found.items()} == {n: float(v) for n, v in expected.items()}
    for variable, expected in zip(second.model.variables, first.model.variables):
        np.testing.assert_array_equal(variable, expected)
