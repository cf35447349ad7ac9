"""Beam transforms that write examples, catalogue, rejected records and the summary."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Optional

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from recsys_ssl import artifacts
from recsys_ssl.artifacts import SUMMARY_FILE
from recsys_ssl.examples import CATALOGUE_SPLIT, DISLIKED_SPLIT, INTERACTION_SPLITS, split_dir, write_shard
from recsys_ssl.lists import one_array
from recsys_ssl.logs import records, timeline
from recsys_ssl.logs.columns import catalogue_batch, disliked_batch, interaction_batch
from recsys_ssl.logs.paths import match_below
from recsys_ssl.logs.rows import hash_ids, mix_hashes, split_by
from recsys_ssl.logs.sources import concat_some
from recsys_ssl.logs.summary import IngestSummary, iso_time
from recsys_ssl.spec import FeatureSpec

_LONGEST_EXAMPLE = 200  # characters of a rejected record that the summary shows


def delete_outputs(interactions_dir: str, catalogue_dir: str, rejected_dir: str) -> None:
    """Deletes what an earlier run wrote, so that no shard of it is read with the new ones."""
    splits = [split_dir(interactions_dir, split) for split in (*INTERACTION_SPLITS, DISLIKED_SPLIT)]
    splits.append(split_dir(catalogue_dir, CATALOGUE_SPLIT))
    patterns = [(split, "*.tfrecord.gz*") for split in splits]
    patterns += [(interactions_dir, f"{SUMMARY_FILE}*"), (rejected_dir, "*.jsonl*")]
    old = [match.path for directory, pattern in patterns for match in match_below(directory, pattern)]
    if old:
        FileSystems.delete(old)


def _make_dirs(folder: str) -> None:
    if not FileSystems.exists(folder):
        try:
            FileSystems.mkdirs(folder)
        except OSError:  # another worker was first
            if not FileSystems.exists(folder):
                raise


def _replace(source: str, target: str) -> None:
    try:
        FileSystems.rename([source], [target])
    except BeamIOError:  # some file systems rename to a free name only
        if not FileSystems.exists(target):
            raise
        FileSystems.delete([target])
        FileSystems.rename([source], [target])


_BEAM_FILES = artifacts.FileSystem(
    create=partial(FileSystems.create, compression_type=CompressionTypes.UNCOMPRESSED),
    make_dirs=_make_dirs,
    replace=_replace,
    remove=lambda path: FileSystems.delete([path]),
)


def _shard_name(partition: int, num_partitions: int) -> str:
    return f"part-{partition:05d}-of-{num_partitions:05d}"


# --- Interactions ------------------------------------------------------------------------------------


class WriteInteractions(beam.PTransform):
    """Splits the events and writes one shard per partition of queries and split.

    Takes (partition, ordered events, query table or None).

    Args:
        cuts: side input, see `joins.FindCutTimes`; None for a split by another rule.
        offsets: side input, see `joins.NumberItems`.

    Returns:
        train_counts: (partition of the item, (row within it, number of train events)). counts.
    """

    def __init__(self, cuts, offsets, spec: FeatureSpec, directory: str):
        super().__init__()
        self._cuts, self._offsets, self._spec, self._directory = cuts, offsets, spec, directory

    def expand(self, ordered):
        writer = _WriteInteractions(self._spec, self._directory)
        return ordered | beam.ParDo(writer, self._cuts, self._offsets).with_outputs("counts", main="train_counts")


class _WriteInteractions(beam.DoFn):
    def __init__(self, spec: FeatureSpec, directory: str):
        self._spec, self._directory = spec, directory

    def process(self, element, cuts, offsets):
        partition, events, queries = element
        split = np.where(timeline.is_chosen(events), self._split(events, cuts), timeline.NEITHER)
        of_train = events["example_weight"].to_numpy()[split == timeline.TRAIN]
        counts: dict[str, int | tuple[int]] = {"weighted_train": int((of_train > 0).sum())}
        shard = _shard_name(partition, len(offsets) - 1)
        for which, name in enumerate(INTERACTION_SPLITS):
            of_split = split == which
            counts[name] = int(of_split.sum())
            if of_split.any():
                batch = interaction_batch(events, queries, split, which, self._spec)
                write_shard(batch, self._directory, name, shard)
                if self._spec.split.kind == "given" and self._spec.events.timestamp:  # of tuples the least is kept
                    times = events["timestamp_us"].to_numpy()[of_split]
                    counts |= {f"first {name}": (int(times.min()),), f"minus last {name}": (-int(times.max()),)}
            if which != timeline.TRAIN:
                counts |= {f"held out {name}: {what}": number for what, number in self._count(events, split, which)}
        if (split == timeline.NEITHER).any():
            write_shard(disliked_batch(events, split), self._directory, DISLIKED_SPLIT, shard)
        yield beam.pvalue.TaggedOutput("counts", counts)
        rows, number = np.unique(events["item_row"].to_numpy()[split == timeline.TRAIN], return_counts=True)
        owners = np.searchsorted(offsets, rows, side="right") - 1
        for owner in np.unique(owners).tolist():
            yield owner, (rows[owners == owner] - offsets[owner], number[owners == owner])

    def _count(self, events: pa.Table, split: np.ndarray, which: int) -> Iterable[tuple[str, int]]:
        """Names and numbers of `timeline.HeldOut`."""
        moments = timeline.moments(events) if self._spec.has_order else None
        query, item_row = (events[name].to_numpy() for name in ("_query", "item_row"))
        rules = self._spec.evaluation
        found = timeline.count_held_out(
            query, item_row, moments, split, which, rules.group_by == "event", rules.mask_seen
        )
        return found._asdict().items()

    def _split(self, events: pa.Table, cuts: Optional[tuple[int, int]]) -> np.ndarray:
        share = self._spec.split
        if share.kind == "time":
            return timeline.split_by_time(events["timestamp_us"].to_numpy(), cuts or ())  # no cuts: no events
        if share.kind == "given":
            return events["_split"].to_numpy()
        if share.kind == "item_group":
            return timeline.split_by_group(events["_group"].to_numpy(), share.validation, share.test, share.seed)
        query_ids, item_ids = one_array(events["query_id"]), one_array(events["item_id"])
        return timeline.split_by_hash(query_ids, item_ids, share.validation, share.test, share.seed)


# --- Catalogue ---------------------------------------------------------------------------------------


class WriteCatalogue(beam.PTransform):
    """Writes one shard per partition of items; the shards in order hold rows 0, 1, ...

    Takes {"items": (partition, catalogue), "train", "impressions": (partition, (rows within it, numbers))}.

    Returns:
        Dicts of numbers: num_items, items_without_train.
    """

    def __init__(self, offsets, spec: FeatureSpec, directory: str):
        super().__init__()
        self._offsets, self._spec, self._directory = offsets, spec, directory

    def expand(self, groups):
        writer = _WriteCatalogue(self._spec, self._directory)
        return groups | beam.CoGroupByKey() | beam.ParDo(writer, self._offsets)


class _WriteCatalogue(beam.DoFn):
    def __init__(self, spec: FeatureSpec, directory: str):
        self._spec, self._directory = spec, directory

    def process(self, element, offsets):
        partition, groups = element
        items = concat_some(groups["items"])
        train, impressions = (_add_up(groups[name], items.num_rows) for name in ("train", "impressions"))
        batch = catalogue_batch(items, int(offsets[partition]), train, impressions, self._spec)
        write_shard(batch, self._directory, CATALOGUE_SPLIT, _shard_name(partition, len(offsets) - 1))
        yield {"num_items": items.num_rows, "items_without_train": int((train == 0).sum())}


def _add_up(parts: Iterable[tuple[np.ndarray, np.ndarray]], size: int) -> np.ndarray:
    total = np.zeros(size, np.int64)
    for rows, number in parts:
        total[rows] += number
    return total


# --- Rejected records ----------------------------------------------------------------------------------


class WriteRejected(beam.PTransform):
    """Writes rejected records as JSON lines, sorted by file and line within a shard.

    Takes (side, table of reason, file, line, record). Records that were read together are written together, so a
    worker holds at most its share of the log's batches.

    Returns:
        Dicts "side: reason" -> number and "example side: reason" -> (file, line, record), the first.
    """

    def __init__(self, directory: str, num_partitions: int, rows_per_batch: int):
        super().__init__()
        self._directory, self._partitions, self._rows = directory, num_partitions, rows_per_batch

    def expand(self, rejects):
        keyed = rejects | "Key" >> beam.FlatMap(_key_rejects, self._partitions, self._rows)
        keyed | beam.GroupByKey() | "Write" >> beam.Map(_write_rejects, self._directory, self._partitions)
        return rejects | "Count" >> beam.Map(_count_rejects)


def _key_rejects(element: tuple[str, pa.Table], num_partitions: int, rows_per_batch: int):
    side, table = element
    block = table["line"].to_numpy() // rows_per_batch
    hashes = mix_hashes(hash_ids(one_array(table["file"])), block.astype(np.uint64), seed=0)
    keys = (hashes % np.uint64(num_partitions)).astype(np.int64)
    for key, part in split_by(table, keys, num_partitions):
        yield (side, key), part


def _write_rejects(element, directory: str, num_partitions: int) -> None:
    (side, key), tables = element
    table = concat_some(tables).sort_by([(name, "ascending") for name in ("file", "line", "reason", "record")])
    columns = (records.quote_json(table["reason"]), records.quote_json(table["file"]), table["line"].to_pylist())
    lines = [
        f'{{"reason": {reason}, "file": {file}, "line": {line}, "record": {record}}}\n'
        for reason, file, line, record in zip(*columns, table["record"].to_pylist())
    ]
    path = os.path.join(directory, f"{side}-{_shard_name(key, num_partitions)}.jsonl")
    artifacts.write_text(path, "".join(lines), _BEAM_FILES)


def _count_rejects(element: tuple[str, pa.Table]) -> dict[str, int | tuple[str, int, str]]:
    side, table = element
    counts: dict[str, int | tuple[str, int, str]] = {}
    for reason in table["reason"].unique().to_pylist():
        rows = table.filter(pc.equal(table["reason"], reason))
        first = rows.sort_by([("file", "ascending"), ("line", "ascending")]).slice(0, 1).to_pylist()[0]
        counts[f"{side}: {reason}"] = rows.num_rows
        counts[f"example {side}: {reason}"] = (first["file"], first["line"], first["record"][:_LONGEST_EXAMPLE])
    return counts


# --- Summary -----------------------------------------------------------------------------------------


class WriteSummary(beam.PTransform):
    """Puts all numbers together and writes `summary.json`.

    Takes dicts: numbers are added up, of tuples the least is kept.

    Args:
        cuts: side input, see `joins.FindCutTimes`.
    """

    def __init__(self, cuts, spec: FeatureSpec, directory: str):
        super().__init__()
        self._cuts, self._spec, self._directory = cuts, spec, directory

    def expand(self, counts):
        total = counts | beam.CombineGlobally(_merge_counts)
        return total | beam.Map(_write_summary, self._cuts, self._spec, self._directory)


def _merge_counts(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            if name not in total:
                total[name] = value
            else:
                total[name] = min(total[name], value) if isinstance(value, tuple) else total[name] + value
    return total


def _write_summary(counts: dict[str, Any], cuts: Optional[Sequence[int]], spec: FeatureSpec, directory: str) -> None:
    def starting(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): counts[name] for name in sorted(counts) if name.startswith(prefix)}

    def held_out(what: str) -> dict[str, int]:
        return {split: counts.get(f"held out {split}: {what}", 0) for split in INTERACTION_SPLITS[1:]}

    def noted(word: str, beside: str = "") -> dict[str, int]:
        """The numbers of a word; where it is only of interest beside another, those of what has the other too."""
        found = {side: starting(f"note {side}: {word} ") for side in ("events", "items", "queries")}
        numbers = {f"{side}: {what}": number for side, notes in found.items() for what, number in notes.items()}
        return {what: numbers[what] for what in noted(beside) if what in numbers} if beside else numbers

    examples = {
        name.removeprefix("example "): f"{file}:{line}: {text}"
        for name, (file, line, text) in sorted((n, c) for n, c in counts.items() if n.startswith("example "))
    }
    names = None
    if spec.split.kind == "time" and cuts is not None:
        names = dict(zip(INTERACTION_SPLITS[1:], cuts))
    numbers = (
        *("events_read", "positives", "ignored", "impressions", "duplicates", "items_read", "queries_read"),
        *("queries_without_features", "num_items", "num_queries", "items_without_train"),
        "weighted_train",
    )
    summary = IngestSummary(
        spec=spec.name,
        rejected=starting("events: "),
        items_rejected=starting("items: "),
        queries_rejected=starting("queries: "),
        unreadable_values={
            f"{side}: {why}": number
            for side in ("items", "queries")
            for why, number in starting(f"{side}_values: ").items()
        },
        ignored_types=starting("note events: ignored: "),
        respelt_types=starting("note events: read: "),
        null_words=noted("word"),
        whole_float_ids=noted("whole float"),
        padded_ids=noted("padded"),
        rounded_ids=noted("rounded"),
        integer_ids=noted("integer", beside="whole float"),
        unpadded_ids=noted("unpadded", beside="padded"),
        times_us={"first": counts["first_us"][0], "last": -counts["minus_last_us"][0]}
        if "first_us" in counts
        else None,
        splits={split: counts.get(split, 0) for split in INTERACTION_SPLITS},
        held_out_pairs=held_out("pairs"),
        held_out_repeats=held_out("repeats"),
        held_out_disliked=held_out("disliked"),
        held_out_queries=held_out("queries"),
        queries_without_history=held_out("without_history"),
        split_kind=spec.split.kind,
        split_times_us={
            split: {"first": counts[f"first {split}"][0], "last": -counts[f"minus last {split}"][0]}
            for split in INTERACTION_SPLITS
            if f"first {split}" in counts
        }
        or None,
        cuts_us=names,
        cuts={split: iso_time(cut) for split, cut in names.items()} if names else None,
        examples=examples,
        id_examples={name: value for name, (value,) in starting("id ").items()},
        header_lines={side: f"{file}: {line}" for side, (file, line) in starting("header ").items()},
        twin_ids={side: list(pair) for side, pair in starting("twin ").items()},
        **{name: counts.get(name, 0) for name in numbers},
    )
    artifacts.write_text(os.path.join(directory, SUMMARY_FILE), summary.to_json(), _BEAM_FILES)
