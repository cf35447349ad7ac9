"""A pre-trained encoder on disk: its settings, its weights, and what its kind keeps beside them."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from recsys_ssl import artifacts, kinds

_CONFIG_FILE, _WEIGHTS_FILE = "config.json", "weights.npz"


def save(
    encoder, kind: str, settings: Any, directory: str | os.PathLike, pretraining: Any, files: Mapping[str, str] = {}
) -> None:
    """Writes an encoder; replaces what was there.

    Args:
        settings: a dataclass; the kind's `restore` makes an encoder of its fields.
        pretraining: the settings that made the weights.
        files: name -> text of what is kept beside them.
    """
    facts = {"kind": kind, "encoder": settings, "pretrain": pretraining}
    with artifacts.whole_directory(directory) as unfinished:
        (unfinished / _CONFIG_FILE).write_text(artifacts.to_json(facts), encoding="utf-8")
        for name, text in files.items():
            (unfinished / name).write_text(text, encoding="utf-8")
        np.savez(unfinished / _WEIGHTS_FILE, *encoder.get_weights())


def load(directory: str | os.PathLike, kind: str | None = None):
    """The encoder that `save` wrote, a pre-training run to WORKDIR/encoder.

    Args:
        kind: which it must be; None: any.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is one of another kind, its weights are those of another encoder, or a file is damaged.
    """
    directory = Path(directory)
    facts = _read_facts(directory, kind)
    module = kinds.load(facts["kind"], "encoder")
    with artifacts.reading(directory / _CONFIG_FILE):
        encoder = module.restore(facts["encoder"])
    with artifacts.reading(directory / _WEIGHTS_FILE), np.load(directory / _WEIGHTS_FILE) as stored:
        weights = [stored[f"arr_{i}"] for i in range(len(stored.files))]
    if [weight.shape for weight in weights] != [weight.shape for weight in encoder.weights]:
        raise ValueError(
            f"{_WEIGHTS_FILE} must fit {_CONFIG_FILE}. Received: {len(weights)} weights, {len(encoder.weights)} "
            f"expected, in {str(directory)!r}. Write the encoder again."
        )
    encoder.set_weights(weights)
    return encoder


def read_kind(directory: str | os.PathLike) -> str:
    """The kind of content that the encoder of a directory encodes.

    Raises:
        FileNotFoundError: there is none.
    """
    return _read_facts(Path(directory), None)["kind"]


def read_pretraining(directory: str | os.PathLike) -> Any:
    """The PretrainConfig that made the encoder of a directory.

    Raises:
        FileNotFoundError: there is none.
    """
    facts = _read_facts(Path(directory), None)
    module = kinds.load(facts["kind"], "settings")
    with artifacts.reading(Path(directory) / _CONFIG_FILE):
        return module.PretrainConfig(**facts["pretrain"])


def _read_facts(directory: Path, kind: str | None) -> dict[str, Any]:
    if not (directory / _CONFIG_FILE).is_file() or not (directory / _WEIGHTS_FILE).is_file():
        raise FileNotFoundError(
            f"an encoder must have {_CONFIG_FILE} and {_WEIGHTS_FILE}. Received: {str(directory)!r}. "
            f"Name the directory encoder/ of a finished `recsys-ssl pretrain {kind or 'KIND'}`."
        )
    facts = artifacts.read_fields(directory / _CONFIG_FILE, ("kind", "encoder", "pretrain"))
    if kind is not None and facts["kind"] != kind:
        raise ValueError(
            f"the encoder must be one of kind {kind}. Received: {facts['kind']!r} in {str(directory)!r}. "
            "Name another directory."
        )
    return facts


def hash_encoder(directory: str | os.PathLike) -> str:
    """A hash of the files of a pre-trained encoder, so that another one in its place begins a run of its own."""
    digest = hashlib.sha256()
    for path in sorted(tf.io.gfile.glob(os.path.join(glob.escape(os.fspath(directory)), "*"))):
        with tf.io.gfile.GFile(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()[:16]
