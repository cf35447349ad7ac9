"""How to pre-train a molecule encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Optional

from recsys_ssl.encoders.molecule.grover import Attention, GroverConfig

Size = Literal["tiny", "small", "base", "large"]


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of one pre-training run; the defaults suit some 100,000 molecules and a CPU.

    For the paper's base size on a GPU, the closest published recipe: size=base, depth=6, batch_size=256,
    init_learning_rate=1e-5, max_learning_rate=1.5e-4, final_learning_rate=1e-5, warmup_share=0.2.

    Attributes:
        size: names a hidden_dim, see `GroverConfig.SIZES`.
        hidden_dim: overrides `size`.
        num_heads, num_blocks, depth, attention, dropout: see `GroverConfig`.
        steps: one batch each; the learning rate reaches its last value there.
        warmup_share: share of the steps over which the learning rate rises linearly from `init_learning_rate` to
            `max_learning_rate`, to fall exponentially to `final_learning_rate` afterwards.
        weight_decay: times the weight is added to its gradient.
        mask_rate: share of the atoms and of the bonds of a molecule, at least one each, whose context is predicted.
        mask_inputs: whether these are hidden from the encoder (the paper) or not (the released code).
        validation_share: share of the molecules, chosen by a hash of their SMILES, that is not trained on.
        validation_molecules: how many of them a validation reads, drawn once.
        min_count: rarer contexts have no class of their own; they count as one class, other.
        max_rejected_share: more SMILES than this that give no molecule are an error.
        eval_every: steps between validations; also the checkpoint interval.
    """

    seed: int = 0
    size: Size = "small"
    hidden_dim: Optional[int] = None
    num_heads: int = 4
    num_blocks: int = 1
    depth: int = 3
    attention: Attention = "atoms"
    dropout: float = 0.1
    batch_size: int = 64
    steps: int = 10_000
    warmup_share: float = 0.05
    init_learning_rate: float = 1e-4
    max_learning_rate: float = 1e-3
    final_learning_rate: float = 1e-4
    weight_decay: float = 1e-7
    mask_rate: float = 0.15
    mask_inputs: bool = True
    validation_share: float = 0.1
    validation_molecules: int = 2000
    min_count: int = 5
    max_rejected_share: float = 0.05
    eval_every: int = 500

    def __post_init__(self):
        for name in ("batch_size", "steps", "validation_molecules", "min_count", "eval_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"pretrain.{name} must be at least 1. Received: {getattr(self, name)}.")
        # Written so that NaN is refused too.
        for name in ("init_learning_rate", "max_learning_rate", "final_learning_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"pretrain.{name} must be positive. Received: {getattr(self, name)}. Raise it.")
        for name in ("mask_rate", "validation_share"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"pretrain.{name} must be in (0, 1). Received: {getattr(self, name)}.")
        if not 0 <= self.warmup_share < 1:
            raise ValueError(f"pretrain.warmup_share must be in [0, 1). Received: {self.warmup_share}.")
        if not 0 <= self.max_rejected_share <= 1:
            raise ValueError(f"pretrain.max_rejected_share must be in [0, 1]. Received: {self.max_rejected_share}.")
        for name in ("seed", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"pretrain.{name} must not be negative. Received: {getattr(self, name)}.")
        if self.hidden_dim is None and self.size not in GroverConfig.SIZES:
            raise ValueError(f"pretrain.size must be one of {', '.join(GroverConfig.SIZES)}. Received: {self.size!r}.")
        _ = self.grover  # its settings are checked there

    @property
    def grover(self) -> GroverConfig:
        return GroverConfig(
            hidden_dim=GroverConfig.SIZES[self.size] if self.hidden_dim is None else self.hidden_dim,
            num_heads=self.num_heads,
            num_blocks=self.num_blocks,
            depth=self.depth,
            attention=self.attention,
            dropout=self.dropout,
        )
