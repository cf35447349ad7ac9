"""How to train: settings that are no facts of the data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional, get_args

from recsys_ssl.encoders.config import Size
from recsys_ssl.encoders.molecule.grover import GroverConfig
from recsys_ssl.models.two_tower import TowerConfig

Regularizer = Literal[
    "none",
    "cfm",
    "cfm_no_dropout",
    "rfm",
    "rfm_no_complement",
    "item_masks",
    "masked_spread_out",
    "dropout_only",
    "feature_dropout",
    "spread_out",
    "spread_out_square",
]
SslTowers = Literal["item", "both"]
Schedule = Literal["constant", "linear"]
Correlation = Literal["raw", "normalised"]
LogQ = Literal["none", "exact", "streaming"]


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training run; the defaults did well on the logs of docs/evidence.md.

    Attributes:
        initial_accumulator: what Adagrad adds to the sum of squared gradients of every weight. The gradient of a mean
            over a batch is small, so a value far above it keeps rare features from learning.
        schedule: of the learning rate: `constant`, or `linear` from `learning_rate` down to 0 at `steps`.
        unknown_query_rate: share of query ids that a step takes for unknown, for the sake of queries that appear
            only after training.
        regularizer: `cfm`, `rfm`, `rfm_no_complement`, `cfm_no_dropout` and `dropout_only` are the paper's
            self-supervised variants; `feature_dropout`, `spread_out` and `spread_out_square` its baselines;
            `item_masks` hides other features of every item, and `masked_spread_out` contrasts such a view with the
            whole items, which spread out. `item_masks` did best in docs/evidence.md.
        ssl_towers: towers of the two views: the `item` tower for both (the paper's), or `both`: one view through the
            query tower, one through the item tower, for data sets whose queries are items.
        ssl_weight: alpha, weight of the auxiliary loss (Eq. 5).
        alignment_weight: weight of the masked views beside the spread-out term (`masked_spread_out` only).
        ssl_temperature: temperature of the auxiliary loss.
        ssl_batch_size: items drawn uniformly from the catalogue for the auxiliary loss of a step.
        value_dropout: probability that a value of a multi-valued feature is dropped from a view.
        feature_dropout: probability that a feature is hidden in the supervised task (`feature_dropout` only).
        correlation: mutual information `raw` (the paper's) or `normalised` by the entropies (`cfm` only).
        logq: sampling-bias correction: `none`, `exact` counts or the `streaming` estimate.
        mixed_negatives: items drawn uniformly from the catalogue as further candidates of the main softmax.
        molecule_encoder: directory of a pre-trained encoder of the molecules, which decides its sizes; None: an encoder
            of the sizes below, from scratch.
        molecule_size, molecule_hidden_dim, molecule_num_heads, molecule_num_blocks, molecule_depth: see
            `PretrainConfig`.
        molecule_dropout: of the encoder, in training.
        molecule_learning_rate: of Adam for the encoder, by the same schedule; the towers keep `learning_rate`. 0: the
            encoder stays as it is and each molecule is encoded once for the whole run, without masks and dropout.
        molecule_mask_rate: share of the atoms and of the bonds of a molecule that a masked view hides.
        popularity_prior: weight of log p(item) in the score (`models.popularity`); 0: the towers learn popularity too.
        eval_every: steps between validations; also the checkpoint interval.
        patience: validations without a better Recall@50 after which training stops.
        validation_queries: held-out rankings of a validation, drawn once.
        shuffle_buffer: serialized examples in the shuffle buffer, roughly 200 bytes each.
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
    regularizer: Regularizer = "item_masks"
    ssl_towers: SslTowers = "item"
    ssl_weight: float = 0.3
    alignment_weight: float = 0.3
    ssl_temperature: float = 0.07
    ssl_batch_size: int = 512
    value_dropout: float = 0.3
    feature_dropout: float = 0.1
    correlation: Correlation = "raw"
    logq: LogQ = "exact"
    mixed_negatives: int = 0
    popularity_prior: float = 0.5
    molecule_encoder: Optional[str] = None
    molecule_size: Size = "tiny"
    molecule_hidden_dim: Optional[int] = None
    molecule_num_heads: int = 4
    molecule_num_blocks: int = 1
    molecule_depth: int = 3
    molecule_dropout: float = 0.1
    molecule_learning_rate: float = 1e-3
    molecule_mask_rate: float = 0.15
    eval_every: int = 100
    patience: int = 5
    validation_queries: int = 2000
    shuffle_buffer: int = 100_000

    def __post_init__(self):
        sizes = ("batch_size", "ssl_batch_size", "feature_dim", "embedding_dim", "shuffle_buffer", "validation_queries")
        for name in (*sizes, "steps", "eval_every", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be at least 1. Received: {getattr(self, name)}.")
        if any(width < 1 for width in self.hidden):
            raise ValueError(f"train.hidden must be widths of at least 1. Received: {self.hidden}.")
        # Written so that NaN is refused too.
        for name in ("learning_rate", "initial_accumulator", "temperature", "ssl_temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"train.{name} must be positive. Received: {getattr(self, name)}. Raise it.")
        for name in ("value_dropout", "feature_dropout", "unknown_query_rate", "molecule_mask_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"train.{name} must be in [0, 1). Received: {getattr(self, name)}.")
        not_negative = ("seed", "ssl_weight", "alignment_weight", "mixed_negatives", "popularity_prior")
        for name in (*not_negative, "molecule_learning_rate"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"train.{name} must not be negative. Received: {getattr(self, name)}.")
        choices_of = {
            "regularizer": Regularizer,
            "schedule": Schedule,
            "ssl_towers": SslTowers,
            "correlation": Correlation,
            "logq": LogQ,
            "molecule_size": Size,
        }
        for name, choices in choices_of.items():
            if getattr(self, name) not in get_args(choices):
                raise ValueError(
                    f"train.{name} must be one of {', '.join(get_args(choices))}. Received: {getattr(self, name)!r}."
                )
        if self.mixed_negatives and self.logq != "exact":
            raise ValueError(
                "mixed negatives need exact sampling probabilities. "
                f"Received: logq={self.logq!r}. Set train.logq=exact."
            )
        _ = self.grover  # its settings are checked there

    @property
    def tower(self) -> TowerConfig:
        return TowerConfig(self.feature_dim, tuple(self.hidden), self.embedding_dim, self.trainable_default)

    @property
    def grover(self) -> GroverConfig:
        """Of an encoder of molecules from scratch."""
        hidden_dim = self.molecule_hidden_dim
        return GroverConfig(
            hidden_dim=GroverConfig.SIZES[self.molecule_size] if hidden_dim is None else hidden_dim,
            num_heads=self.molecule_num_heads,
            num_blocks=self.molecule_num_blocks,
            depth=self.molecule_depth,
            dropout=self.molecule_dropout,
        )
