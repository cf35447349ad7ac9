"""Item sequences of examples and requests as rows of the catalogue: what a history encoder reads."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from recsys_ssl.features.batch import Catalogue
from recsys_ssl.models.history import UNKNOWN_GAP, UNKNOWN_ITEM, Histories, bucket_gaps
from recsys_ssl.spec import FeatureSpec

UNKNOWN_TIME = -1
"""Microseconds in place of a time that is not known."""


class SequenceReader(tf.Module):
    """Makes histories of the codes of an item_sequence, and of windows.

    Holds 16 bytes an item.

    Attributes:
        sequence: name of the item_sequence.
        length: most items of it.
    """

    def __init__(self, spec: FeatureSpec, catalogue: Catalogue):
        """Raises:
        ValueError: the spec has no item_sequence, or several.
        """
        super().__init__()
        if len(spec.item_sequences) != 1:
            names = [sequence.name for sequence in spec.item_sequences]
            raise ValueError(
                f"train.history.encoder=transformer needs one item_sequence. Received: {names}. Give the queries one "
                "in the spec, or set train.history.encoder=mean."
            )
        (sequence,) = spec.item_sequences
        self.sequence, self.length = sequence.name, sequence.length
        layout = catalogue.layout
        slot = [feature.name for feature in layout.features].index(spec.sequence_id_feature.name)
        codes, size = catalogue.read_codes(slot) - layout.offsets[slot], layout.features[slot].size
        # A code of several items, as of all that share a bucket, names none of them.
        row_of_code = np.full(size, UNKNOWN_ITEM, np.int64)
        row_of_code[codes] = np.arange(len(codes))
        row_of_code[np.bincount(codes, minlength=size) > 1] = UNKNOWN_ITEM
        self._code_of_row, self._row_of_code = tf.constant(codes), tf.constant(row_of_code)

    def read_codes(self, codes: tf.SparseTensor, times_us: tf.RaggedTensor, query_us: tf.Tensor) -> Histories:
        """The histories of records that each have their own.

        Args:
            codes: [num_records, any] int64 codes of the item ids, the oldest first; gaps between them do not matter.
            times_us: [num_records, any] int64 times of the items, as many as codes, or none where they are not known.
            query_us: [num_records] int64 times of the records; UNKNOWN_TIME where not known.
        """
        found = tf.gather(self._row_of_code, codes.values)
        rows = tf.RaggedTensor.from_value_rowids(found, codes.indices[:, 0], codes.dense_shape[0])
        visible = rows.row_lengths()
        items = _pad(rows, UNKNOWN_ITEM)
        width = tf.shape(items, tf.int64)[1]
        times = _pad(times_us, UNKNOWN_TIME, width)
        last = tf.range(width) == (visible - 1)[:, tf.newaxis]
        following = tf.where(last, query_us[:, tf.newaxis], tf.roll(times, -1, axis=1))
        known = (times != UNKNOWN_TIME) & (following != UNKNOWN_TIME)
        return Histories(items, bucket_gaps(following - times, known), tf.range(tf.size(visible, tf.int64)), visible)

    def read_windows(self, item_row: tf.RaggedTensor, gap_us: tf.RaggedTensor, visible: tf.RaggedTensor) -> Histories:
        """The histories of the events of windows, [num_windows, any] int64 each, see `features.windows`."""
        rows = tf.gather(self._row_of_code, tf.gather(self._code_of_row, item_row.values))
        gaps = bucket_gaps(gap_us.values, tf.ones_like(gap_us.values, tf.bool))
        return Histories(
            _pad(item_row.with_values(rows), UNKNOWN_ITEM),
            _pad(gap_us.with_values(gaps), UNKNOWN_GAP),
            visible.value_rowids(),
            visible.values,
        )

    def visible_codes(self, item_row: tf.RaggedTensor, histories: Histories) -> tf.SparseTensor:
        """[num_records, any] int64 codes of the items that each event of windows sees, the oldest first."""
        starts = tf.gather(item_row.row_starts(), histories.owner)
        places = tf.ragged.range(starts, starts + histories.visible)
        codes = tf.gather(self._code_of_row, tf.gather(item_row.values, places.values))
        return places.with_values(codes).to_sparse()


def _pad(ragged: tf.RaggedTensor, missing: int, width: tf.Tensor | int = 1) -> tf.Tensor:
    """[num_rows, any] int64 as wide as the longest row, and at least `width`."""
    dense = ragged.to_tensor(missing)
    short = tf.maximum(tf.cast(width, tf.int64) - tf.shape(dense, tf.int64)[1], 0)
    return tf.pad(dense, [[0, 0], [0, short]], constant_values=missing)
