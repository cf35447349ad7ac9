"""What each feature is after a transformation; models read it without the transformation itself."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Optional

import tensorflow as tf

_ENCODING_FILE = "encoding.json"


@dataclass(frozen=True)
class EncodedFeature:
    """A feature after the transformation.

    Attributes:
        name: the feature's name.
        vocabulary: name of its index space; features with the same name share it.
        size: number of indices in that space, out-of-vocabulary buckets included; 0 for a dense feature or content.
        dim: length of a dense feature; 0 for the others.
        unknown: number of out-of-vocabulary buckets, the last indices, of an id feature; 0 for the others.
        content: kind of content whose packed bytes the values are, see `encoders.kinds`; None for the others.
    """

    name: str
    vocabulary: str
    size: int
    dim: int = 0
    unknown: int = 0
    content: Optional[str] = None


def read_encoding(transform_dir: str) -> tuple[EncodedFeature, ...]:
    """The encoded features that a transformation makes, in the order of the spec."""
    with tf.io.gfile.GFile(os.path.join(transform_dir, _ENCODING_FILE)) as file:
        return tuple(EncodedFeature(**feature) for feature in json.load(file))


def write_encoding(transform_dir: str, encoding: Sequence[EncodedFeature]) -> None:
    """Writes what `read_encoding` reads; a part of an encoding lets a tower leave features of a catalogue out."""
    with tf.io.gfile.GFile(os.path.join(transform_dir, _ENCODING_FILE), "w") as file:
        json.dump([asdict(feature) for feature in encoding], file, indent=2)
