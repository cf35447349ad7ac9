"""Settings that cannot be meant are refused by name."""

import pytest

from recsys_ssl.encoders.molecule.grover import GroverConfig
from recsys_ssl.models.two_tower import TowerConfig
from recsys_ssl.training.config import TrainConfig

NAN = float("nan")


def test_the_defaults_are_valid_and_give_the_towers_their_sizes():
    config = TrainConfig(feature_dim=3, hidden=[7, 5], embedding_dim=2, trainable_default=False)
    assert config.tower == TowerConfig(3, (7, 5), 2, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("ssl_batch_size", -1),
        ("eval_every", 0),
        ("patience", 0),
        ("validation_queries", 0),
        ("shuffle_buffer", 0),
        ("feature_dim", 0),
        ("embedding_dim", 0),
        ("hidden", (8, 0)),
        ("learning_rate", 0.0),
        ("learning_rate", NAN),
        ("temperature", -0.1),
        ("temperature", NAN),
        ("ssl_temperature", 0.0),
        ("value_dropout", 1.0),
        ("value_dropout", -0.1),
        ("feature_dropout", 1.5),
        ("feature_dropout", NAN),
        ("unknown_query_rate", 1.0),
        ("ssl_weight", -1.0),
        ("ssl_weight", NAN),
        ("mixed_negatives", -1),
        ("seed", -1),
        ("molecule_learning_rate", -1e-3),
        ("molecule_learning_rate", NAN),
        ("molecule_mask_rate", 1.0),
        ("molecule_size", "huge"),
        ("regularizer", "cmf"),
        ("correlation", "normalized"),
        ("logq", "counts"),
    ],
    ids=str,
)
def test_an_impossible_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"train\.{name} .*Received: "):
        TrainConfig(**{name: value})


def test_the_encoder_of_molecules_has_its_sizes():
    assert TrainConfig().grover == GroverConfig(hidden_dim=64, num_heads=4, num_blocks=1, depth=3, dropout=0.1)
    sizes = {"num_heads": 2, "num_blocks": 3, "depth": 4, "dropout": 0.0}
    settings = {f"molecule_{name}": value for name, value in sizes.items()}
    assert TrainConfig(molecule_size="small", **settings).grover == GroverConfig(hidden_dim=128, **sizes)
    assert TrainConfig(molecule_hidden_dim=8).grover.hidden_dim == 8
    with pytest.raises(ValueError, match=r"num_heads must divide hidden_dim\. Received: num_heads=4, hidden_dim=6"):
        TrainConfig(molecule_hidden_dim=6)


@pytest.mark.parametrize("logq", ["none", "streaming"])
def test_mixed_negatives_need_exact_probabilities(logq):
    with pytest.raises(ValueError, match=r"mixed negatives need exact .*train\.logq=exact"):
        TrainConfig(mixed_negatives=10, logq=logq)
    assert TrainConfig(mixed_negatives=10, logq="exact").mixed_negatives == 10


@pytest.mark.parametrize(
    ("name", "value"), [("value_dropout", 0.0), ("ssl_weight", 0.0), ("hidden", ()), ("patience", 1)]
)
def test_the_borders_are_allowed(name, value):
    assert getattr(TrainConfig(**{name: value}), name) == value
