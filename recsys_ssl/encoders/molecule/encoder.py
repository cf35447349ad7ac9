"""GROVER as an encoder of items: packed graphs in, one vector a molecule out.

A molecule's vector is the mean readout: it has no weights, so that vectors of a frozen encoder can be computed once,
and pre-training has learnt with it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from recsys_ssl.encoders import store
from recsys_ssl.encoders.contract import WHOLE, Pass
from recsys_ssl.encoders.molecule.grover import GTransformer, draw_hops, embed_molecules
from recsys_ssl.encoders.molecule.settings import EncoderConfig, GroverConfig
from recsys_ssl.encoders.molecule.table import MoleculeRows, concat_tables, take_molecules, unpack_molecules
from recsys_ssl.encoders.molecule.views import mask_molecules

_CHUNK = 128
"""Molecules that are encoded at a time where no gradient is needed, some 4,000 atoms."""


class MoleculeEncoder(GTransformer):
    """`GTransformer` by the contract of an encoder."""

    def __init__(self, config: GroverConfig):
        super().__init__(config)
        self.dim = 2 * config.hidden_dim

    def encode(self, content: MoleculeRows, how: Pass = WHOLE) -> tf.Tensor:
        """[num_records, 2 * hidden_dim] float32, the vectors of molecules that are all present.

        In training all molecules are one batch, see `GTransformer` for its memory; else they are encoded in chunks.
        """
        seed, mask = how
        if seed is None and mask is None:
            return self._encode_in_chunks(content)
        batch = take_molecules(content)
        if mask is not None:
            batch = mask_molecules(batch, mask.rate, mask.seed)
        hops = None if seed is None else draw_hops(self.config.depth, seed)
        return embed_molecules(self, batch, training=seed is not None, hops=hops)

    def _encode_in_chunks(self, molecules: MoleculeRows) -> tf.Tensor:
        table, rows = molecules
        # At least one, so that there are vectors to lay end to end.
        num_chunks = tf.maximum(1, -(-tf.size(rows) // _CHUNK))
        vectors = tf.TensorArray(tf.float32, num_chunks, infer_shape=False, element_shape=[None, self.dim])

        def encode(chunk: tf.Tensor, vectors: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            batch = take_molecules(MoleculeRows(table, rows[chunk * _CHUNK : (chunk + 1) * _CHUNK]))
            return chunk + 1, vectors.write(chunk, embed_molecules(self, batch))

        _, vectors = tf.while_loop(
            lambda chunk, _: chunk < num_chunks, encode, (tf.constant(0), vectors), parallel_iterations=1
        )
        return tf.ensure_shape(vectors.concat(), [None, self.dim])


# --- The contract ------------------------------------------------------------------------------------------


def make(config: EncoderConfig) -> MoleculeEncoder:
    """An encoder from scratch, or with the weights of `config.pretrained`; its dropout is that of `config`.

    Raises:
        FileNotFoundError: there is no such pre-trained encoder.
        ValueError: it is one of another kind.
    """
    if config.pretrained is None:
        return MoleculeEncoder(config.grover)
    pretrained = store.load(config.pretrained, "molecule")
    encoder = MoleculeEncoder(dataclasses.replace(pretrained.config, dropout=config.dropout))
    encoder.set_weights(pretrained.get_weights())
    return encoder


def restore(settings: dict[str, Any]) -> MoleculeEncoder:
    """An encoder of the settings that `store.save` wrote, the fields of `GroverConfig`."""
    return MoleculeEncoder(GroverConfig(**settings))


def unpack(packed: tf.Tensor) -> MoleculeRows:
    """The molecules that `column.read` packed: [num_records] string, "" where a record has none."""
    return MoleculeRows(unpack_molecules(packed), tf.range(tf.size(packed, tf.int64)))


def concat(contents: Sequence[MoleculeRows]) -> MoleculeRows:
    """All molecules of contents that were unpacked whole, in order."""
    table = concat_tables([content.table for content in contents])
    return MoleculeRows(table, tf.range(tf.size(table.atom_splits, tf.int64) - 1))
