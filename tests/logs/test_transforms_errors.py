"""What ingestion says of input that it cannot use, and that nothing of it is lost."""

import dataclasses
import gzip
import json
import zlib

import numpy as np
import pytest

from recsys_ssl.logs.summary import IngestSummary, list_warnings
from recsys_ssl.logs.transforms import IngestConfig
from tests.logs.ingested import (
    EVENTS,
    LOG,
    USERS,
    Run,
    assert_conserved,
    ingest_fails,
    make_spec,
    read_rejected,
    read_split,
)


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, r"events.paths: no file matches 'events\*.csv' in .*data"),
        ({"events.csv": "user,film,rating,time\n"}, "events.csv: events.item_id needs column 'item'"),
        ({"events.csv": LOG, "users.csv": "user\nu1\n"}, "users.csv: queries.features.age needs column 'age'"),
        ({"events.csv": "", "items.csv": ""}, "the log has no record"),
        ({"events.csv": LOG, "events2.csv": "a,b\n1,2\n"}, "events2.csv: events.query_id needs column 'user'"),
    ],
    ids=["no file", "column", "table column", "empty", "in a worker"],
)
def test_unusable_input_is_a_readable_error(tmp_path, files, match):
    message = ingest_fails(tmp_path, make_spec(), files, match)
    assert "Traceback" not in message
    assert "\n" not in message


def test_every_broken_record_is_counted_and_written_before_the_run_fails(tmp_path):
    good = "".join(f"u{n % 5},{'ABCD'[n % 4]},5,{n}\n" for n in range(100))
    bad = '"u1,A,5,1\n' + "u\0,A,5,1\n" + "u1,A,5,1,9\n" + "u1,A,5,-3\n" + "u1,A,5x,1\n"
    odd = '"tab\there",A,5,1\n"two\nlines",B,5,2\n🎬,C,5,3\n'
    lost = "".join(f"{n},A,5,1\n" for n in np.random.default_rng(0).integers(10**9, size=1_000))
    text = (EVENTS + good + bad + odd).encode() + b"\xff,A,5,1\n" + lost.encode()
    data = gzip.compress(text)[:-30]
    events = {**make_spec().events.model_dump(exclude_defaults=True), "paths": ["*.gz"]}
    files = {"log.csv.gz": data, "b.csv.gz": b""}
    message = ingest_fails(tmp_path, make_spec(events=events, max_rejected_share=0.001), files, "8 of 1,... records")
    assert "NUL byte; first: log.csv.gz:103: " in message
    summary = IngestSummary.from_json((tmp_path / "interactions/summary.json").read_text())
    assert_conserved(summary)
    assert summary.rejected == {
        "NUL byte": 1,
        "file is empty": 1,
        "gzip file is cut off here": 1,
        "label is not a number": 1,
        "not valid UTF-8": 1,
        "quotation marks are broken": 1,
        "timestamp is no time between 1970 and 2100": 1,
        "wrong number of columns": 1,
    }
    assert len(read_rejected(tmp_path)) == 8
    whole_lines = zlib.decompressobj(31).decompress(data).count(b"\n")
    assert summary.events_read == whole_lines - 1 - 1 + 2  # no header, one record of two lines, tail and empty file
    examples = [row for split in ("train", "eval", "test") for row in read_split(tmp_path / "interactions", split)]
    assert {"tab\there", "two\nlines", "🎬"} <= {row["query_id"][0] for row in examples}


@pytest.mark.parametrize("fields", [{"num_partitions": 0}, {"rows_per_batch": -1}])
def test_config_is_checked(fields):
    with pytest.raises(ValueError, match="must be at least 1. Received"):
        dataclasses.replace(IngestConfig(), **fields)


def test_items_of_the_log_and_their_faults_do_not_depend_on_batches(tmp_path):
    spec = make_spec(
        events={
            "paths": ["events.jsonl"],
            "format": "jsonl",
            "query_id": "user",
            "item_id": "item",
            "timestamp": {"column": "time"},
            "label": {},
        },
        items={
            "table": None,
            "from_events": True,
            "id": "item",
            "features": [
                {"name": "item", "kind": "id"},
                {"name": "price", "kind": "numeric"},
                {"name": "group", "kind": "categorical"},
            ],
        },
        max_rejected_share=0.9,
    )
    rows = [
        {"user": f"u{n % 5}", "item": "ABCD"[n % 4], "time": n, "price": str(n), "group": f"g{n}"} for n in range(40)
    ]
    for n in (0, 4, 5, 8, 20, 36):  # A at 0, 4, 8, 20, 36 and B at 5
        rows[n]["price"] = "dear"
    rows[2]["group"] = rows[6]["group"] = ["g", "h"]  # of C the third record counts
    why = "price is not a number but a word; name it in events.missing if it means unknown"
    files = {"events.jsonl": "\n".join(map(json.dumps, rows)), "users.csv": USERS}
    for rows_per_batch in (1, 7, 1000):
        run = Run(tmp_path / str(rows_per_batch), spec, files, IngestConfig(3, rows_per_batch))
        assert run.summary.unreadable_values == {f"items: {why}": 6}
        assert [row["line"] for row in run.rejected("items_values")] == [1, 5, 6, 9, 21, 37]
        assert [row["line"] for row in run.rejected("items")] == [3, 7]
        catalogue = {row["item_id"][0]: (row["group"], row["price"]) for row in run.split("catalogue", "catalogue")}
        assert catalogue == {
            "A": (["g0"], []),
            "B": (["g1"], [1.0]),
            "C": (["g10"], [10.0]),
            "D": (["g3"], [3.0]),
        }
        (told,) = (warning for warning in list_warnings(run.summary, spec) if "not a number" in warning)
        assert told.startswith(f"6 of the values of the log: {why}")
