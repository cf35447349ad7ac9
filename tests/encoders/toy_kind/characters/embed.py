"""Vectors of texts."""

from __future__ import annotations

import tensorflow as tf

from recsys_ssl.encoders.characters.encoder import Characters
from recsys_ssl.encoders.contract import Embedded


def read(source, column=None):
    if column is not None:
        raise ValueError(f"texts stand one a line. Received: column {column!r}. Leave --column out.")
    return iter(source.read_text().splitlines())


class Embedder:
    def __init__(self, encoder):
        self._encoder, self.dim = encoder, encoder.dim

    def embed(self, contents, rejected=None, workers=1):
        return self._encoder.encode(Characters(tf.constant(list(contents)))).numpy()

    def embed_stream(self, contents, rejected, workers=1):
        vectors = self.embed(contents)
        yield Embedded(tf.range(len(vectors)).numpy(), vectors)
