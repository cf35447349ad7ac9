"""How to train: settings that are no facts of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from recsys_ssl import kinds
from recsys_ssl.encoders.config import EncoderConfig
from recsys_ssl.models.history import HistoryConfig, HistoryKind, Switch
from recsys_ssl.models.two_tower import TowerConfig
from recsys_ssl.settings import build
from recsys_ssl.training.regularizers import REGULARIZERS

SslTowers = Literal["auto", "item", "both"]
Schedule = Literal["constant", "linear"]
Correlation = Literal["raw", "normalised"]
LogQ = Literal["none", "exact", "streaming"]
StartIds = Literal["random", "factors"]
BY_LOG = ("steps", "batch_size", "learning_rate", "temperature", "start.ids", "ssl.batch_size")
"""Settings that a log may choose, see `training.defaults`."""


@dataclass(frozen=True)
class SslConfig:
    """The regularizer and its settings, which an arm without one does not read: none of them retrains the control.

    Attributes:
        regularizer: `cfm`, `rfm`, `rfm_no_complement` and `dropout_only` are the paper's self-supervised variants;
            `feature_dropout`, `spread_out` and `spread_out_square` its baselines; `item_masks` hides other features
            of every item. `across_towers` hides nothing: where queries are items, both towers' vectors of an item
            must find each other.
        towers: towers of the two views: the `item` tower for both (the paper's), or `both`: one view through the
            query tower, one through the item tower, for data sets whose queries are items; `auto`: these have `both`.
        weight: alpha, weight of the auxiliary loss (Eq. 5).
        temperature: of the auxiliary loss.
        batch_size: items drawn uniformly from the catalogue for the auxiliary loss of a step.
        value_dropout: probability that a value of a multi-valued feature is dropped from a view.
        feature_dropout: probability that a feature is hidden in the supervised task (`feature_dropout` only).
        correlation: mutual information `raw` (the paper's) or `normalised` by the entropies (`cfm` only).
        mask_rate: share of the parts of an item's content (atoms and bonds, ...) that a masked view hides.
    """

    regularizer: str = "item_masks"
    towers: SslTowers = "auto"
    weight: float = 0.3
    temperature: float = 0.07
    batch_size: int = 512
    value_dropout: float = 0.3
    feature_dropout: float = 0.1
    correlation: Correlation = "raw"
    mask_rate: float = 0.15

    def __post_init__(self):
        _check(self, "train.ssl", choices={"towers": SslTowers, "correlation": Correlation})
        if self.regularizer not in REGULARIZERS:
            raise ValueError(
                f"train.ssl.regularizer must be one of {', '.join(REGULARIZERS)}. Received: {self.regularizer!r}."
            )


@dataclass(frozen=True)
class StartConfig:
    """Where the embeddings of ids start; content features start at random either way.

    Attributes:
        ids: `factors` of a matrix factorisation of the training positives (iALS), or `random`. Where items have no id
            feature there is nothing to start.
        alpha, regularization, frequency_exponent, iterations: of the factorisation, see `ials.Settings`.
    """

    ids: StartIds = "random"
    alpha: float = 5.0
    regularization: float = 30.0
    frequency_exponent: float = 0.0
    iterations: int = 15

    def __post_init__(self):
        _check(self, "train.start", choices={"ids": StartIds})


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run; the defaults did well on the logs of docs/evidence.

    Attributes:
        initial_accumulator: what Adagrad adds to the sum of squared gradients of every weight. The gradient of a mean
            over a batch is small, so a value far above it keeps rare features from learning.
        schedule: of the learning rate: `constant`, or `linear` from `learning_rate` down to 0 at `steps`.
        unknown_query_rate: share of query ids that a step takes for unknown, for the sake of queries that appear
            only after training.
        logq: sampling-bias correction: `none`, `exact` counts or the `streaming` estimate.
        popularity_prior: weight of log p(item) in the score (`models.popularity`); 0: the towers learn popularity too.
        start: where embeddings of ids begin.
        history: what both arms make of an item_sequence, what a query chose before.
        ssl: what the treatment has and the control has not.
        encoder: kind of content -> settings of its encoder, those of the kind's EncoderConfig.
        eval_every: steps between validations; also the checkpoint interval.
        patience: validations without a better Recall@k (`metrics.choose_k`) after which training stops.
        validation_queries: held-out rankings of a validation, drawn once.
        shuffle_buffer: serialized examples in the shuffle buffer, roughly 200 bytes each.
        by_log: names of BY_LOG whose values the stage that trains may replace by those that suit the size of the log.
            On the command line all that were not set; `[]` keeps the values below.
    """

    seed: int = 0
    steps: int = 1000
    batch_size: int = 1024
    learning_rate: float = 0.1
    initial_accumulator: float = 1e-5
    schedule: Schedule = "linear"
    temperature: float = 0.1
    feature_dim: int = 64
    hidden: tuple[int, ...] = ()
    embedding_dim: int = 64
    trainable_default: bool = True
    unknown_query_rate: float = 0.2
    logq: LogQ = "exact"
    popularity_prior: float = 0.5
    start: StartConfig = field(default_factory=StartConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    ssl: SslConfig = field(default_factory=SslConfig)
    encoder: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    eval_every: int = 100
    patience: int = 5
    validation_queries: int = 2000
    shuffle_buffer: int = 100_000
    by_log: tuple[str, ...] = ()

    def __post_init__(self):
        _check(self, "train", choices={"schedule": Schedule, "logq": LogQ})
        if not set(self.by_log) <= set(BY_LOG):
            raise ValueError(
                f"train.by_log must be names of {', '.join(BY_LOG)}. Received: {', '.join(self.by_log):.99}."
            )
        _check(self.history, "train.history", choices={"encoder": HistoryKind, "repeats": Switch})
        if len(self.hidden) > 16 or any(not 1 <= width <= _AT_MOST["feature_dim"] for width in self.hidden):
            raise ValueError(
                f"train.hidden must be up to 16 widths of 1 to {_AT_MOST['feature_dim']:,}. "
                f"Received: {self.hidden!s:.99}."
            )
        for kind in self.encoder:
            self.encoder_config(kind)  # its settings are checked there

    @property
    def tower(self) -> TowerConfig:
        return TowerConfig(self.feature_dim, tuple(self.hidden), self.embedding_dim, self.trainable_default)

    def encoder_config(self, kind: str) -> EncoderConfig:
        """The settings of the encoder of a kind.

        Raises:
            ValueError: there is no such kind, a setting is unknown, or has the wrong type or range.
        """
        config = kinds.load(kind, "settings").EncoderConfig
        return build(f"train.encoder.{kind}", config, self.encoder.get(kind, {}))

    @property
    def pretrained(self) -> dict[str, str]:
        """Kind -> directory of the pre-trained encoder, where there is one."""
        found = {kind: self.encoder_config(kind).pretrained for kind in self.encoder}
        return {kind: directory for kind, directory in found.items() if directory is not None}


_AT_LEAST_1 = (
    *("batch_size", "feature_dim", "embedding_dim", "shuffle_buffer", "validation_queries"),
    *("steps", "eval_every", "patience", "iterations", "layers", "heads", "length"),
)
# Far above what helps, and below what takes the memory of a host at once.
_AT_MOST = {
    "batch_size": 1_000_000,
    **dict.fromkeys(("feature_dim", "embedding_dim"), 65_536),
    **dict.fromkeys(("shuffle_buffer", "validation_queries"), 100_000_000),
    "iterations": 10_000,
    "frequency_exponent": 2,
    "layers": 64,
}
_POSITIVE = ("learning_rate", "initial_accumulator", "temperature", "alpha", "regularization")
_RATES = ("value_dropout", "feature_dropout", "unknown_query_rate", "mask_rate", "dropout")
_NOT_NEGATIVE = ("seed", "weight", "popularity_prior", "frequency_exponent")


def _check(config: Any, section: str, choices: Mapping[str, Any]) -> None:
    """Checks the ranges of the settings that a config has; written so that NaN is refused too."""
    values = vars(config)
    for name in _AT_LEAST_1:
        if name in values and values[name] < 1:
            raise ValueError(f"{section}.{name} must be at least 1. Received: {values[name]}.")
    for name, most in _AT_MOST.items():
        if name in values and values[name] > most:
            raise ValueError(f"{section}.{name} must be at most {most:,}. Received: {values[name]}. Lower it.")
    for name in _POSITIVE:
        if name in values and not values[name] > 0:
            raise ValueError(f"{section}.{name} must be positive. Received: {values[name]}. Raise it.")
    for name in _RATES:
        if name in values and not 0 <= values[name] < 1:
            raise ValueError(f"{section}.{name} must be in [0, 1). Received: {values[name]}.")
    for name in _NOT_NEGATIVE:
        if name in values and not values[name] >= 0:
            raise ValueError(f"{section}.{name} must not be negative. Received: {values[name]}.")
    for name, allowed in choices.items():
        if values[name] not in get_args(allowed):
            raise ValueError(
                f"{section}.{name} must be one of {', '.join(get_args(allowed))}. Received: {values[name]!r}."
            )
