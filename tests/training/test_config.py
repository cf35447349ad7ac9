"""Settings that cannot be meant are refused by name."""

import pytest

from recsys_ssl.encoders.molecule.settings import GroverConfig
from recsys_ssl.models.two_tower import TowerConfig
from recsys_ssl.settings import build, nest, parse_section
from recsys_ssl.training.config import HistoryConfig, SslConfig, TrainConfig

NAN = float("nan")


def make(settings):
    """A config of dotted names."""
    return build("train", TrainConfig, nest(settings))


def test_the_defaults_are_valid_and_give_the_towers_their_sizes():
    config = TrainConfig(feature_dim=3, hidden=[7, 5], embedding_dim=2, trainable_default=False)
    assert config.tower == TowerConfig(3, (7, 5), 2, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("ssl.batch_size", -1),
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
        ("ssl.temperature", 0.0),
        ("ssl.value_dropout", 1.0),
        ("ssl.value_dropout", -0.1),
        ("ssl.feature_dropout", 1.5),
        ("ssl.feature_dropout", NAN),
        ("unknown_query_rate", 1.0),
        ("ssl.weight", -1.0),
        ("ssl.weight", NAN),
        ("seed", -1),
        ("encoder.molecule.learning_rate", -1e-3),
        ("encoder.molecule.learning_rate", NAN),
        ("ssl.mask_rate", 1.0),
        ("encoder.molecule.size", "huge"),
        ("history.encoder", "gru"),
        ("history.layers", 0),
        ("history.heads", 0),
        ("history.dropout", 1.0),
        ("history.learning_rate", 0.0),
        ("ssl.regularizer", "cmf"),
        ("ssl.correlation", "normalized"),
        ("logq", "counts"),
        ("history.length", 0),
        ("history.repeats", "maybe"),
    ],
    ids=str,
)
def test_an_impossible_value_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"train\.{name}:? .*Received: |{name.split('.')[-1]} must .*Received: "):
        make({name: value})


def test_the_encoder_of_molecules_has_its_sizes():
    default = TrainConfig().encoder_config("molecule").grover
    assert default == GroverConfig(hidden_dim=64, num_heads=4, num_blocks=1, depth=3, dropout=0.1)
    sizes = {"num_heads": 2, "num_blocks": 3, "depth": 4, "dropout": 0.0}
    config = TrainConfig(encoder={"molecule": {"size": "small", **sizes}})
    assert config.encoder_config("molecule").grover == GroverConfig(hidden_dim=128, **sizes)
    assert make({"encoder.molecule.hidden_dim": 8}).encoder_config("molecule").grover.hidden_dim == 8
    with pytest.raises(ValueError, match=r"num_heads must divide hidden_dim\. Received: num_heads=4, hidden_dim=6"):
        make({"encoder.molecule.hidden_dim": 6})


def test_pretrained_encoders_are_named_by_kind():
    assert TrainConfig().pretrained == {}
    assert make({"encoder.molecule.learning_rate": 0}).pretrained == {}
    assert make({"encoder.molecule.pretrained": "d"}).pretrained == {"molecule": "d"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ssl.wight": 1}, r"unknown setting train\.ssl\.wight\. Use one of: regularizer, "),
        ({"encoder.molecule.sise": 1}, r"unknown setting train\.encoder\.molecule\.sise\. Use one of: pretrained, "),
        ({"encoder.film.size": 1}, r"a kind must be one of molecule, image\. Received: 'film'"),
        ({"encoder.molecule.depth": "deep"}, r"train\.encoder\.molecule\.depth: Input should be a valid integer"),
    ],
)
def test_an_unknown_setting_is_refused_by_name(settings, message):
    with pytest.raises(ValueError, match=message):
        make(settings)


@pytest.mark.parametrize(
    ("text", "value"), [("on", "on"), ("off", "off"), ("true", "on"), ("auto", "auto"), ("'off'", "off")]
)
def test_a_switch_is_read_from_yaml(text, value):
    config = parse_section("train", TrainConfig, [f"train.history.repeats={text}", "train.history.length=7"])
    assert config.history == HistoryConfig(length=7, repeats=value)


@pytest.mark.parametrize(("name", "value"), [("hidden", ()), ("patience", 1), ("popularity_prior", 0.0)])
def test_the_borders_are_allowed(name, value):
    assert getattr(TrainConfig(**{name: value}), name) == value


@pytest.mark.parametrize("name", ["value_dropout", "weight", "mask_rate"])
def test_the_borders_of_the_regularizer_are_allowed(name):
    assert getattr(SslConfig(**{name: 0.0}), name) == 0.0
