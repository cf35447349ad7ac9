"""Kinds of content that have an encoder: the only place that names them, below the specs, which may use them.

A kind is a folder of `encoders` with these modules, each loaded when it is asked for, so that a worker that reads
content loads no TensorFlow and a tower no reader:

    settings   EncoderConfig, PretrainConfig: how to make and to pre-train an encoder; no TensorFlow
    reading    ColumnConfig: what a spec may say of a column (a kind may do without); no library at all
    column     read: raw cells -> packed bytes, or why not; at ingestion, no TensorFlow
    guess      tell: whether texts look like raw cells (a kind may do without); no TensorFlow
    encoder    make, restore, unpack, concat: packed bytes -> content -> vectors, whole or under a mask; no raw reader
    pretext    Pretext: what pre-training reads, predicts and tells
    embed      read, Embedder: a file of raw content -> vectors
    picture    draw: packed bytes -> a picture for people (a kind may do without)
    predict    properties learned on an encoder (a kind may do without)
    space      FINETUNE: the settings of `predict` that are searched (as it); no TensorFlow

`encoders.contract` says what each of these looks like, docs/new_encoder.md how to write one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Optional

KINDS = {
    "molecule": "recsys_ssl.encoders.molecule",
    "image": "recsys_ssl.encoders.image",
}
"""Kind -> its folder."""


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
    module = find(kind, part)
    if module is None:
        raise ValueError(f"kind {kind!r} has no {part}. Received: no module {source(kind, part)}. Use another kind.")
    return module


def find(kind: str, part: str) -> Optional[ModuleType]:
    """Imports a part that a kind may do without; None where it does.

    Raises:
        ValueError: there is no such kind.
    """
    name = source(kind, part)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
