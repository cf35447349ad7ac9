"""What became of the records of a log: the numbers, and whether they will do."""

from __future__ import annotations

import dataclasses
from typing import Optional

import numpy as np

from recsys_ssl import artifacts
from recsys_ssl.logs.readers import LogError
from recsys_ssl.spec import FeatureSpec


@dataclasses.dataclass(frozen=True)
class IngestSummary:
    """Every record that was read is in exactly one of positives, ignored, impressions, duplicates and rejected."""

    spec: str
    events_read: int
    positives: int
    """Positives that were kept: the examples of the three splits."""
    ignored: int
    """Sound records that are neither positive nor an impression."""
    impressions: int
    duplicates: int
    rejected: dict[str, int]
    """Reason -> number of the log's records."""
    items_read: int
    items_rejected: dict[str, int]
    queries_read: int
    queries_rejected: dict[str, int]
    queries_without_features: int
    """Queries with a positive that the query table does not know."""
    splits: dict[str, int]
    split_kind: str
    """`time`: by the cuts; in a log without time `random`: by a seeded hash of (query, item), or `item_group`: by one
    of the item's group."""
    cuts_us: Optional[dict[str, int]]
    """Split -> its first microsecond since 1970."""
    cuts: Optional[dict[str, str]]
    """The same as ISO 8601, UTC."""
    num_items: int
    num_queries: int
    """Queries with a positive."""
    items_without_train: int
    """Items that no train event has: the cold ones."""
    examples: dict[str, str]
    """Table and reason -> the first record that was rejected for it."""

    def to_json(self) -> str:
        return artifacts.to_json(self)

    @classmethod
    def from_json(cls, text: str) -> IngestSummary:
        return artifacts.from_json(cls, text)


def iso_time(timestamp_us: int) -> str:
    return str(np.datetime64(timestamp_us, "us")) + "Z"


def check_summary(summary: IngestSummary, spec: FeatureSpec) -> None:
    """Raises when the log cannot be trained on.

    Raises:
        LogError: a table or the log has no record, more than `spec.max_rejected_share` of it were rejected, no
            positive is left, or a split is empty.
    """
    sources = [("events", "the log", summary.events_read, summary.rejected)]
    if spec.items.table:
        sources.append(("items", "the item table", summary.items_read, summary.items_rejected))
    if spec.queries.table:
        sources.append(("queries", "the query table", summary.queries_read, summary.queries_rejected))
    for source, name, read, rejected in sources:
        if read == rejected.get("file is empty", 0):
            raise LogError(f"{name} has no record. Check {source} in the spec and the files that its paths match.")
    for source, name, read, rejected in sources:
        number = sum(rejected.values())
        if number > spec.max_rejected_share * read:
            reasons = sorted(rejected.items(), key=lambda pair: (-pair[1], pair[0]))
            lines = [f"  {count:>9,}  {why}; first: {summary.examples[f'{source}: {why}']}" for why, count in reasons]
            raise LogError(
                f"{number:,} of {read:,} records of {name} ({number / read:.1%}) were rejected; "
                f"max_rejected_share is {spec.max_rejected_share:.1%}.\n"
                + "\n".join(lines)
                + "\nMend the data or the spec, or raise max_rejected_share."
            )
    if not summary.positives:
        raise LogError(
            f"the log has no positive event: {summary.ignored:,} were ignored, {summary.impressions:,} are "
            f"impressions, {sum(summary.rejected.values()):,} were rejected. Check events.label in the spec."
        )
    empty = [split for split, size in summary.splits.items() if not size]
    if empty:
        raise LogError(
            f"every split needs an event. {summary.positives:,} positive events left {' and '.join(empty)} empty "
            f"({summary.split_kind} split). Use more events, or other shares or times."
        )
