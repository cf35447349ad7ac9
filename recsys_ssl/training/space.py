"""Which settings of the towers are searched: the two that the paper tunes, and those that all arms depend on most."""

from __future__ import annotations

from recsys_ssl.features.schema import is_multi_valued
from recsys_ssl.spec import FeatureSpec, TextFeature
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.regularizers import REGULARIZERS
from recsys_ssl.tuning.space import Choice, Dimension, Ladder, LogUniform, Space, Uniform

SHARED: Space = {
    "learning_rate": LogUniform(0.005, 0.5),
    "temperature": LogUniform(0.03, 0.5),
    "popularity_prior": Uniform(0.0, 1.0),
    "batch_size": Ladder((128, 256, 512, 1024, 2048)),
}
"""Of every arm."""
SELF_SUPERVISED: Space = {
    "ssl.weight": LogUniform(0.01, 3.0),
    "ssl.temperature": LogUniform(0.03, 0.3),
    "ssl.batch_size": Ladder((128, 256, 512, 1024)),
}
"""Of an arm with an auxiliary loss."""
VALUE_DROPOUT: Space = {"ssl.value_dropout": Uniform(0.0, 0.9)}
"""Where there are features of several values to drop some of."""
FEATURE_DROPOUT: Space = {"ssl.feature_dropout": Uniform(0.02, 0.5)}
"""Of the regularizer of that name, which has no auxiliary loss."""
START: Space = {"start.ids": Choice(("random", "factors"))}
"""Where items have an id to start."""
TRANSFORMER: Space = {
    "history.learning_rate": LogUniform(3e-4, 3e-3),
    "history.dropout": Uniform(0.0, 0.5),
}
"""Where a transformer reads the histories."""
ENCODER: Space = {"learning_rate": LogUniform(1e-4, 3e-3)}
"""Behind `encoder.KIND`, where an encoder of content is trained with the towers."""


def make_space(spec: FeatureSpec, config: TrainConfig) -> dict[str, Dimension]:
    """The settings worth a search for a data set and an arm, named as behind `train.` or `control.`.

    Args:
        config: what all trials share; it decides the regularizer and which encoders there are.
    """
    space: dict[str, Dimension] = dict(SHARED)
    regularizer = REGULARIZERS[config.ssl.regularizer]
    if regularizer.drops_features:
        space |= FEATURE_DROPOUT
    if regularizer.loss is not None:
        space |= SELF_SUPERVISED
    if regularizer.loss in ("contrast", "masked_spread_out") and regularizer.drops_values and _has_several_values(spec):
        space |= VALUE_DROPOUT
    if spec.item_id_feature is not None:
        space |= START
    if config.history.encoder == "transformer":
        space |= TRANSFORMER
    for kind in spec.content_kinds:
        if config.encoder_config(kind).learning_rate > 0:
            space |= {f"encoder.{kind}.{name}": dimension for name, dimension in ENCODER.items()}
    return space


def _has_several_values(spec: FeatureSpec) -> bool:
    return any(is_multi_valued(feature) or isinstance(feature, TextFeature) for feature in spec.item_features)
