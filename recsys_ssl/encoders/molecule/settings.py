"""How to make, pre-train and fine-tune an encoder of molecules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal, Optional, Union, get_args

from recsys_ssl.encoders import config

Attention = Literal["atoms", "heads"]
Size = Literal["tiny", "small", "base", "large"]


@dataclass(frozen=True)
class GroverConfig:
    """Sizes of the encoder.

    Attributes:
        hidden_dim: length of the outputs; GroverConfig.SIZES names some. The paper's are base (48.4 M parameters) and
            large (107.1 M); tiny and small train on a CPU.
        num_heads: must divide hidden_dim.
        num_blocks: of message passing and attention, in each view.
        depth: depth - 1 hops of messages at inference, about as many in training, see `hop_probabilities`.
        attention: "atoms" (the paper's): over the atoms or edges of a molecule; "heads" (the released code's): over
            the heads of each atom or edge.
        dropout: of messages, attention weights and outputs.
    """

    SIZES: ClassVar[Mapping[str, int]] = MappingProxyType({"tiny": 64, "small": 128, "base": 800, "large": 1200})

    hidden_dim: int
    num_heads: int = 4
    num_blocks: int = 1
    depth: int = 3
    attention: Attention = "atoms"
    dropout: float = 0.1

    def __post_init__(self):
        if min(self.hidden_dim, self.num_heads, self.num_blocks, self.depth) < 1:
            raise ValueError(f"hidden_dim, num_heads, num_blocks and depth must be 1 or more. Received: {self}.")
        if self.hidden_dim > 16_384 or max(self.num_blocks, self.depth) > 100:
            raise ValueError(
                f"hidden_dim must be at most 16,384, num_blocks and depth at most 100. Received: {self}. Lower them."
            )
        if self.hidden_dim % self.num_heads:
            raise ValueError(
                "num_heads must divide hidden_dim. "
                f"Received: num_heads={self.num_heads}, hidden_dim={self.hidden_dim}. Use a multiple as hidden_dim."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1). Received: dropout={self.dropout}. Use 0-0.2.")
        if self.attention not in get_args(Attention):
            raise ValueError(f"attention must be one of {get_args(Attention)}. Received: {self.attention!r}.")


def _grover_of(sized: Union[EncoderConfig, PretrainConfig], attention: Attention = "atoms") -> GroverConfig:
    """The sizes that some settings name."""
    if sized.hidden_dim is None and sized.size not in GroverConfig.SIZES:
        raise ValueError(f"size must be one of {', '.join(GroverConfig.SIZES)}. Received: {sized.size!r}.")
    return GroverConfig(
        hidden_dim=GroverConfig.SIZES[sized.size] if sized.hidden_dim is None else sized.hidden_dim,
        num_heads=sized.num_heads,
        num_blocks=sized.num_blocks,
        depth=sized.depth,
        attention=attention,
        dropout=sized.dropout,
    )


@dataclass(frozen=True)
class EncoderConfig(config.EncoderConfig):
    """An encoder of molecules within the item tower.

    Attributes:
        size: names a hidden_dim, see `GroverConfig.SIZES`.
        hidden_dim: overrides `size`.
        num_heads, num_blocks, depth: see `GroverConfig`.
    """

    size: Size = "tiny"
    hidden_dim: Optional[int] = None
    num_heads: int = 4
    num_blocks: int = 1
    depth: int = 3

    def __post_init__(self):
        super().__post_init__()
        _ = self.grover  # its settings are checked there

    @property
    def grover(self) -> GroverConfig:
        """Of an encoder from scratch."""
        return _grover_of(self)


@dataclass(frozen=True)
class PretrainConfig(config.PretrainConfig):
    """One pre-training run; the defaults suit some 100,000 molecules and a CPU.

    For the paper's base size on a GPU, the closest published recipe: size=base, depth=6, batch_size=256,
    init_learning_rate=1e-5, max_learning_rate=1.5e-4, final_learning_rate=1e-5, warmup_share=0.2.

    Attributes:
        size: names a hidden_dim, see `GroverConfig.SIZES`.
        hidden_dim: overrides `size`.
        num_heads, num_blocks, depth, attention, dropout: see `GroverConfig`.
        mask_rate: share of the atoms and of the bonds of a molecule, at least one each, whose context is predicted.
        mask_inputs: whether these are hidden from the encoder (the paper) or not (the released code).
        min_count: rarer contexts have no class of their own; they count as one class, other.
    """

    size: Size = "small"
    hidden_dim: Optional[int] = None
    num_heads: int = 4
    num_blocks: int = 1
    depth: int = 3
    attention: Attention = "atoms"
    dropout: float = 0.1
    mask_rate: float = 0.15
    mask_inputs: bool = True
    min_count: int = 5

    def __post_init__(self):
        super().__post_init__()
        if self.min_count < 1:
            raise ValueError(f"pretrain.min_count must be at least 1. Received: {self.min_count}.")
        if not 0 < self.mask_rate < 1:
            raise ValueError(f"pretrain.mask_rate must be in (0, 1). Received: {self.mask_rate}.")
        _ = self.grover  # its settings are checked there

    @property
    def grover(self) -> GroverConfig:
        return _grover_of(self, self.attention)


@dataclass(frozen=True)
class HeadConfig:
    """Sizes of what stands on the encoder; the paper tuned attn_out 4 or 8, ffn_hidden 500-1300 and ffn_layers 2 or 3.

    Attributes:
        attn_hidden: hidden units of the self-attentive readout.
        attn_out: weighted means per molecule; a head reads attn_out * hidden_dim numbers.
        ffn_hidden: width of the hidden layers of a head.
        ffn_layers: dense layers of a head, the last one among them.
        dropout: before each dense layer of a head.
    """

    attn_hidden: int = 128
    attn_out: int = 4
    ffn_hidden: int = 256
    ffn_layers: int = 2
    dropout: float = 0.1

    def __post_init__(self):
        if min(self.attn_hidden, self.attn_out, self.ffn_hidden, self.ffn_layers) < 1:
            raise ValueError(f"attn_hidden, attn_out, ffn_hidden and ffn_layers must be 1 or more. Received: {self}.")
        if max(self.attn_hidden, self.attn_out, self.ffn_hidden) > 16_384 or self.ffn_layers > 100:
            raise ValueError(
                "attn_hidden, attn_out and ffn_hidden must be at most 16,384, ffn_layers at most 100. "
                f"Received: {self}. Lower them."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1). Received: dropout={self.dropout}. Use 0-0.2.")


@dataclass(frozen=True)
class FinetuneConfig(config.FinetuneConfig):
    """One fine-tuning run; batches, learning rate and dropout are what searches on FreeSolv found, see
    docs/tuning/gains.md.

    Attributes:
        dist_coff: weight of the disagreement of the two heads.
        attn_hidden, attn_out, ffn_hidden, ffn_layers: see `HeadConfig`.
    """

    batch_size: int = 16
    learning_rate: float = 2e-3
    dropout: float = 0.0
    dist_coff: float = 0.1
    attn_hidden: int = 128
    attn_out: int = 4
    ffn_hidden: int = 256
    ffn_layers: int = 2

    def __post_init__(self):
        super().__post_init__()
        if not self.dist_coff >= 0:
            raise ValueError(f"finetune.dist_coff must not be negative. Received: {self.dist_coff}.")
        self.heads  # noqa: B018  (checks the sizes)

    @property
    def heads(self) -> HeadConfig:
        return HeadConfig(self.attn_hidden, self.attn_out, self.ffn_hidden, self.ffn_layers, self.dropout)
