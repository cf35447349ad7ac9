"""A share of the training positives of an encoded log, as if the others had never been logged."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import examples, lists
from recsys_ssl.features.windows import write_windows
from recsys_ssl.spec import FeatureSpec

_SHARE_STREAM = 7  # keeps the draw of the share apart from other draws of the same seed
_TIMES = "history_us"


def thin(source: Path, to: Path, share: float, seed: int, spec: FeatureSpec) -> None:
    """Keeps a random share of the training positives and counts the catalogue's anew.

    Vocabularies, correlations, other query features and the held-out splits are those of the whole log. Histories and
    windows hold no item that a query chose in lost positives alone, or they would tell of nearly all that was lost.
    """
    interactions, catalogue = source / "encoded-interactions", source / "encoded-catalogue"
    events = _read(examples.list_shards(interactions, "train"))
    drawn = np.random.default_rng([seed, _SHARE_STREAM]).permutation(events.num_rows)
    kept = np.zeros(events.num_rows, bool)
    kept[drawn[: round(share * events.num_rows)]] = True
    items = list(examples.read_batches(examples.list_shards(catalogue, examples.CATALOGUE_SPLIT)))

    target = to / "encoded-interactions"
    own = events.filter(pa.array(kept))
    if spec.item_sequences:
        lost = _find_lost(events, kept, spec, items)
        own = _forget(own, spec, lost)
        write_windows(own, spec.item_sequences, str(target), "kept")
        for split in ("eval", "test"):
            for number, path in enumerate(examples.list_shards(interactions, split)):
                examples.write_shard(_forget(_read([path]), spec, lost), target, split, f"part-{number:05d}")
    else:
        for split in ("eval", "test"):
            shutil.copytree(examples.split_dir(interactions, split), examples.split_dir(target, split))
    examples.write_shard(own, target, "train", "kept")

    counts = np.bincount(lists.flat(own, "item_row", pa.int64())[0], minlength=sum(part.num_rows for part in items))
    for number, part in enumerate(items):
        recounted = lists.single(counts[lists.flat(part, "item_row", pa.int64())[0]])
        examples.write_shard(
            _replace(part, {"train_count": recounted}),
            to / "encoded-catalogue",
            examples.CATALOGUE_SPLIT,
            f"part-{number:05d}",
        )


class _Lost(NamedTuple):
    """Pairs of a query and the code of an item that it chose in lost positives alone."""

    query_ids: pa.Array
    """[num_queries] distinct."""
    keys: np.ndarray
    """[num_pairs] int64, query * num_codes + code."""
    num_codes: int


def _find_lost(events: pa.RecordBatch, kept: np.ndarray, spec: FeatureSpec, items: list[pa.RecordBatch]) -> _Lost:
    name = spec.sequence_id_feature.name
    code_of_row = np.concatenate([lists.flat(part, name, pa.int64())[0] for part in items])
    encoded = _query_ids(events).dictionary_encode()
    num_codes = int(code_of_row.max(initial=0)) + 1
    keys = encoded.indices.to_numpy().astype(np.int64) * num_codes
    keys += code_of_row[lists.flat(events, "item_row", pa.int64())[0]]
    return _Lost(encoded.dictionary, np.setdiff1d(keys[~kept], keys[kept]), num_codes)


def _forget(events: pa.RecordBatch, spec: FeatureSpec, lost: _Lost) -> pa.RecordBatch:
    """The records without lost items in their sequences, and without the times of these."""
    query = pc.fill_null(pc.index_in(_query_ids(events), value_set=lost.query_ids), -1).to_numpy().astype(np.int64)
    changed = {}
    for feature in sorted(spec.item_sequences, key=lambda feature: feature.length):
        codes, lengths = lists.flat(events, feature.name, pa.int64())
        owners = lists.owners(lengths)
        left = ~np.isin(query[owners] * lost.num_codes + codes, lost.keys)
        left |= codes >= lost.num_codes  # an unknown item is nobody's
        counts = np.bincount(owners[left], minlength=events.num_rows)
        changed[feature.name] = lists.from_flat(codes[left], counts)
        if _TIMES in events.schema.names:  # those of the longest sequence, which comes last
            times = lists.flat(events, _TIMES, pa.int64())[0]
            if len(times) == len(codes):
                changed[_TIMES] = lists.from_flat(times[left], counts)
    return _replace(events, changed)


def _query_ids(events: pa.RecordBatch) -> pa.Array:
    return lists.flatten(lists.column(events, "query_id"), pa.large_binary())[0]


def _replace(records: pa.RecordBatch, columns: dict[str, pa.Array]) -> pa.RecordBatch:
    replaced = [columns.get(name, records.column(place)) for place, name in enumerate(records.schema.names)]
    return pa.RecordBatch.from_arrays(replaced, names=records.schema.names)


def _read(paths: list[str]) -> pa.RecordBatch:
    tables = [pa.Table.from_batches([batch]) for batch in examples.read_batches(paths)]
    return lists.concat_tables(tables).combine_chunks().to_batches()[0]
