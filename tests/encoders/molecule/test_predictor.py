"""The two heads against arithmetic on their own weights, and their loss worked by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.encoders.molecule.graph import batch_molecules
from recsys_ssl.encoders.molecule.predictor import HeadOutputs, MoleculePredictor, two_head_loss
from recsys_ssl.encoders.molecule.settings import GroverConfig, HeadConfig
from recsys_ssl.encoders.molecule.smiles import featurise

NAN = math.nan
ENCODER = GroverConfig(8, num_heads=2, dropout=0.0)
GRAPHS = [featurise(smiles) for smiles in ("CCO", "c1ccccc1", "[Na+]", "CC(=O)N")]


def make_model(task="classification", num_tasks=3, **changes):
    return MoleculePredictor(ENCODER, num_tasks, task, HeadConfig(**{"attn_hidden": 4, "ffn_hidden": 6} | changes))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class TestLoss:
    def test_of_a_regression(self):
        outputs = HeadOutputs(tf.constant([[1.0, 5.0], [0.0, 2.0]]), tf.constant([[3.0, 7.0], [0.5, 9.0]]))
        targets = tf.constant([[2.0, 5.0], [-1.0, NAN]])
        # Three known targets; (first - t)^2 + (second - t)^2 + 0.1 (first - second)^2 of each.
        known = [
            (1 - 2) ** 2 + (3 - 2) ** 2 + 0.1 * (1 - 3) ** 2,
            (5 - 5) ** 2 + (7 - 5) ** 2 + 0.1 * (5 - 7) ** 2,
            (0 + 1) ** 2 + (0.5 + 1) ** 2 + 0.1 * (0 - 0.5) ** 2,
        ]
        assert float(two_head_loss(outputs, targets, "regression", 0.1)) == pytest.approx(sum(known) / 3)

    def test_of_a_classification(self):
        outputs = HeadOutputs(tf.constant([[2.0, -1.0]]), tf.constant([[0.0, 4.0]]))
        known = [
            -math.log(sigmoid(2.0)) - math.log(sigmoid(0.0)) + 0.05 * 2.0**2,
            -math.log(1 - sigmoid(-1.0)) - math.log(1 - sigmoid(4.0)) + 0.05 * 5.0**2,
        ]
        loss = two_head_loss(outputs, tf.constant([[1.0, 0.0]]), "classification", 0.05)
        assert float(loss) == pytest.approx(sum(known) / 2)

    @pytest.mark.parametrize("task", ["classification", "regression"])
    def test_unknown_targets_have_no_gradient(self, task):
        logits = tf.constant([[1.0, 30.0], [2.0, -1e30]])
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = two_head_loss(HeadOutputs(logits, logits), tf.constant([[1.0, NAN], [0.0, NAN]]), task, 0.1)
        gradient = tape.gradient(loss, logits).numpy()
        assert np.isfinite(gradient).all()
        assert (gradient != 0).tolist() == [[task == "classification", False], [True, False]]

    def test_without_a_known_target_it_is_0(self):
        logits = tf.ones([2, 1])
        assert float(two_head_loss(HeadOutputs(logits, logits), tf.fill([2, 1], NAN), "regression", 0.1)) == 0.0


class TestPredictor:
    def test_each_head_reads_its_own_view(self):
        model, batch = make_model(), batch_molecules(GRAPHS)
        outputs, encoded = model(batch), model.encoder(batch)
        for head, found, atoms in (
            (model._from_atom, outputs.from_atom, encoded.atom_from_atom),
            (model._from_bond, outputs.from_bond, encoded.atom_from_bond),
        ):
            vectors = model._readout(atoms, batch.molecules, batch.num_molecules).numpy()
            hidden_kernel, hidden_bias, kernel, bias = head.get_weights()
            expected = np.maximum(vectors @ hidden_kernel + hidden_bias, 0) @ kernel + bias
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
        assert outputs.from_atom.shape == (4, 3)

    def test_a_prediction_is_the_mean_of_the_probabilities(self):
        model, batch = make_model(), batch_molecules(GRAPHS)
        outputs = model(batch)
        expected = (sigmoid(outputs.from_atom.numpy()) + sigmoid(outputs.from_bond.numpy())) / 2
        np.testing.assert_allclose(model.predict_targets(batch), expected, rtol=1e-5)

    def test_a_prediction_is_in_the_unit_of_the_targets(self):
        model, batch = make_model("regression", 2), batch_molecules(GRAPHS)
        model.standardise([10.0, -3.0], [2.0, 0.5])
        outputs = model(batch)
        mean = (outputs.from_atom.numpy() + outputs.from_bond.numpy()) / 2
        np.testing.assert_allclose(model.predict_targets(batch), mean * [2.0, 0.5] + [10.0, -3.0], rtol=1e-5)
        np.testing.assert_allclose(model.to_outputs(tf.constant([[14.0, -3.5]])), [[2.0, -1.0]])

    def test_a_molecule_does_not_see_the_others(self):
        model = make_model()
        together = model.predict_targets(batch_molecules(GRAPHS)).numpy()
        alone = np.concatenate([model.predict_targets(batch_molecules([graph])) for graph in GRAPHS])
        np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-6)

    def test_has_as_many_layers_as_told(self):
        shapes = [weight.shape for weight in make_model(ffn_layers=3)._from_atom.get_weights()[::2]]
        assert shapes == [(4 * 8, 6), (6, 6), (6, 3)]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"task": "ranking"}, "task must be one of .* Received: 'ranking'"),
            ({"num_tasks": 0}, "num_tasks must be 1 or more"),
            ({"attn_out": 0}, "attn_out.* must be 1 or more"),
            ({"dropout": 1.0}, "dropout must be in"),
        ],
        ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
    )
    def test_bad_settings(self, changes, message):
        with pytest.raises(ValueError, match=message):
            make_model(**changes)
