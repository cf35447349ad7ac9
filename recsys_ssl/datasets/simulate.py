"""Writes feedback logs of any size, in which every query's true preference is known.

Items belong to a topic, topics have makers, makers have items; tags and title words come from the topic. A user
prefers some topics and, within a topic, one maker; within a maker items are popular by Zipf's law. So

    p(item | user) = p(topic | user) p(maker | topic, user) p(item | maker)

is at once the law of the clicks and, sorted, the right ranking. What a user prefers is a hash of the user's
number: nothing is stored for users, and the log is written in chunks of time.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

_TAGS_PER_TOPIC = 8
_FAVOURITE_TOPICS = (0.6, 0.2)
"""Shares of a user's first and second topic; the rest of the clicks follows all topics' popularity."""
_FAVOURITE_MAKER = 0.5
_START_S = 1_600_000_000


@dataclasses.dataclass(frozen=True)
class Simulation:
    """A population and its log.

    Memory: about 100 bytes per item, 8 bytes per user (their activity) and 200 bytes per event of a chunk.
    """

    num_users: int = 1_000
    num_items: int = 500
    num_events: int = 20_000
    """Clicks. Each is shown with `impressions_per_click` impressions, its own among them."""
    num_topics: int = 10
    makers_per_topic: int = 4
    impressions_per_click: int = 2
    zipf_exponent: float = 1.0
    """Popularity of items within a maker, of topics, and activity of users: the rank to minus this."""
    days: float = 30.0
    events_per_chunk: int = 200_000
    seed: int = 0

    def __post_init__(self):
        for name in ("num_users", "num_events", "makers_per_topic", "impressions_per_click", "events_per_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {name}={getattr(self, name)}.")
        if self.num_topics < 2:
            raise ValueError(f"num_topics must be at least 2. Received: num_topics={self.num_topics}.")
        if self.num_items < self.num_topics * self.makers_per_topic:
            raise ValueError(
                "each maker needs an item. Received: "
                f"num_items={self.num_items} for {self.num_topics * self.makers_per_topic} makers. Use more items."
            )


def simulate(simulation: Simulation, directory: str) -> Truth:
    """Writes `events.csv.gz`, `items.csv.gz`, `users.csv.gz` and the matching spec `simulated.yaml`.

    Events are in order of time. The same simulation writes the same bytes.
    """
    os.makedirs(directory, exist_ok=True)
    truth = Truth(simulation)
    _write_csv(os.path.join(directory, "items.csv.gz"), iter([_items(truth)]))
    write_log(truth, directory)
    with open(os.path.join(directory, "simulated.yaml"), "w", encoding="utf-8") as stream:
        stream.write(_SPEC)
    return truth


def write_log(truth: Truth, directory: str) -> None:
    """Writes `events.csv.gz` and `users.csv.gz`: a log of items, whatever is told of these."""
    _write_csv(os.path.join(directory, "users.csv.gz"), _users(truth))
    _write_csv(os.path.join(directory, "events.csv.gz"), _events(truth))


class Truth:
    """What users of a simulation really prefer."""

    def __init__(self, simulation: Simulation):
        self.simulation = simulation
        num_makers = simulation.num_topics * simulation.makers_per_topic
        rng = np.random.default_rng([simulation.seed, 0])
        others = rng.integers(num_makers, size=simulation.num_items - num_makers)
        self.maker = rng.permutation(np.concatenate([np.arange(num_makers), others]))
        """[num_items] int64, the maker of each item; maker // makers_per_topic is its topic."""
        self.topic_share = _zipf(simulation.num_topics, simulation.zipf_exponent)
        self._order = np.argsort(self.maker, kind="stable")
        self._bounds = np.searchsorted(self.maker[self._order], np.arange(num_makers + 1))
        share = np.concatenate([_zipf(size, simulation.zipf_exponent) for size in np.diff(self._bounds)])
        self.item_share = np.empty(simulation.num_items)
        """[num_items] float64, p(item | maker)."""
        self.item_share[self._order] = share
        self._cumulative = np.concatenate([[0.0], np.cumsum(share)])

    @property
    def topic(self) -> np.ndarray:
        """[num_items] int64."""
        return self.maker // self.simulation.makers_per_topic

    def favourite_topics(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[num_users] int64 each: first and second favourite topic, never the same."""
        topics = self.simulation.num_topics
        first = _hash(users, self.simulation.seed, 1) % np.uint64(topics)
        step = _hash(users, self.simulation.seed, 2) % np.uint64(topics - 1)
        return first.astype(np.int64), ((first + step + np.uint64(1)) % np.uint64(topics)).astype(np.int64)

    def favourite_maker(self, users: np.ndarray, topics: np.ndarray) -> np.ndarray:
        """[n] int64, the maker that each user prefers within a topic."""
        makers = self.simulation.makers_per_topic
        choice = _hash(users * self.simulation.num_topics + topics, self.simulation.seed, 3) % np.uint64(makers)
        return topics * makers + choice.astype(np.int64)

    def preference(self, users: np.ndarray) -> np.ndarray:
        """[num_users, num_items] float64, p(item | user); rows add up to 1. Sort a row for the right ranking."""
        users, topics = np.asarray(users)[:, None], np.arange(self.simulation.num_topics)
        first, second = self.favourite_topics(users)
        p_topic = (1 - sum(_FAVOURITE_TOPICS)) * self.topic_share[None, :]
        p_topic = p_topic + _FAVOURITE_TOPICS[0] * (topics == first) + _FAVOURITE_TOPICS[1] * (topics == second)
        is_favourite = self.maker == self.favourite_maker(users, self.topic[None, :])
        p_maker = (1 - _FAVOURITE_MAKER) / self.simulation.makers_per_topic + _FAVOURITE_MAKER * is_favourite
        return p_topic[:, self.topic] * p_maker * self.item_share

    def popularity(self) -> np.ndarray:
        """[num_items] float64, the probability that an impression shows the item, whoever looks."""
        return self.topic_share[self.topic] / self.simulation.makers_per_topic * self.item_share

    def draw_items(self, users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[num_users] int64, an item for each user by `preference`."""
        num, simulation = len(users), self.simulation
        first, second = self.favourite_topics(users)
        which = rng.random(num)
        topic = rng.choice(simulation.num_topics, num, p=self.topic_share)
        topic = np.where(which < sum(_FAVOURITE_TOPICS), second, topic)
        topic = np.where(which < _FAVOURITE_TOPICS[0], first, topic)
        maker = topic * simulation.makers_per_topic + rng.integers(simulation.makers_per_topic, size=num)
        maker = np.where(rng.random(num) < _FAVOURITE_MAKER, self.favourite_maker(users, topic), maker)
        return self._draw_of_makers(maker, rng)

    def draw_shown(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """[num] int64, items by `popularity`."""
        simulation = self.simulation
        topic = rng.choice(simulation.num_topics, num, p=self.topic_share)
        maker = topic * simulation.makers_per_topic + rng.integers(simulation.makers_per_topic, size=num)
        return self._draw_of_makers(maker, rng)

    def _draw_of_makers(self, maker: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        begin, end = self._bounds[maker], self._bounds[maker + 1]
        at = self._cumulative[begin] + rng.random(len(maker)) * (self._cumulative[end] - self._cumulative[begin])
        place = np.searchsorted(self._cumulative, at, side="right") - 1
        return self._order[np.clip(place, begin, end - 1)]


def _zipf(size: int, exponent: float) -> np.ndarray:
    weights = np.arange(1, size + 1, dtype=np.float64) ** -exponent
    return weights / weights.sum()


def _hash(values: np.ndarray, seed: int, stream: int) -> np.ndarray:
    """uint64 hash of whole numbers (the finaliser of SplitMix64; Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        state = np.asarray(values).astype(np.uint64) + np.uint64((seed * 1_000_003 + stream) % 2**64)
        state = state * np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


# --- Tables ------------------------------------------------------------------------------------------


def name_rows(prefix: str, rows: np.ndarray) -> pa.Array:
    """[num_rows] text: item-0, item-1, ... or user-0, ..."""
    return pc.binary_join_element_wise(pa.scalar(prefix), pa.array(rows).cast(pa.string()), "-")


def _items(truth: Truth) -> pa.Table:
    """Topic and maker of an item are true; of its three tags one is a word of any topic."""
    simulation, topic = truth.simulation, truth.topic
    rng = np.random.default_rng([simulation.seed, 1])
    tags = topic[:, None] * _TAGS_PER_TOPIC + rng.integers(_TAGS_PER_TOPIC, size=(simulation.num_items, 3))
    tags[:, 2] = rng.integers(simulation.num_topics * _TAGS_PER_TOPIC, size=simulation.num_items)
    words = [name_rows("tag", column) for column in tags.T]
    return pa.table(
        {
            "item": name_rows("item", np.arange(simulation.num_items)),
            "topic": name_rows("topic", topic),
            "maker": name_rows("maker", truth.maker),
            "tags": pc.binary_join_element_wise(*words, "|"),
            "title": pc.binary_join_element_wise(
                pa.scalar("Thing of"), name_rows("topic", topic), pa.scalar("by"), name_rows("maker", truth.maker), " "
            ),
        }
    )


def _users(truth: Truth) -> Iterator[pa.Table]:
    """The first favourite topic is told as `interest`; the second and the makers must be learnt."""
    simulation = truth.simulation
    for begin in range(0, simulation.num_users, simulation.events_per_chunk):
        users = np.arange(begin, min(begin + simulation.events_per_chunk, simulation.num_users))
        first, _ = truth.favourite_topics(users)
        yield pa.table({"user": name_rows("user", users), "interest": name_rows("topic", first)})


def _events(truth: Truth) -> Iterator[pa.Table]:
    simulation = truth.simulation
    activity = np.cumsum(_zipf(simulation.num_users, simulation.zipf_exponent))
    span_s = simulation.days * 86_400 / simulation.num_events
    for begin in range(0, simulation.num_events, simulation.events_per_chunk):
        size = min(simulation.events_per_chunk, simulation.num_events - begin)
        rng = np.random.default_rng([simulation.seed, 2, begin])
        users = np.minimum(np.searchsorted(activity, rng.random(size), side="right"), simulation.num_users - 1)
        time_s = np.sort(_START_S + span_s * (begin + size * rng.random(size))).astype(np.int64)
        clicked = truth.draw_items(users, rng)
        shown = [clicked]
        shown += [truth.draw_shown(size, rng) for _ in range(simulation.impressions_per_click - 1)]
        items = np.stack([*shown, clicked], axis=1)  # shown first, then clicked
        kinds = np.array(["impression"] * len(shown) + ["click"])
        each = items.shape[1]
        yield pa.table(
            {
                "user": name_rows("user", np.repeat(users, each)),
                "item": name_rows("item", items.reshape(-1)),
                "time": np.repeat(time_s, each),
                "event": np.tile(kinds, size),
            }
        )


def _write_csv(path: str, tables: Iterator[pa.Table]) -> None:
    with pa.CompressedOutputStream(pa.OSFile(path, "wb"), "gzip") as stream:
        for i, table in enumerate(tables):
            pa_csv.write_csv(table, stream, pa_csv.WriteOptions(include_header=i == 0))


_SPEC = """# Written by the simulator; the truth is known to recsys_ssl.datasets.simulate.Truth.
version: 1
name: simulated
events:
  paths: [events.csv.gz]
  query_id: user
  item_id: item
  timestamp: {column: time, unit: s}
  label: {event_type: event, positive: {click: 1.0}, impressions: [impression]}
items:
  table: {paths: [items.csv.gz]}
  id: item
  title: title
  features:
    - {name: item, kind: id}
    - {name: topic, kind: categorical}
    - {name: maker, kind: categorical}
    - {name: tags, kind: categorical, multi_valued: true, separator: "|"}
    - {name: title, kind: text}
queries:
  table: {paths: [users.csv.gz]}
  id: user
  features:
    - {name: user, kind: id}
    - {name: interest, kind: categorical}
    - {name: history, kind: item_sequence, length: 20}
evaluation:
  slices: [interest]
"""
