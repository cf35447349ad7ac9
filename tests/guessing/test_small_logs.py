"""Whatever the log: its draft loads, and the first records of its own data are read as the draft says."""

import bz2
import contextlib
import io
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.guessing.draft import draft_spec
from recsys_ssl.guessing.opened import GuessError
from recsys_ssl.logs.preview import preview, will_fail
from recsys_ssl.spec_files import load_spec
from tests.guessing.small_logs import (
    HOURS,
    ITEMS,
    TIMES,
    USERS,
    baskets,
    drawn,
    labelled,
    log,
    priced,
    table,
    things,
    timed,
    zipped,
)


def parquet(**columns):
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


ORDERS = [
    {"user": {"id": user}, "lines": [{"sku": item, "qty": 1}] * 2, "at": at}
    for user, item, at in zip(USERS, ITEMS, map(str, HOURS))
]
VISITS = [
    {"user": f"u{n}", "items": ITEMS[n : n + 2 + n % 3], "timestamps": TIMES[n : n + 2 + n % 3]} for n in range(90)
]

LOGS = {
    "plain": {"log.csv": log()},
    "semicolons": {"log.csv": log(delimiter=";")},
    "blanks": {"log.txt": log(delimiter=" ")},
    "no header": {"log.csv": log(None)},
    "ratings": labelled("rating", [1, 2, 3, 4, 5]),
    "clicks": labelled("click", [0, 1]),
    "event types": labelled("event", ["show", "view", "buy", "remove_from_cart"]),
    "days": timed("date", [hour.strftime("%d/%m/%Y") for hour in HOURS]),
    "UTF-16": {"log.csv": log().encode("utf-16")},
    "bzip2": {"log.csv.bz2": bz2.compress(log().encode())},
    "lists": {
        "log.tsv": table(
            ["user", "items"], USERS, [f"{a},{b}" for a, b in zip(ITEMS, ITEMS[3:] + ITEMS[:3])], delimiter="\t"
        )
    },
    "a cell of items": {"log.csv": baskets("items", ", ")},
    "a cell of ids": {"log.csv": baskets("item_ids", ",")},
    "a cell of many items": {"log.csv": baskets("products", ", ", 2_000, 8_000)},
    "a basket": {"log.csv": baskets("basket", ",")},
    "JSON": {"log.jsonl": lines(ORDERS)},
    "lists beside each other": {"log.jsonl": lines(VISITS)},
    "Parquet": {"log.parquet": parquet(user=USERS, item=ITEMS, ts=HOURS)},
    "genres": {"log.csv": log(), "items.csv": things(["genres"], ["a|b", "b|c", "a", "c|a|b"] * 10)},
    "genres as objects": {
        "log.csv": log(),
        "items.csv": things(["genres"], [f"\"[{{'id': {n % 3}, 'name': 'a'}}, {{'id': 4}}]\"" for n in range(40)]),
    },
    "decimal comma": priced("{},{}".format),
    "a time that is none": timed("ts", [9999999999999, *TIMES[1:]]),
    "the largest time": timed("ts", [9223372036854775807, *TIMES[1:]]),
    "minutes as a number": timed("time", [hour.strftime("%Y%m%d%H%M") for hour in HOURS]),
    "hours as a number": timed("time", [hour.strftime("%Y%m%d%H") for hour in HOURS]),
    "years first": timed("date", [hour.strftime("%y/%m/%d") for hour in HOURS]),
    "thousands": priced(lambda big, small: f'"{big},{small}"' if big > 3 else small, ","),
    "thousands and a decimal comma": priced("{}.{},50".format),
    "thousands after a blank": priced("{}\u00a0{}".format),
    "thousands after an apostrophe": priced("{}\u2019{}.5".format),
    "decimal comma in one column of two": {
        "log.csv": log(),
        "items.csv": things(["price", "size"], ["1,25", "2,5"] * 20, range(40), delimiter=";"),
    },
    "plural event types": {
        "log.csv": log(["session", "aid", "ts", "type"], drawn(["clicks", "clicks", "carts", "orders"]))
    },
    "plural files": {"clicks.csv": log(), "carts.csv": log(), "orders.csv": log()},
    "t and f": labelled("liked", ["t", "f"]),
    "Y and N": labelled("purchased", ["Y", "N"]),
    "up and down": labelled("vote", ["up", "down"]),
    "dislikes": labelled("dislike", [0, 1]),
    "scores below 1": labelled("score", [0.125, 0.25, 0.875]),
    "unknown event types": labelled("event", ["achat", "vue"]),
    "a time without a name": timed("t", TIMES),
    "orders": {
        "order_products.csv": table(
            ["order_id", "product_id", "add_to_cart_order", "reordered"],
            *(USERS, ITEMS, [number % 5 for number in range(400)], [number % 2 for number in range(400)]),
        )
    },
    "days of release": {
        "log.csv": log(["user", "item", "release_date"], times=[f"{1990 + int(item[1:])}-01-01" for item in ITEMS])
    },
    "a line of comment": {"log.csv": "# exported by x\n" + log()},
    "a delimiter at the end": {"log.csv": log().replace("\n", ",\n")},
    "a delimiter at the end, not of the header": {"log.csv": log().replace("\n", ",\n").replace(",\n", "\n", 1)},
    "the header again": {"log.csv": log() + log()},
    "an index of pandas": {
        "log.csv": table(["", "user", "item", "ts"], range(400), USERS, ITEMS, TIMES),
        "items.csv": table(["", "item", "price"], range(40), [f"p{number}" for number in range(40)], range(40)),
    },
    "an index of pandas, written twice": {"log.csv": table(["Unnamed: 0", "user", "item"], range(400), USERS, ITEMS)},
    "emoji in names": {"log.csv": log(["user", "item", "ts", "\u200b\U0001f600kind"], drawn(["a", "b", "c"]))},
    "ids with a slash": {
        "log.csv": table(["user", "item", "ts"], USERS, [f"cat{n % 5}/prod{n % 9}" for n in range(400)], TIMES)
    },
    "a hint for Excel": {"log.csv": "sep=;\n" + log(delimiter=";")},
    "a zip of a Mac": {"log.zip": zipped(**{"log.csv": log(), "__MACOSX/._log.csv": "x"})},
    "columns with other marks": {
        "log.csv": log(),
        "items.csv": things(["price", "size"], ["1.234,50", "2,5"] * 20, ["1.5", "2.5"] * 20, delimiter=";"),
    },
    "a total at the end": {"log.csv": log() + "Total,,400\n"},
    "weights with a decimal comma": {
        "log.csv": log(["user", "item", "ts", "weight"], ["1,5", "2"] * 200, delimiter=";")
    },
    "numbers in order": timed("time", range(400)),
    "large numbers in order": timed("time", range(10**11, 10**11 + 400)),
    "numbers below 0": timed("time", range(-200, 200)),
    "two events": {"view.csv": log(), "purchase.csv": log(times=TIMES[::-1])},
}
REJECTED = {
    "a total at the end": 1,
    "a delimiter at the end, not of the header": 1,
    "the header again": 1,
    "a time that is none": 1,
    "the largest time": 1,
}
"""Records whose own fault it is."""
TOLD = {"numbers in order": "all times lie in 1970"}
"""What is told of times of which only the order matters, as the draft says too."""


