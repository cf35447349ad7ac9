"""Vectors of content in two calls, whatever its kind."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

from recsys_ssl import kinds
from recsys_ssl.encoders import store
from recsys_ssl.encoders.contract import Embedder


def load_encoder(directory: str | os.PathLike) -> Embedder:
    """A pre-trained encoder that `embed` takes, of the kind that it was trained for.

    Args:
        directory: WORKDIR/encoder of `recsys-ssl pretrain KIND`.

    Raises:
        FileNotFoundError: there is no encoder.
        ValueError: its weights do not fit its settings.
    """
    return kinds.load(store.read_kind(directory), "embed").Embedder(store.load(directory))


def embed(encoder: Embedder, contents: Iterable, workers: int = 1) -> np.ndarray:
    """The vectors of raw content, e.g. of SMILES.

    Args:
        encoder: of `load_encoder`.
        contents: [num_records].
        workers: processes that read the content; more than one needs a script that guards its start with
            `if __name__ == "__main__"`.

    Returns:
        [num_records, encoder.dim] float32.

    Raises:
        ValueError: some of it gives no vector; `encoder.embed(contents, rejected=[])` lists it instead.

    Examples:
        >>> import tempfile
        >>> from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
        >>> from recsys_ssl.encoders.molecule.settings import PretrainConfig
        >>> config, directory = PretrainConfig(hidden_dim=8, num_heads=2), tempfile.mkdtemp() + "/encoder"
        >>> store.save(MoleculeEncoder(config.grover), "molecule", config.grover, directory, config)  # not trained
        >>> embed(load_encoder(directory), ["CCO", "c1ccccc1"]).shape
        (2, 16)
    """
    return encoder.embed(contents, workers=workers)
