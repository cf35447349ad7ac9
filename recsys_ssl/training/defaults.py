"""Settings of a log that nobody tuned for: a few rules by how many events there are, in all and of each id.

What each is worth on seven logs, six of which they were made on: docs/tuning/gains.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Optional

import numpy as np

from recsys_ssl import examples
from recsys_ssl.pairs import read_pairs
from recsys_ssl.settings import change
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.data import count_examples

MANY = 100_000
"""Positives from which a log gets more steps, and keeps their size."""
ENOUGH = 12.0
"""Positives of the item and of the query of a typical event, from which a factorisation knows both."""
MOST = 10_000_000
"""Positives up to which ids start at a factorisation unasked: with more it takes minutes, and was not measured."""


class LogFacts(NamedTuple):
    """What the rules read of a train split."""

    positives: int
    of_item: Optional[float]
    """Median over positives of how many their item has; None where that was not counted."""
    of_query: Optional[float]
    """The same of their query."""

    @property
    def is_large(self) -> bool:
        return self.positives >= MANY

    @property
    def is_dense(self) -> bool:
        return self.of_item is not None and self.of_query is not None and min(self.of_item, self.of_query) >= ENOUGH

    def __str__(self) -> str:
        typical = ""
        if self.of_item is not None:
            typical = f", a typical one of an item with {self.of_item:,.0f} and a query with {self.of_query:,.0f}"
        return f"{self.positives:,} positives{typical}"


def measure(interactions_dir: str) -> LogFacts:
    """Counts the train split of encoded interactions; 24 bytes of memory a positive, of `MOST` at most."""
    positives = count_examples(examples.list_shards(interactions_dir, "train"))
    if not 0 < positives <= MOST:
        return LogFacts(positives, None, None)
    pairs = read_pairs(interactions_dir, "train")
    of_item, of_query = (float(np.median(np.bincount(codes)[codes])) for codes in (pairs.item_rows, pairs.query_codes))
    return LogFacts(positives, of_item, of_query)


def choose(facts: LogFacts, can_start: bool) -> dict[str, Any]:
    """Settings that a log asks for in the place of the defaults, by their dotted names, see `config.BY_LOG`.

    Where items and queries have enough events their ids start at a factorisation, which small steps do not undo. A
    small log of that kind is soon learnt by heart: a higher temperature and smaller batches. A large log gets more
    steps; it stops earlier if validation says so.

    Args:
        can_start: whether ids can start at a factorisation; small steps from noise would not arrive.
    """
    found: dict[str, Any] = {}
    if facts.is_large:
        found["steps"] = 2000
    if not (facts.is_dense and can_start):
        return found
    if facts.is_large:
        found |= {"start.ids": "factors", "learning_rate": 0.05, "temperature": 0.15}
    else:
        found |= {"start.ids": "factors", "learning_rate": 0.03, "temperature": 0.2}
        found |= {"batch_size": 512, "ssl.batch_size": 256}
    return found


def fit_to_log(config: TrainConfig, facts: LogFacts, has_ids: bool) -> tuple[TrainConfig, dict[str, Any]]:
    """The settings with those of `config.by_log` that the log asks for, and which these are; nothing is left open.

    Args:
        has_ids: whether ids are among the items' features. Towers with hidden layers do not pass factors on, and were
            not measured: theirs start as ever.
    """
    can_start = has_ids and not config.hidden and ("start.ids" in config.by_log or config.start.ids == "factors")
    asked = {name: value for name, value in choose(facts, can_start).items() if name in config.by_log}
    return change("train", config, {**asked, "by_log": ()}), asked


def settle(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    """The settings of a training with some of them chosen, by their dotted names; these are not left to the log."""
    left = tuple(name for name in config.by_log if name not in settings)
    return change("train", config, {**settings, "by_log": left})
