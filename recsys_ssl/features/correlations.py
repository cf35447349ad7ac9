"""Mutual information between all pairs of item features, as a Beam job over the transformed catalogue.

An item whose features f and g hold the lists of values V_f and V_g contributes the weight 1 / (|V_f| |V_g|) to each
of its |V_f| |V_g| value pairs; a missing feature is the one value "missing", and a value that is listed twice counts
twice. P is the weight over the number of items, so that P(v_f) and P(v_g) are the marginals of P(v_f, v_g), and

    H(f) = -sum P(v_f) ln P(v_f)        I(f, g) = H(f) + H(g) - H(f, g)    (nats, >= 0)

For single-valued features this is the usual mutual information. With W = sum w ln w over the summed weights w and
N items, H = ln N - W / N: only sums over value pairs are needed, and those are taken in parts. Every batch counts
its own pairs; the counts are shuffled to (feature pair, hash partition) and added up there.

References:
    Yao et al. 2021, arXiv:2007.12865, Section 3.3 (correlated feature masking).
"""

from __future__ import annotations

import io
import itertools
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Optional

import apache_beam as beam
import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from recsys_ssl import artifacts, examples, lists
from recsys_ssl.artifacts import CORRELATIONS_FILE, HEAT_MAP_FILE

NEAR_UNIQUE_VALUES_PER_ITEM = 0.5
NEAR_UNIQUE_ENTROPY_SHARE = 0.9

# Value pairs that a worker lists at a time: about 50 bytes each.
_BLOCK_SIZE = 1 << 20
# Odd, so that multiplying by it modulo 2**64 is a bijection; its high bits are well mixed (Knuth's golden ratio).
_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Correlations:
    """How much item features tell about each other."""

    feature_names: tuple[str, ...]
    mutual_information: np.ndarray
    """[num_features, num_features] nats, symmetric; the diagonal holds the entropies."""
    entropies: np.ndarray
    """[num_features] nats."""
    distinct_values: tuple[int, ...]
    """[num_features] number of distinct values, "missing" among them."""
    num_items: int

    @property
    def normalised(self) -> np.ndarray:
        """[num_features, num_features] I(f, g) / sqrt(H(f) H(g)) in [0, 1]; 0 where a feature is constant."""
        scale = np.sqrt(np.outer(self.entropies, self.entropies))
        return np.divide(self.mutual_information, scale, out=np.zeros_like(scale), where=scale > 0)

    @property
    def near_unique(self) -> tuple[str, ...]:
        """Features that nearly name the item: half as many values as items, or 0.9 of the largest entropy ln N.

        Their raw mutual information with every other feature is large whatever that feature says.
        """
        limit = NEAR_UNIQUE_ENTROPY_SHARE * np.log(self.num_items) if self.num_items > 1 else np.inf
        return tuple(
            name
            for name, values, entropy in zip(self.feature_names, self.distinct_values, self.entropies, strict=True)
            if values >= NEAR_UNIQUE_VALUES_PER_ITEM * self.num_items or entropy >= limit
        )

    def to_json(self) -> str:
        values = {
            "num_items": self.num_items,
            "feature_names": self.feature_names,
            "distinct_values": self.distinct_values,
            "entropies_nats": self.entropies.tolist(),
            "mutual_information_nats": self.mutual_information.tolist(),
            "normalised_mutual_information": self.normalised.tolist(),
            "near_unique": self.near_unique,
        }
        return artifacts.to_json(values)

    @classmethod
    def from_json(cls, text: str) -> Correlations:
        values = json.loads(text)
        return cls(
            feature_names=tuple(values["feature_names"]),
            mutual_information=np.array(values["mutual_information_nats"]),
            entropies=np.array(values["entropies_nats"]),
            distinct_values=tuple(values["distinct_values"]),
            num_items=values["num_items"],
        )


