"""Small logs as people have them: files by kind, all of 400 events of 20 users and 40 items."""

import io
import random
import zipfile
from datetime import datetime, timedelta

import pandas as pd
import pyarrow as pa

from recsys_ssl.guessing.columns import describe
from recsys_ssl.guessing.sample import Sample
from recsys_ssl.guessing.tables import Table

NUM = 400
TIME_S = 1_600_000_000
USERS = [f"u{number % 20}" for number in range(NUM)]
ITEMS = [f"p{number * 7 % 40}" for number in range(NUM)]
TIMES = [TIME_S + 977 * number for number in range(NUM)]
HOURS = [datetime(2020, 1, 1) + timedelta(hours=19 * number) for number in range(NUM)]


def table(head, *columns, delimiter=","):
    rows = [delimiter.join(map(str, row)) for row in zip(*columns)]
    return "\n".join([delimiter.join(head), *rows] if head else rows) + "\n"


def log(head=("user", "item", "ts"), *more, times=TIMES, delimiter=","):
    return table(head, USERS, ITEMS, times, *more, delimiter=delimiter)


def things(head, *columns, delimiter=","):
    return table(("item", *head), [f"p{number}" for number in range(40)], *columns, delimiter=delimiter)


def drawn(values, seed=0):
    return random.Random(seed).choices(values, k=NUM)


def priced(write, delimiter=";"):
    prices = [write(number % 8 + 1, 100 + 37 * number % 900) for number in range(40)]
    return {"log.csv": log(), "items.csv": things(["price"], prices, delimiter=delimiter)}


def labelled(name, values):
    return {"log.csv": log(["user", "item", "ts", name], drawn(values))}


def timed(name, times):
    return {"log.csv": log(["user", "item", name], times=times)}


def baskets(name, separator, num_users=80, num_items=60):
    """One line per user with a list of 3 to 9 items."""
    draw = random.Random(0)
    cells = [
        separator.join(f"p{draw.randrange(num_items)}" for _ in range(draw.randint(3, 9))) for _ in range(num_users)
    ]
    return table(["user", name], [f"u{number}" for number in range(num_users)], [f'"{cell}"' for cell in cells])


def zipped(**files):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


def table_of(path="log.csv", **columns):
    """A table as read of a file."""
    frame = pd.DataFrame(columns).astype(str)
    table = pa.table({name: pa.array(frame[name], pa.large_string()) for name in frame})
    return Table([path], [path], Sample({}, table, {}, True), describe(table), [])
