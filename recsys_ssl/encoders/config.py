"""Settings that every kind of content shares; a kind adds its own, see its `settings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

MAX_BATCH = 1_000_000
"""Records of a batch; far fewer already fill the memory of a host."""


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder within the item tower, `train.encoder.KIND.*`.

    Attributes:
        pretrained: directory of a pre-trained encoder, which decides its sizes; None: one from scratch, of the kind's
            own settings.
        learning_rate: of Adam for the encoder, by the schedule of the towers, which keep `train.learning_rate`. 0: the
            encoder stays as it is and each record is encoded once for the whole run, without masks and dropout.
        dropout: of the encoder, in training.
    """

    pretrained: Optional[str] = None
    learning_rate: float = 1e-3
    dropout: float = 0.1

    def __post_init__(self):
        if not self.learning_rate >= 0:
            raise ValueError(f"learning_rate must not be negative. Received: {self.learning_rate}.")


@dataclass(frozen=True)
class PretrainConfig:
    """One pre-training run, `pretrain.*`.

    Attributes:
        steps: one batch each; the learning rate reaches its last value there.
        warmup_share: share of the steps over which the learning rate rises linearly from `init_learning_rate` to
            `max_learning_rate`, to fall exponentially to `final_learning_rate` afterwards.
        weight_decay: times the weight is added to its gradient.
        validation_share: share of the records, chosen by a hash of their content, that is not trained on.
        validation_size: how many of them a validation reads, drawn once.
        max_rejected_share: more records than this that give no content are an error.
        eval_every: steps between validations; also the checkpoint interval.
    """

    seed: int = 0
    batch_size: int = 64
    steps: int = 10_000
    warmup_share: float = 0.05
    init_learning_rate: float = 1e-4
    max_learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    weight_decay: float = 1e-7
    validation_share: float = 0.1
    validation_size: int = 2000
    max_rejected_share: float = 0.05
    eval_every: int = 500

    def __post_init__(self):
        for name in ("batch_size", "steps", "validation_size", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"pretrain.{name} must be at least 1. Received: {getattr(self, name)}.")
        if self.batch_size > MAX_BATCH:
            raise ValueError(f"pretrain.batch_size must be at most {MAX_BATCH:,}. Received: {self.batch_size}.")
        # Written so that NaN is refused too.
        for name in ("init_learning_rate", "max_learning_rate", "final_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"pretrain.{name} must be positive. Received: {getattr(self, name)}. Raise it.")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"pretrain.validation_share must be in (0, 1). Received: {self.validation_share}.")
        if not 0 <= self.warmup_share < 1:
            raise ValueError(f"pretrain.warmup_share must be in [0, 1). Received: {self.warmup_share}.")
        if not 0 <= self.max_rejected_share <= 1:
            raise ValueError(f"pretrain.max_rejected_share must be in [0, 1]. Received: {self.max_rejected_share}.")
        for name in ("seed", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"pretrain.{name} must not be negative. Received: {getattr(self, name)}.")


@dataclass(frozen=True)
class FinetuneConfig:
    """One fine-tuning run, `finetune.*`.

    Attributes:
        epochs: passes over the training records; the schedule of the learning rate ends with the last one.
        learning_rate: the largest one. It rises from a tenth over `warmup_epochs` and falls to a tenth at the end.
        encoder_lr_scale: factor on the learning rate of the encoder; 0 leaves the encoder as it is.
        dropout: of encoder and heads.
        patience: epochs without a better validation metric after which training stops.
    """

    seed: int = 0
    epochs: int = 50
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_epochs: int = 2
    encoder_lr_scale: float = 1.0
    dropout: float = 0.1
    patience: int = 10

    def __post_init__(self):
        for name in ("batch_size", "patience", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"finetune.{name} must be at least 1. Received: {getattr(self, name)}.")
        if self.batch_size > MAX_BATCH:
            raise ValueError(f"finetune.batch_size must be at most {MAX_BATCH:,}. Received: {self.batch_size}.")
        # Written so that NaN is refused too.
        for name in ("seed", "warmup_epochs", "encoder_lr_scale"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"finetune.{name} must not be negative. Received: {getattr(self, name)}.")
        if not self.learning_rate > 0:
            raise ValueError(f"finetune.learning_rate must be positive. Received: {self.learning_rate}. Use 1e-4-2e-3.")
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                "finetune.warmup_epochs must be less than finetune.epochs. "
                f"Received: {self.warmup_epochs} of {self.epochs}. Train longer or warm up for fewer epochs."
            )