def correlate(
    catalogue_dir: str, features: Iterable[str], out_dir: str, pipeline: Optional[beam.Pipeline] = None
) -> Correlations:
    """Writes `correlations.json` and its heat map, and returns the correlations.

    Args:
        catalogue_dir: TRANSFORMED catalogue example files.
        features: names of vocabulary-index features (no dense ones).
        out_dir: receives the two files.
        pipeline: an empty Beam pipeline, which carries the options; the in-process runner when None.

    Raises:
        FileNotFoundError: there are no examples.
        ValueError: there are no features or no items, a feature is no column, or an index is out of range.
        TypeError: a feature does not hold indices.
    """
    with pipeline or beam.Pipeline() as root:
        _ = root | "Correlate" >> Correlate(catalogue_dir, tuple(features), out_dir)
    return Correlations.from_json(artifacts.read_text(os.path.join(str(out_dir), CORRELATIONS_FILE)))


class Correlate(beam.PTransform):
    """Transformed catalogue -> its Correlations, which it also writes.

    The shuffle carries 16 bytes per distinct value pair of a batch. A worker holds one batch, one block of its
    value pairs (or one item's, if that is more), and the partial counts of one feature pair's partition: about
    1 / num_partitions of that feature pair's.
    """

    def __init__(
        self,
        catalogue_dir: str,
        features: tuple[str, ...],
        out_dir: str,
        batch_size: int = 16_384,
        num_partitions: int = 16,
    ):
        super().__init__()
        if not features or len(set(features)) < len(features):
            raise ValueError(f"features must be distinct names, at least one. Received: {features}.")
        if num_partitions & (num_partitions - 1) or num_partitions < 2:
            raise ValueError(f"num_partitions must be a power of two from 2. Received: {num_partitions}.")
        self._catalogue_dir, self._features, self._out_dir = str(catalogue_dir), features, str(out_dir)
        self._batch_size, self._num_partitions = batch_size, num_partitions

    def expand(self, root):
        return (
            root
            | "ListShards" >> beam.Create(examples.list_shards(self._catalogue_dir, examples.CATALOGUE_SPLIT))
            | "SpreadShards" >> beam.Reshuffle()
            | "ReadShards" >> beam.FlatMap(_read_shard, batch_size=self._batch_size)
            | "CountBatches" >> beam.FlatMap(count_batch, self._features, self._num_partitions)
            | "GroupCounts" >> beam.GroupByKey()
            | "SumCounts" >> beam.Map(sum_counts)
            | "MergeSums" >> beam.CombineGlobally(merge_sums)
            | "Conclude" >> beam.Map(conclude, self._features)
            | "Write" >> beam.Map(write_correlations, self._out_dir)
        )


# --- Counting ----------------------------------------------------------------------------------------


class ValueLists(NamedTuple):
    """One feature of a batch: item i holds values[starts[i] : starts[i] + lengths[i]], at least one."""

    values: np.ndarray
    """[sum of lengths] uint64 below 2**32; 0 is "missing"."""
    starts: np.ndarray
    """[num_items] int64."""
    lengths: np.ndarray
    """[num_items] int64."""


def count_batch(
    records: pa.RecordBatch, features: tuple[str, ...], num_partitions: int, block_size: int = _BLOCK_SIZE
) -> Iterator[tuple[tuple[int, int, int], tuple[np.ndarray, np.ndarray]]]:
    """Counts the values and value pairs of one batch.

    Args:
        records: large_list<int64> columns.
        features: names of the columns.
        num_partitions: a power of two.
        block_size: value pairs that are listed at a time.

    Yields:
        (f, g, partition) -> distinct keys [num_keys] uint64 and their weights [num_keys] float64. f == g counts
        single values. A key is the mixed value pair; its highest bits are its partition.
    """
    found = [list_values(name, records) for name in features]
    for (f, left), (g, right) in itertools.combinations_with_replacement(enumerate(found), 2):
        keys, weights = _weigh_values(left) if f == g else _weigh_pairs(left, right, block_size)
        shift = 64 - (num_partitions.bit_length() - 1)
        starts = np.searchsorted(keys, np.arange(num_partitions, dtype=np.uint64) << np.uint64(shift))
        for partition, (start, end) in enumerate(zip(starts, [*starts[1:], len(keys)], strict=True)):
            if start < end:
                yield (f, g, partition), (keys[start:end], weights[start:end])
    # Not a count of values: how many items there are.
    yield (-1, -1, 0), (np.zeros(1, np.uint64), np.array([float(len(records))]))


