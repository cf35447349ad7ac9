"""Kinds of content that have an encoder: the only place that names them, below the specs, which may use them.

A kind is a folder of `encoders` with these modules, each loaded when it is asked for, so that a worker that reads
content loads no TensorFlow and a tower no reader:

    settings   EncoderConfig, PretrainConfig: how to make and to pre-train an encoder; no TensorFlow
    column     read: raw cells -> packed bytes, or why not; at ingestion, no TensorFlow
    encoder    make, restore, unpack, concat: packed bytes -> content -> vectors, whole or under a mask; no raw reader
    pretext    Pretext: what pre-training reads, predicts and tells
    embed      read, Embedder: a file of raw content -> vectors
    predict    properties learned on an encoder (a kind may do without)
    space      FINETUNE: the settings of `predict` that are searched (as it); no TensorFlow

`encoders.contract` says what each of these looks like, docs/new_encoder.md how to write one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType

KINDS = {
    "molecule": "recsys_ssl.encoders.molecule",
}
"""Kind -> its folder."""

PLANNED = ("image",)
"""Kinds that a spec may not use yet; their names are kept free."""


def sources(some: Iterable[str], *parts: str) -> list[str]:
    """The modules of parts of some kinds: what a cache key must cover besides the imports where `load` is called."""
    return [source(kind, part) for kind in some for part in parts]


def source(kind: str, part: str) -> str:
    """The module of a part, e.g. source("molecule", "column").

    Raises:
        ValueError: there is no such kind.
    """
    if kind not in KINDS:
        raise ValueError(f"a kind must be one of {', '.join(KINDS)}. Received: {kind!r}.")
    return f"{KINDS[kind]}.{part}"


def load(kind: str, part: str) -> ModuleType:
    """Imports a part of a kind.

    Raises:
        ValueError: there is no such kind, or it has no such part.
    """
    name = source(kind, part)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(f"kind {kind!r} has no {part}. Received: no module {name}. Use another kind.") from error
