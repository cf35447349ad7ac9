"""Where a log and the rules of its evaluation do not go together, in sentences for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys_ssl.spec import FeatureSpec

MANY_REPEATS = 0.05
MANY_WITHOUT_HISTORY = 0.5


def list_cautions(spec: FeatureSpec, summary: Mapping[str, Any], split: str = "test") -> list[str]:
    """Returns what somebody must know who reads figures of a split; nothing for most logs.

    - With `mask_seen` held-out repeats are left out. Where they are many the figures are of new items alone, which is
      right for films and wrong for groceries: only who knows the log can tell. Where there is nothing but repeats they
      are kept and nothing is masked.
    - With one ranking per query it is made at the query's first held-out event. Where queries are sessions, that is
      the first event of all, of which no history says anything.

    Args:
        summary: of the ingestion, as JSON; what it lacks is not judged.
        split: `eval` or `test`.
    """
    cautions = []
    repeats, disliked, pairs = count_repeats(summary, split)
    if spec.evaluation.mask_seen and repeats > MANY_REPEATS * pairs:
        fate = (
            "No other is left, so they are kept and nothing is masked: the figures are of repeats only."
            if repeats + disliked == pairs
            else "They are left out, so the figures are of new items only."
        )
        cautions.append(
            f"{repeats:,} of {pairs:,} held-out pairs ({repeats / pairs:.1%}) are items that their query had chosen "
            f"before. {fate} If people choose the same item again here (groceries, music), set evaluation.mask_seen: "
            "false in the spec."
        )
    queries, strangers = (
        summary.get(name, {}).get(split, 0) for name in ("held_out_queries", "queries_without_history")
    )
    # The features of a query that is an item are the same at its first event and at its last.
    one_by_one = spec.evaluation.group_by == "event" or spec.queries.same_as_items
    if spec.events.timestamp is not None and not one_by_one and strangers > MANY_WITHOUT_HISTORY * queries:
        advice = "Set evaluation.group_by: event in the spec, which ranks each event after those before it."
        if not spec.item_sequences:
            advice += " Give the queries an item_sequence too, or a ranking knows nothing of those events."
        cautions.append(
            f"{strangers:,} of {queries:,} held-out queries ({strangers / queries:.1%}) have no event before their "
            f"first held-out one, at which they are ranked: they are judged by an empty history. {advice}"
        )
    return cautions


def count_repeats(summary: Mapping[str, Any], split: str = "test") -> tuple[int, int, int]:
    """Held-out pairs of a split whose item the query had chosen before, further ones that it had rated low, and all."""
    names = ("held_out_repeats", "held_out_disliked", "held_out_pairs")
    repeats, disliked, pairs = (summary.get(name, {}).get(split, 0) for name in names)
    return repeats, disliked, pairs