def list_values(name: str, records: pa.RecordBatch) -> ValueLists:
    """The value lists of a column, every index shifted by one to make room for "missing".

    Raises:
        ValueError: there is no such column, or an index is negative or beyond 2**32 - 2.
        TypeError: the column does not hold int64.
    """
    if name not in records.schema.names:
        raise ValueError(
            f"feature {name!r} is no column of the catalogue. Received: {sorted(records.schema.names)}. "
            "Transform the catalogue with the spec that names it."
        )
    indices, lengths = lists.flatten(lists.column(records, name), pa.int64())
    if indices.type != pa.int64():
        raise TypeError(
            f"feature {name!r} must hold vocabulary indices (int64). Received: {indices.type}. "
            "Read the transformed catalogue, and leave dense features out."
        )
    flat = indices.to_numpy()
    if len(flat) and not 0 <= flat.min() <= flat.max() < 2**32 - 1:
        raise ValueError(f"indices of {name!r} must be in 0..2**32 - 2. Received: {flat.min()}..{flat.max()}.")
    filled = np.maximum(lengths, 1)
    starts = np.cumsum(filled) - filled
    values = np.zeros(filled.sum(), np.uint64)
    present = np.ones(len(values), bool)
    present[starts[lengths == 0]] = False
    values[present] = flat.astype(np.uint64) + np.uint64(1)
    return ValueLists(values, starts, filled)


def _weigh_values(feature: ValueLists) -> tuple[np.ndarray, np.ndarray]:
    return add_up(feature.values * _MIX, np.repeat(1.0 / feature.lengths, feature.lengths))


