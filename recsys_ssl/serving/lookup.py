"""What lies beside a served model: every query of the log by its id, every item by its id, and items' attributes.

    MODEL/assets.extra/lookup.sqlite   meta     name, value: the feature spec as JSON
                                       items    item_row, item_id, record
                                       queries  query_id, record, history, times_us, seen
    MODEL/assets.extra/items.parquet   train_count, and the raw item features but content, one row an item, in row order

A record is a serialised tf.Example of raw features. `history` has the catalogue rows that the query chose last, oldest
first, and `times_us` when; `seen` the rows that its recommendations leave out. All three are little-endian integers.
TensorFlow Serving reads nothing of `assets.extra` but its warm-up requests.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from recsys_ssl import artifacts
from recsys_ssl.spec import FeatureSpec

EXTRA_DIR, LOOKUP_FILE, ITEMS_FILE = "assets.extra", "lookup.sqlite", "items.parquet"
ROW, TIME = np.dtype("<i4"), np.dtype("<i8")
SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (item_row INTEGER PRIMARY KEY, item_id TEXT NOT NULL UNIQUE, record BLOB NOT NULL);
CREATE TABLE queries (
    query_id TEXT PRIMARY KEY, record BLOB NOT NULL, history BLOB NOT NULL, times_us BLOB NOT NULL, seen BLOB NOT NULL
) WITHOUT ROWID;
"""
_IDS_PER_STATEMENT = 500


class LoggedQuery(NamedTuple):
    """What the log knows of a query after its last event."""

    record: dict[str, list]
    """Feature -> raw values; none of an item_sequence."""
    history: np.ndarray
    """[length] int rows of the items that it chose last, oldest first."""
    times_us: np.ndarray
    """[length] int64 microseconds since 1970, when it chose them; [0] where the log has no times."""
    seen: np.ndarray
    """[any] int rows that are left out of its recommendations."""


class Lookup:
    """Reads `lookup.sqlite`; threads may share it. Nothing is held in memory."""

    def __init__(self, model_dir: str | Path):
        """
        Raises:
            FileNotFoundError: the model was exported without it.
            DamagedError: it cannot be read.
        """
        self._path = Path(model_dir, EXTRA_DIR, LOOKUP_FILE)
        if not self._path.exists():
            raise FileNotFoundError(
                f"no {self._path}, which has queries and items by their ids. Run `recsys-ssl run` or "
                "`recsys-ssl index` of this version again."
            )
        self._connections = threading.local()
        with artifacts.reading(self._path):
            ((text,),) = self._select("SELECT value FROM meta WHERE name = 'spec'")
            self.spec = FeatureSpec.from_json(text)

    def find_rows(self, item_ids: Iterable[str]) -> dict[str, int]:
        """Item id -> its row, of those that the catalogue has."""
        return dict(self._select_ids("SELECT item_id, item_row FROM items WHERE item_id IN", item_ids))

    def find_items(self, item_ids: Iterable[str]) -> dict[str, dict[str, list]]:
        """Item id -> its raw record, of those that the catalogue has."""
        found = self._select_ids("SELECT item_id, record FROM items WHERE item_id IN", item_ids)
        return {item_id: _decode(record) for item_id, record in found}

    def find_queries(self, query_ids: Iterable[str]) -> dict[str, LoggedQuery]:
        """Query id -> what the log knows of it, of those that the log has."""
        found = self._select_ids(
            "SELECT query_id, record, history, times_us, seen FROM queries WHERE query_id IN", query_ids
        )
        return {
            query_id: LoggedQuery(
                _decode(record), np.frombuffer(history, ROW), np.frombuffer(times, TIME), np.frombuffer(seen, ROW)
            )
            for query_id, record, history, times, seen in found
        }

    def list_known(self, query_ids: Iterable[str]) -> set[str]:
        """Those of some ids that the log has as queries'."""
        return {found for (found,) in self._select_ids("SELECT query_id FROM queries WHERE query_id IN", query_ids)}

    def list_queries(self, start: str = "", limit: int = 100) -> list[str]:
        """Ids of queries that begin with `start`, in the order of their bytes, at most `limit`."""
        bound = f"{start}\U0010ffff"
        rows = self._select(
            "SELECT query_id FROM queries WHERE query_id >= ? AND query_id <= ? ORDER BY query_id LIMIT ?",
            (start, bound, limit),
        )
        return [query_id for (query_id,) in rows]

    def _select_ids(self, statement: str, ids: Iterable[str]) -> list[tuple]:
        distinct, found = list(dict.fromkeys(ids)), []
        for first in range(0, len(distinct), _IDS_PER_STATEMENT):
            some = distinct[first : first + _IDS_PER_STATEMENT]
            found += self._select(f"{statement} ({','.join('?' * len(some))})", some)
        return found

    def _select(self, statement: str, values: Sequence = ()) -> list[tuple]:
        connection = getattr(self._connections, "open", None)
        if connection is None:
            # Nobody writes it again: without locks and journals it may lie where nothing can be written.
            uri = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
            connection = self._connections.open = sqlite3.connect(uri, uri=True, check_same_thread=False)
        return connection.execute(statement, values).fetchall()


def _decode(record: bytes) -> dict[str, list]:
    """The features of a serialised tf.Example; what is missing is not there."""
    import tensorflow as tf  # not loaded by who only asks which items there are

    features: Mapping = tf.train.Example.FromString(record).features.feature
    found: dict[str, Optional[list]] = {}
    for name, feature in features.items():
        kind = feature.WhichOneof("kind")
        found[name] = list(getattr(feature, kind).value) if kind else None
    return {name: values for name, values in found.items() if values}
