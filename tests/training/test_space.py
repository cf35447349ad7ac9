"""The spaces of the towers and of fine-tuning: every name is a setting, and every end of a range is allowed."""

import pytest

from recsys_ssl import kinds
from recsys_ssl.settings import ConfigError, change
from recsys_ssl.training.config import HistoryConfig, SslConfig, TrainConfig
from recsys_ssl.training.regularizers import REGULARIZERS
from recsys_ssl.training.space import make_space
from recsys_ssl.tuning.space import Choice, Ladder

SHARED = ["learning_rate", "temperature", "popularity_prior", "batch_size"]
START = ["start.ids"]
SSL = ["ssl.weight", "ssl.temperature", "ssl.batch_size"]


def ends(dimension):
    return dimension.values if isinstance(dimension, (Ladder, Choice)) else (dimension.low, dimension.high)


def check_ends(section, config, space):
    for name, dimension in space.items():
        for value in ends(dimension):
            changed = change(section, config, {name: value})
            for part in name.split("."):
                changed = changed[part] if isinstance(changed, dict) else getattr(changed, part)
            assert changed == value


@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_towers_have_their_settings(shop, regularizer):
    config = TrainConfig(ssl=SslConfig(regularizer=regularizer), history=HistoryConfig(encoder="transformer"))
    space = make_space(shop.spec, config)
    check_ends("train", config, space)
    assert list(space)[:4] == SHARED
    assert list(space)[-2:] == ["history.learning_rate", "history.dropout"]


@pytest.mark.parametrize(
    ("regularizer", "names"),
    [
        ("none", []),
        ("item_masks", [*SSL, "ssl.value_dropout"]),
        ("spread_out", SSL),
        ("feature_dropout", ["ssl.feature_dropout"]),
    ],
)
def test_a_regularizer_has_what_it_reads(shop, regularizer, names):
    config = TrainConfig(ssl=SslConfig(regularizer=regularizer))
    assert list(make_space(shop.spec, config)) == SHARED + names + START


def test_ids_start_somewhere_only_where_items_have_them(shop):
    spec, config = shop.spec, TrainConfig()
    kept = [feature for feature in spec.item_features if feature.kind != "id"]
    without = spec.model_copy(update={"items": spec.items.model_copy(update={"features": kept})})
    assert set(make_space(spec, config)) - set(make_space(without, config)) == set(START)


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_fine_tuning_of_a_kind_has_its_settings(kind):
    check_ends("finetune", kinds.load(kind, "settings").FinetuneConfig(), kinds.load(kind, "space").FINETUNE)


def test_pretraining_of_images_has_its_settings():
    check_ends("pretrain", kinds.load("image", "settings").PretrainConfig(), kinds.load("image", "space").PRETRAIN)


def test_a_change_keeps_the_rest_and_is_checked():
    config = TrainConfig(steps=7, ssl=SslConfig(weight=0.5), encoder={"molecule": {"dropout": 0.2}})
    changed = change("train", config, {"ssl.temperature": 0.2, "encoder.molecule.learning_rate": 0.01})
    assert changed.ssl == SslConfig(weight=0.5, temperature=0.2)
    assert changed.encoder == {"molecule": {"dropout": 0.2, "learning_rate": 0.01}}
    assert changed.steps == 7
    assert config.ssl.temperature == 0.07
    with pytest.raises(ConfigError, match=r"unknown setting train.ssl.wait"):
        change("train", config, {"ssl.wait": 1.0})
    with pytest.raises(ConfigError, match=r"train.temperature must be positive"):
        change("train", config, {"temperature": 0.0})