@pytest.mark.parametrize("kind", LOGS)
def test_a_draft_reads_its_own_log(kind, tmp_path):
    directory = tmp_path / "data"
    directory.mkdir()
    for name, data in LOGS[kind].items():
        (directory / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    draft = draft_spec([str(directory)])
    assert draft.unused == {}
    (tmp_path / "spec.yaml").write_text(draft.text, encoding="utf-8")
    sides = preview(load_spec(tmp_path / "spec.yaml"), draft.data_dir)
    assert not will_fail(sides)
    assert sum(side.rejected for side in sides) == REJECTED.get(kind, 0)
    for side in sides:
        expected = ("ignored", TOLD.get(kind, "ignored"))
        told = [
            found
            for found in side.findings.values()
            if not found.is_reject and not any(words in found.reason for words in expected)
        ]
        assert {found.reason: found.example for found in told} == {}
    assert sides[0].counts["positives"] > 0


ODD = [
    *(b"\0", b'"', b"\n", b"\t", b"[", b"1e999", b"\xff\xfe", b"::", b",", b";", b"9" * 19, b"-1", b"0,5", b"1.2.3"),
    *(b"'", b"#", b"20/13/45", b"nan", b"true", b"Y", b" ", b"\xe2\x80\x8b\xf0\x9f\x98\x80", b""),
]


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_log_gives_a_draft_that_loads_or_one_message(seed, tmp_path):
    draw = random.Random(seed)
    directory = tmp_path / "data"
    directory.mkdir()
    for name, text in LOGS[draw.choice(list(LOGS))].items():
        data = bytearray(text if isinstance(text, bytes) else text.encode())
        for _ in range(draw.choice([1, 3, 10])):
            start = draw.randrange(draw.choice([60, len(data)]))
            data[start : start + draw.randrange(12)] = draw.choice(ODD)
        (directory / name).write_bytes(data)
    with contextlib.suppress(GuessError):
        draft = draft_spec([str(directory)])
        (tmp_path / "spec.yaml").write_text(draft.text, encoding="utf-8")
        preview(load_spec(tmp_path / "spec.yaml"), draft.data_dir)
