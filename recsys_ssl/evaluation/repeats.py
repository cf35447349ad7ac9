"""What items of a ranking score for having been chosen before, beside the dot product."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_ssl import lists
from recsys_ssl.evaluation.queries import iterate_column, open_files

_COLUMNS = ("repeat_ids", "repeat_scores", "repeat_temperature")


@dataclass(frozen=True)
class Repeats:
    """The items that the queries of rankings have chosen before, in CSR form: 12 bytes each, and 8 bytes a ranking."""

    offsets: np.ndarray
    """[num_rankings + 1] int64: ranking `r` owns `rows[offsets[r]:offsets[r + 1]]`."""
    rows: np.ndarray
    """[num_repeats] int64 catalogue rows, distinct within a ranking."""
    scores: np.ndarray
    """[num_repeats] float32, what an item scores as one that is chosen again."""
    temperature: float
    """Of all scores, > 0."""

    def merge(self, start: int, stop: int, out: np.ndarray) -> None:
        """Makes dot products s of the rankings start..stop-1 what they are where an item may come again, by score r.

        T log(e^(s / T) + e^(r / T)): as likely as the sum of the chances, see `models.repeats`.

        Args:
            out: [stop - start, num_items] float32.
        """
        own = slice(self.offsets[start], self.offsets[stop])
        ranking = np.repeat(np.arange(stop - start), np.diff(self.offsets[start : stop + 1]))
        places = ranking, self.rows[own]
        out[places] = self.temperature * np.logaddexp(
            out[places] / np.float32(self.temperature), self.scores[own] / np.float32(self.temperature)
        )

    def check(self, num_rankings: int, num_items: int) -> None:
        """Raises ValueError where they are of other rankings or items, or not finite."""
        if len(self.offsets) != num_rankings + 1 or not np.all(self.rows < num_items):
            raise ValueError(
                f"repeats must be of {num_rankings} rankings and {num_items} items. Received: those of "
                f"{len(self.offsets) - 1} rankings, rows up to {self.rows.max(initial=-1)}. Embed the split again."
            )
        if not np.isfinite(self.scores).all():
            raise ValueError(
                "scores of repeats must be finite. Received: NaN or infinity. Train with a smaller learning rate."
            )


def make_repeats(
    num_rankings: int, ranking: np.ndarray, rows: np.ndarray, scores: np.ndarray, temperature: float
) -> Repeats:
    """The repeats of rankings.

    Args:
        ranking: [num_repeats] int64, in any order.
        rows: [num_repeats] int64 catalogue rows; a negative one, of no item of the catalogue, is left out.
        scores: [num_repeats] float32.
    """
    kept = np.argsort(ranking, kind="stable")
    kept = kept[rows[kept] >= 0]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(ranking[kept], minlength=num_rankings))])
    return Repeats(offsets, rows[kept], scores[kept].astype(np.float32, copy=False), temperature)


def read_repeats(query_dir: str | Path, item_dir: str | Path, event_rows: np.ndarray) -> Optional[Repeats]:
    """Reads the repeats of some held-out events; None where the model knows of none.

    Holds the ids of the catalogue and, of one batch of events at a time, those of their histories.

    Args:
        query_dir: Parquet directory of query embeddings.
        item_dir: Parquet directory of the item embeddings of the same model; ids that it has not are left out.
        event_rows: [num_rankings] int64, the row of the event that gives each ranking's vector.
    """
    if not has_repeats(query_dir):
        return None
    item_ids = pa.chunked_array([ids.cast(pa.large_binary()) for _, ids in iterate_column(item_dir, "item_id")])
    temperature = 1.0
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    columns = (iterate_column(query_dir, name) for name in _COLUMNS)
    for (start, ids), (_, scores), (_, temperatures) in zip(*columns, strict=True):
        inside = np.flatnonzero((event_rows >= start) & (event_rows < start + len(ids)))
        events = pa.array(event_rows[inside] - start)
        found, lengths = lists.flatten(ids.take(events), pa.large_binary())
        rows = pc.fill_null(pc.index_in(found.cast(pa.large_binary()), value_set=item_ids), -1)
        values, _ = lists.flatten(scores.take(events), pa.float32())
        parts.append((np.repeat(inside, lengths), rows.to_numpy().astype(np.int64), values.to_numpy()))
        temperature = temperatures[0].as_py()  # one model, one temperature
    ranking, found_rows, found_scores = (np.concatenate(part) for part in zip(*parts, strict=True))
    return make_repeats(len(event_rows), ranking, found_rows, found_scores, temperature)


def has_repeats(query_dir: str | Path) -> bool:
    """Whether query embeddings are those of a model that knows of repeats."""
    return all(set(_COLUMNS) <= set(file.schema_arrow.names) for file in open_files(query_dir, []))
