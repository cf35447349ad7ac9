"""The live catalogue: items that were added, changed or removed since the model was trained, durable in one file.

SQLite keeps it, with a write-ahead log and every commit on the disk before it counts (`synchronous = FULL`): a change
is there whole or not at all, and one that was confirmed survives a kill of the process and of the machine. Readers
never wait for a writer. The file must lie on a local disk. It holds raw features and no vectors, so that the next model
embeds the items anew.

    items  item_id, number, state, record

`number` grows with each change, so that a server asks for what is new by the last one that it has seen. A row stays
after its item was removed, for servers that still have the item.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from recsys_ssl import artifacts
from recsys_ssl.serving.items import from_text, read_features, to_text
from recsys_ssl.spec import FeatureSpec

LIVE_FILE = "live.sqlite"
"""Of a working directory."""

State = Literal["added", "changed", "removed"]
Operation = Literal["add", "change", "remove"]
_SCHEMA = """
CREATE TABLE IF NOT EXISTS items (
    item_id TEXT PRIMARY KEY, number INTEGER NOT NULL UNIQUE, state TEXT NOT NULL, record TEXT NOT NULL
) WITHOUT ROWID
"""
_WRITE = """
INSERT INTO items VALUES (?, (SELECT COALESCE(MAX(number), 0) + 1 FROM items), ?, ?) ON CONFLICT (item_id)
DO UPDATE SET number = excluded.number, state = excluded.state, record = excluded.record
"""
_WAIT_S = 30.0


class LiveItem(NamedTuple):
    """What is known of an item that is not as in training."""

    item_id: str
    number: int
    """Of its last change."""
    state: State
    record: dict[str, list]
    """Raw features: all of an item that was added, those changed of one of the model's catalogue."""


class Change(NamedTuple):
    """What is to be done to one item."""

    operation: Operation
    item_id: str
    record: dict[str, list]
    """Checked raw features, see `items.read_features`; an empty list takes a feature away. Of a removal none."""


def make_change(
    spec: FeatureSpec,
    operation: Operation,
    item_id: str,
    features: Mapping[str, Any] | None = None,
    data_dir: str = ".",
) -> Change:
    """What is to be done to an item, by its features as people write them, see `items.read_features`.

    Raises:
        ValueError: the operation is unknown, a removal has features, or a feature is unknown or cannot have its value.
        TypeError: a value has the wrong type.
    """
    if operation not in get_args(Operation):
        raise ValueError(f"operation must be one of {get_args(Operation)}. Received: {operation!r}.")
    if operation == "remove" and features:
        raise ValueError(f"a removal takes the item's id alone. Received: {sorted(features)}. Leave them out.")
    record = read_features(spec, item_id, features or {}, data_dir)
    return Change(operation, item_id, {} if operation == "remove" else record)


class LiveCatalogue:
    """The file; threads and processes may share it."""

    def __init__(self, path: str | os.PathLike):
        """
        Raises:
            OSError: the file cannot be made, or its disk is full or fails.
            DamagedError: it is no such file.
        """
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._connections = threading.local()
        with self._using():
            try:
                self._open().execute(_SCHEMA)
            except sqlite3.OperationalError:
                raise
            except sqlite3.DatabaseError:
                with artifacts.reading(self.path, "Move it away, and add the items again."):
                    raise

    def last_number(self) -> int:
        """The number of the last change; 0 before the first."""
        ((number,),) = self._open().execute("SELECT COALESCE(MAX(number), 0) FROM items")
        return number

    def read_since(self, number: int = 0) -> list[LiveItem]:
        """Items that changed after a number, in the order of their last changes."""
        rows = self._open().execute("SELECT * FROM items WHERE number > ? ORDER BY number", (number,))
        return [LiveItem(item_id, count, state, from_text(record)) for item_id, count, state, record in rows]

    def apply(self, changes: Iterable[Change], list_trained: Callable[[Sequence[str]], Iterable[str]]) -> int:
        """Makes all changes or none; they are on the disk when this returns.

        Args:
            list_trained: some ids -> those that the model's own catalogue has.

        Returns:
            The number of the last change.

        Raises:
            ValueError: an item that is added is there, or one that is changed or removed is not.
            OSError: the disk is full or fails, or others write for too long.
        """
        changes = list(changes)
        trained = set(list_trained([change.item_id for change in changes]))
        with self._using(), self._writing() as database:
            for change in changes:
                state, record = _change(change, self._find(database, change.item_id), change.item_id in trained)
                database.execute(_WRITE, (change.item_id, state, to_text(record)))
            ((number,),) = database.execute("SELECT COALESCE(MAX(number), 0) FROM items")
        return number

    @staticmethod
    def _find(database: sqlite3.Connection, item_id: str) -> LiveItem | None:
        row = database.execute("SELECT * FROM items WHERE item_id = ?", (item_id,)).fetchone()
        return None if row is None else LiveItem(row[0], row[1], row[2], from_text(row[3]))

    @contextlib.contextmanager
    def _using(self) -> Iterator[None]:
        """SQLite tells of the system by an error of its own, which is none of the system's."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise OSError(
                f"{self.path} must be written, and was left as it was. Received: {error}. Free space on its disk, or "
                "wait until others have written, and make the change again."
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        database = self._open()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
            database.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):  # the disk may be full; the first error says so
                database.execute("ROLLBACK")
            raise

    def _open(self) -> sqlite3.Connection:
        """The connection of this thread."""
        database = getattr(self._connections, "open", None)
        if database is None:
            database = sqlite3.connect(self.path, timeout=_WAIT_S, isolation_level=None, check_same_thread=False)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            self._connections.open = database
        return database


def _change(change: Change, live: LiveItem | None, is_trained: bool) -> tuple[State, dict[str, list]]:
    """What becomes of an item."""
    is_there = is_trained if live is None else live.state != "removed"
    item = f"item {change.item_id!r}"
    if change.operation == "add":
        if is_there:
            raise ValueError(f"an item that is added must be new. Received: {item}, which is there. Change it instead.")
        # The model would show the item as training saw it.
        return "changed" if is_trained else "added", change.record
    if not is_there:
        raise ValueError(f"the catalogue must have the item. Received: {item}. Check its id, or add it.")
    if change.operation == "remove":
        return "removed", {}
    if live is None:
        return "changed", change.record
    if live.state == "added" and is_trained:  # the model has it by now, and shows no addition of what it has
        return "changed", change.record
    return live.state, live.record | change.record
