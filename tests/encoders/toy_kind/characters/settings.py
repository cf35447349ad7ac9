"""How to make and to pre-train an encoder of characters."""

from __future__ import annotations

from dataclasses import dataclass

from recsys_ssl.encoders import config


@dataclass(frozen=True)
class Sizes:
    dim: int = 8


@dataclass(frozen=True)
class EncoderConfig(config.EncoderConfig):
    dim: int = 8


@dataclass(frozen=True)
class PretrainConfig(config.PretrainConfig):
    dim: int = 8
    mask_rate: float = 0.3