def _weigh_pairs(left: ValueLists, right: ValueLists, block_size: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct value pairs of a batch and their weights, listed in blocks of items."""
    ends = np.cumsum(left.lengths * right.lengths)
    counted, start = [], 0
    while start < len(ends):
        listed = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, listed + block_size, side="right")))
        counted.append(add_up(*_list_pairs(left, right, slice(start, end))))
        start = end
    return counted[0] if len(counted) == 1 else add_up(*(np.concatenate(parts) for parts in zip(*counted, strict=True)))


def _list_pairs(left: ValueLists, right: ValueLists, items: slice) -> tuple[np.ndarray, np.ndarray]:
    """The ragged cross product: every value of an item's left list with its whole right list."""
    left_lengths, right_lengths, right_starts = left.lengths[items], right.lengths[items], right.starts[items]
    first = left.starts[items][0]
    values = left.values[first : first + left_lengths.sum()]
    # One entry per left value: how many partners it has, where they start, and what each pair weighs.
    partners = np.repeat(right_lengths, left_lengths)
    offsets = np.repeat(right_starts, left_lengths) - (np.cumsum(partners) - partners)
    weights = np.repeat(1.0 / (left_lengths * right_lengths), left_lengths)
    partner = np.repeat(offsets, partners) + np.arange(partners.sum())
    keys = np.repeat(values << np.uint64(32), partners) | right.values[partner]
    return keys * _MIX, np.repeat(weights, partners)


def add_up(keys: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct keys, ascending, and the sum of each one's weights."""
    order = np.argsort(keys)
    keys, weights = keys[order], weights[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    return keys[first], np.add.reduceat(weights, first)


# --- Summing up ----------------------------------------------------------------------------------------


class Sums(NamedTuple):
    """What leaves a worker of one partition of a feature pair."""

    weight: float
    weight_log_weight: float
    distinct: int


def _read_shard(path: str, batch_size: int) -> Iterator[pa.RecordBatch]:
    return examples.read_batches([path], batch_size)


def sum_counts(element) -> dict[tuple[int, int], Sums]:
    """{(f, g): sums} of ((f, g, partition), the counts of every batch)."""
    (f, g, _), counts = element
    keys, weights = add_up(*(np.concatenate(parts) for parts in zip(*counts, strict=True)))
    return {(f, g): Sums(float(weights.sum()), float((weights * np.log(weights)).sum()), len(keys))}


def merge_sums(parts: Iterable[dict[tuple[int, int], Sums]]) -> dict[tuple[int, int], Sums]:
    """Adds the sums of every feature pair over its partitions."""
    merged: dict[tuple[int, int], Sums] = {}
    for pair, sums in itertools.chain.from_iterable(part.items() for part in parts):
        known = merged.get(pair, Sums(0.0, 0.0, 0))
        merged[pair] = Sums(
            known.weight + sums.weight,
            known.weight_log_weight + sums.weight_log_weight,
            known.distinct + sums.distinct,
        )
    return merged


def conclude(sums: dict[tuple[int, int], Sums], features: tuple[str, ...]) -> Correlations:
    """Entropies and mutual information from the summed counts.

    Args:
        sums: (f, g) -> sums over value pairs; (f, f) -> sums over the values of f; (-1, -1) -> number of items.

    Raises:
        ValueError: there are no items.
    """
    if (-1, -1) not in sums:
        raise ValueError("the catalogue must have at least one item. Received: none. Ingest the items first.")
    num_items = round(sums[-1, -1].weight)
    # The sums come in any order; 12 decimals are what does not depend on it.
    entropy = {pair: round(np.log(num_items) - s.weight_log_weight / num_items, 12) + 0.0 for pair, s in sums.items()}
    entropies = np.array([entropy[f, f] for f in range(len(features))])
    information = np.diag(entropies)
    for f, g in itertools.combinations(range(len(features)), 2):
        information[f, g] = information[g, f] = max(0.0, round(entropies[f] + entropies[g] - entropy[f, g], 12))
    distinct = tuple(sums[f, f].distinct for f in range(len(features)))
    return Correlations(features, information, entropies, distinct, num_items)


# --- Files ---------------------------------------------------------------------------------------------


def write_correlations(correlations: Correlations, out_dir: str) -> Correlations:
    """Writes the JSON and the heat map into `out_dir`."""
    artifacts.write_text(os.path.join(out_dir, CORRELATIONS_FILE), correlations.to_json())
    image = io.BytesIO()
    draw_heat_map(correlations).savefig(image, format="png")
    artifacts.write_bytes(os.path.join(out_dir, HEAT_MAP_FILE), image.getvalue())
    return correlations


def draw_heat_map(correlations: Correlations) -> Figure:
    """Raw and normalised mutual information side by side, in greys, with the numbers written in.

    Near-unique features are starred.
    """
    size = 2.2 + 0.62 * len(correlations.feature_names)
    figure = Figure(figsize=(2 * size + 1.0, size + 0.8), dpi=120, layout="constrained")
    names = [f"{name} *" if name in correlations.near_unique else name for name in correlations.feature_names]
    panels = (
        ("Mutual information in nats (diagonal: entropy)", correlations.mutual_information, None),
        ("Normalised: I(f, g) / sqrt(H(f) H(g))", correlations.normalised, 1.0),
    )
    for axes, (title, matrix, largest) in zip(figure.subplots(1, 2), panels, strict=True):
        _draw_matrix(axes, matrix, names, largest or max(float(matrix.max()), 1e-9))
        axes.set_title(title, fontsize=10)
    note = "   * nearly unique per item" if correlations.near_unique else ""
    figure.suptitle(f"Correlations of item features, {correlations.num_items:,} items{note}", fontsize=11)
    return figure


def _draw_matrix(axes, matrix: np.ndarray, names: list[str], largest: float) -> None:
    axes.imshow(matrix, cmap="Greys", vmin=0.0, vmax=largest)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=9)
    for (row, column), value in np.ndenumerate(matrix):
        colour = "white" if value > 0.55 * largest else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
