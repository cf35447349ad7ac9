"""How to make, pre-train and fine-tune an encoder of images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Optional, Union, get_args

from recsys_ssl.encoders import config
from recsys_ssl.encoders.image.objective import PRESETS, Objective, ObjectiveName, Weighting

VitName = Literal["mini", "tiny", "small", "base"]


class VitSize(NamedTuple):
    """Width, blocks and heads of a vision transformer."""

    dim: int
    depth: int
    num_heads: int


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of the encoder.

    Attributes:
        size: side of an image in pixels; images of another size are resized.
        channels: 1 (grey) or 3 (red, green, blue).
        patch: side of a patch in pixels, must divide `size`; there are (size / patch)^2 data tokens.
        dim: length of a token; ViTConfig.SIZES names some. Tiny, small and base are the published ones (5.5, 21.7 and
            85.8 M parameters at size 224, patch 16); mini trains on a CPU.
        depth: blocks.
        num_heads: of the attention, must divide dim.
        mlp_ratio: hidden units of a block's perceptron over dim.
        rotation: whether there is a rotation token beside the contrastive one.
        dropout: share of the images for which the last block's branches are left out in training; it rises linearly
            from 0 at the first block (stochastic depth, the published 0.1).
    """

    SIZES: ClassVar[Mapping[str, VitSize]] = MappingProxyType(
        {
            "mini": VitSize(128, 4, 4),
            "tiny": VitSize(192, 12, 3),
            "small": VitSize(384, 12, 6),
            "base": VitSize(768, 12, 12),
        }
    )

    size: int = 28
    channels: int = 1
    patch: int = 7
    dim: int = 128
    depth: int = 4
    num_heads: int = 4
    mlp_ratio: int = 4
    rotation: bool = False
    dropout: float = 0.1

    def __post_init__(self):
        if not 1 <= self.size <= 256:
            raise ValueError(f"size must be in 1-256. Received: size={self.size}. Use the side of the images.")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (grey) or 3 (colour). Received: channels={self.channels}.")
        if self.patch < 1 or self.size % self.patch:
            raise ValueError(
                f"patch must divide size. Received: patch={self.patch}, size={self.size}. Use 4-16 patches a side."
            )
        if min(self.dim, self.depth, self.num_heads, self.mlp_ratio) < 1:
            raise ValueError(f"dim, depth, num_heads and mlp_ratio must be 1 or more. Received: {self}.")
        if self.dim > 16_384 or max(self.depth, self.mlp_ratio) > 100:
            raise ValueError(
                f"dim must be at most 16,384, depth and mlp_ratio at most 100. Received: {self}. Lower them."
            )
        if self.dim % self.num_heads:
            raise ValueError(
                f"num_heads must divide dim. Received: num_heads={self.num_heads}, dim={self.dim}. "
                "Use a multiple as dim."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1). Received: dropout={self.dropout}. Use 0-0.2.")

    @property
    def num_patches(self) -> int:
        return (self.size // self.patch) ** 2

    @property
    def num_tokens(self) -> int:
        """Contrastive token, rotation token where there is one, data tokens."""
        return self.num_patches + 1 + self.rotation


def _vit_of(sized: Union[EncoderConfig, PretrainConfig], rotation: bool = False) -> ViTConfig:
    """The sizes that some settings name."""
    if sized.vit not in ViTConfig.SIZES:
        raise ValueError(f"vit must be one of {', '.join(ViTConfig.SIZES)}. Received: {sized.vit!r}.")
    named = ViTConfig.SIZES[sized.vit]
    return ViTConfig(
        size=sized.size,
        channels=sized.channels,
        patch=sized.patch,
        dim=named.dim if sized.dim is None else sized.dim,
        depth=named.depth if sized.depth is None else sized.depth,
        num_heads=named.num_heads if sized.num_heads is None else sized.num_heads,
        rotation=rotation,
        dropout=sized.dropout,
    )


@dataclass(frozen=True)
class EncoderConfig(config.EncoderConfig):
    """An encoder of images within the item tower.

    Attributes:
        vit: names dim, depth and num_heads, see `ViTConfig.SIZES`.
        size, channels, patch: see `ViTConfig`.
        dim, depth, num_heads: override `vit`.
    """

    vit: VitName = "mini"
    size: int = 28
    channels: int = 1
    patch: int = 7
    dim: Optional[int] = None
    depth: Optional[int] = None
    num_heads: Optional[int] = None

    def __post_init__(self):
        super().__post_init__()
        _ = self.sizes  # its settings are checked there

    @property
    def sizes(self) -> ViTConfig:
        """Of an encoder from scratch."""
        return _vit_of(self)


@dataclass(frozen=True)
class PretrainConfig(config.PretrainConfig):
    """One pre-training run; the defaults suit some 10,000 small images and a CPU.

    Learning rates, `min_crop`, and temperature and head of a contrast are what a search found on Fashion-MNIST, see
    docs/tuning/gains.md.

    Attributes:
        objective: names a published set of losses and corruptions, see `objective.PRESETS`.
        vit, size, channels, patch, dim, depth, num_heads, dropout: see `EncoderConfig` and `ViTConfig`.
        min_crop, brightness, contrast, colour, flip: of the augmentations, see `views.Augmentation`.

    All others override the objective's own value, see `Objective`; None leaves it as it is.
    """

    batch_size: int = 128
    max_learning_rate: float = 2e-3
    final_learning_rate: float = 7e-4
    objective: ObjectiveName = "contrast"
    vit: VitName = "mini"
    size: int = 28
    channels: int = 1
    patch: int = 7
    dim: Optional[int] = None
    depth: Optional[int] = None
    num_heads: Optional[int] = None
    dropout: float = 0.1
    min_crop: float = 0.53
    brightness: float = 0.4
    contrast: float = 0.4
    colour: float = 0.2
    flip: bool = True
    reconstruction_weight: Optional[float] = None
    contrast_weight: Optional[float] = None
    rotation_weight: Optional[float] = None
    weighting: Optional[Weighting] = None
    temperature: Optional[float] = None
    momentum: Optional[float] = None
    masked_only: Optional[bool] = None
    head_layers: Optional[int] = None
    noise: Optional[float] = None
    zeros: Optional[float] = None
    alien: Optional[float] = None
    alien_rate: Optional[float] = None
    grey: Optional[float] = None
    blur: Optional[float] = None
    jitter: Optional[float] = None
    least: Optional[float] = None
    min_side: Optional[float] = None
    max_side: Optional[float] = None
    align: Optional[bool] = None

    def __post_init__(self):
        super().__post_init__()
        if not 0 < self.min_crop <= 1:
            raise ValueError(f"pretrain.min_crop must be in (0, 1]. Received: {self.min_crop}. Use 0.1-1.")
        for name in ("brightness", "contrast", "colour"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"pretrain.{name} must be in [0, 1]. Received: {getattr(self, name)}. Use 0-0.5.")
        _ = self.chosen, self.sizes  # their settings are checked there

    @property
    def chosen(self) -> Objective:
        """The objective with what overrides it."""
        if self.objective not in get_args(ObjectiveName):
            names = ", ".join(get_args(ObjectiveName))
            raise ValueError(f"pretrain.objective must be one of {names}. Received: {self.objective!r}.")
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(Objective)}
        given = {name: value for name, value in values.items() if value is not None}
        return Objective(**{**PRESETS[self.objective], **given})

    @property
    def sizes(self) -> ViTConfig:
        """Of the encoder; it has a rotation token where rotations are predicted."""
        return _vit_of(self, rotation=self.chosen.rotation_weight > 0)


@dataclass(frozen=True)
class FinetuneConfig(config.FinetuneConfig):
    """One fine-tuning run of a linear head and, unless `encoder_lr_scale` is 0, of the encoder below it."""
