"""What each feature is after a transformation; models read it without the transformation itself."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Optional

from recsys_ssl import artifacts


@dataclass(frozen=True)
class EncodedFeature:
    """A feature after the transformation.

    Attributes:
        name: the feature's name.
        vocabulary: name of its index space; features with the same name share it.
        size: number of indices in that space, out-of-vocabulary buckets included; 0 for a dense feature or content.
        dim: length of a dense feature; 0 for the others.
        unknown: number of out-of-vocabulary buckets, the last indices, of an id feature; 0 for the others.
        content: kind of content whose packed bytes the values are, see `kinds`; None for the others.
    """

    name: str
    vocabulary: str
    size: int
    dim: int = 0
    unknown: int = 0
    content: Optional[str] = None


def read_encoding(transform_dir: str) -> tuple[EncodedFeature, ...]:
    """The encoded features that a transformation makes, in the order of the spec."""
    text = artifacts.read_text(os.path.join(transform_dir, artifacts.ENCODING_FILE))
    return artifacts.from_json(tuple[EncodedFeature, ...], text)


def write_encoding(transform_dir: str, encoding: Sequence[EncodedFeature]) -> None:
    """Writes what `read_encoding` reads; a part of an encoding lets a tower leave features of a catalogue out."""
    artifacts.write_text(os.path.join(transform_dir, artifacts.ENCODING_FILE), artifacts.to_json(list(encoding)))
