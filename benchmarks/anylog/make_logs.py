"""MovieLens-100K written as four kinds of logs that people have, for `recsys-ssl new-spec` to look at.

movielens_1m   `ratings.dat`, `movies.dat`, `users.dat`: `::`, no header, Latin-1
spark          directories of Parquet parts with `_SUCCESS`, check sums and a partition column
excel          one export of a spreadsheet: Windows-1252, semicolons, decimal commas, American dates
nested_json    JSON lines whose objects hold the user, the film and the event

python -m benchmarks.anylog.make_logs build/data/movielens-100k build/anylog
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_COUNTRIES = ("United Kingdom", "France", "Germany", "EIRE", "Spain")
_DEVICES = ("phone", "tablet", "desktop")
_RETURN = "C"


def read_movielens(data: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Ratings, films and users of `recsys-ssl data movielens-100k`, with plain names of columns."""
    names = {
        "inter": ["user", "item", "rating", "time"],
        "item": ["item", "title", "year", "genres"],
        "user": ["user", "age", "gender", "occupation", "zip"],
    }
    ratings, films, users = (
        pd.read_csv(
            data / f"ml-100k.{suffix}", sep="\t", quoting=3, names=columns, header=0, dtype=str, na_filter=False
        )
        for suffix, columns in names.items()
    )
    return (
        ratings.assign(rating=ratings.rating.astype(float).astype(int), time=ratings.time.astype(float).astype(int)),
        films,
        users,
    )


def movielens_1m(data: Path, to: Path) -> None:
    """The three files of MovieLens-1M: UserID::MovieID::Rating::Timestamp and so on."""
    ratings, films, users = read_movielens(data)
    to.mkdir(parents=True, exist_ok=True)
    titles = films.title + " (" + films.year + ")"
    tables = {
        "ratings.dat": [ratings.user, ratings.item, ratings.rating.astype(str), ratings.time.astype(str)],
        "movies.dat": [films.item, titles, films.genres.str.replace(" ", "|", regex=False)],
        "users.dat": [users.user, users.gender, users.age, users.occupation, users.zip],
    }
    for name, columns in tables.items():
        lines = ["::".join(row) + "\n" for row in zip(*columns)]
        (to / name).write_bytes("".join(lines).encode("latin-1", "replace"))


def spark(data: Path, to: Path) -> None:
    """`ratings` in partitions by event, `films` and `users`, each a directory as Spark writes it."""
    ratings, films, users = read_movielens(data)
    events = pd.DataFrame(
        {
            "user_id": ratings.user.astype(int),
            "item_id": ratings.item.astype(int),
            "event_time": pd.to_datetime(ratings.time, unit="s"),
            "event": np.where(ratings.rating >= 4, "like", np.where(ratings.rating == 3, "view", "dislike")),
        }
    )
    for event, part in events.groupby("event"):
        _write_parts(part.drop(columns="event"), to / "ratings" / f"event={event}", 2)
    _mark(to / "ratings")
    genres = films.genres.str.split()
    films = films.assign(item_id=films.item.astype(int), genres=genres)[["item_id", "title", "year", "genres"]]
    _write_parts(films, to / "films", 2)
    _mark(to / "films")
    users = users.assign(user_id=users.user.astype(int), age=users.age.astype(int))
    _write_parts(users[["user_id", "age", "gender", "occupation"]], to / "users", 1)
    _mark(to / "users")


def excel(data: Path, to: Path) -> None:
    """The columns of Online Retail; a film is a product, a rating below 3 a return."""
    ratings, films, _ = read_movielens(data)
    to.mkdir(parents=True, exist_ok=True)
    ratings = ratings.merge(films, on="item").sort_values("time", kind="stable")
    day, item, user = ratings.time // 86_400, ratings["item"].astype(int), ratings.user.astype(int)
    returned = ratings.rating < 3
    cents = 95 + item * 37 % 900
    when = pd.to_datetime(ratings.time, unit="s")
    rows = pd.DataFrame(
        {
            "InvoiceNo": np.where(returned, _RETURN, "") + (500_000 + day % 1000 * 1000 + user).astype(str),
            "StockCode": (20_000 + item).astype(str) + np.where(item % 7 == 0, "A", ""),
            "Description": ratings.title.str.upper(),
            "Quantity": np.where(returned, -1, ratings.rating * 2),
            "InvoiceDate": when.dt.strftime("%-m/%-d/%y %-H:%M"),
            "UnitPrice": (cents // 100).astype(str) + "," + (cents % 100).astype(str).str.zfill(2),
            "CustomerID": 12_000 + user,
            "Country": [_COUNTRIES[place] for place in user % 13 % len(_COUNTRIES)],
        }
    )
    rows.to_csv(
        to / "Online Retail.csv", sep=";", index=False, encoding="cp1252", errors="replace", lineterminator="\r\n"
    )


def nested_json(data: Path, to: Path) -> None:
    """One file of events, whose objects hold what is known of user and film."""
    ratings, films, users = read_movielens(data)
    to.mkdir(parents=True, exist_ok=True)
    rows = ratings.merge(films, on="item").merge(users, on="user").sort_values("time", kind="stable")
    with open(to / "events.jsonl", "w", encoding="utf-8") as stream:
        for number, row in enumerate(rows.itertuples()):
            event = {
                "event": {
                    "type": "like" if row.rating >= 4 else "view" if row.rating == 3 else "dislike",
                    "at": pd.Timestamp(row.time, unit="s").isoformat() + "Z",
                },
                "user": {"id": f"u{row.user}", "gender": row.gender, "age": int(row.age)},
                "item": {"id": f"i{row.item}", "title": row.title, "genres": row.genres.split()},
                "context": {"device": _DEVICES[(int(row.user) + number % 2) % len(_DEVICES)]},
            }
            stream.write(json.dumps(event, ensure_ascii=False) + "\n")


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "movielens_1m": movielens_1m,
    "spark": spark,
    "excel": excel,
    "nested_json": nested_json,
}
"""Kind of log -> the function that writes it into a directory of its own."""


def _write_parts(rows: pd.DataFrame, directory: Path, num_parts: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate(np.array_split(np.arange(len(rows)), num_parts)):
        name = f"part-{number:05d}-6f2c.snappy.parquet"
        table = pa.Table.from_pandas(rows.iloc[part], preserve_index=False)
        pq.write_table(table, directory / name, use_deprecated_int96_timestamps=True)
        (directory / f".{name}.crc").write_bytes(b"crc\0")


def _mark(directory: Path) -> None:
    (directory / "_SUCCESS").touch()
    (directory / "._SUCCESS.crc").write_bytes(b"crc\0")


def main() -> None:
    data, to = map(Path, sys.argv[1:3])
    for kind, write in KINDS.items():
        write(data, to / kind)
        print(to / kind)


if __name__ == "__main__":
    main()
