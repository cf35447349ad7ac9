"""Ingestions of small logs, and what they wrote."""

import json
from pathlib import Path

import pytest

from recsys_ssl.examples import list_shards, read_batches
from recsys_ssl.logs.readers import LogError
from recsys_ssl.logs.transforms import IngestConfig, ingest
from recsys_ssl.spec import FeatureSpec

SMALL = IngestConfig(num_partitions=3, rows_per_batch=4)
EVENTS = "user,item,rating,time\n"
ITEMS = "item,title,genres\nA,Film A,x|y\nB,Film B,\nC,Film C,y\nD,Film D,x\n"
USERS = "user,age\nu1,30\nu2,\n"


def make_spec(**changes):
    spec = {
        "name": "test",
        "events": {
            "paths": ["events*.csv"],
            "query_id": "user",
            "item_id": "item",
            "timestamp": {"column": "time"},
            "label": {"column": "rating", "threshold": 4.0},
        },
        "items": {
            "table": {"paths": ["items.csv"]},
            "id": "item",
            "features": [
                {"name": "film", "column": "item", "kind": "id"},
                {"name": "genres", "kind": "categorical", "multi_valued": True, "separator": "|"},
            ],
        },
        "queries": {
            "table": {"paths": ["users.csv"]},
            "id": "user",
            "features": [
                {"name": "user", "kind": "id"},
                {"name": "age", "kind": "numeric"},
                {"name": "history", "kind": "item_sequence", "length": 2},
            ],
        },
        "split": {"validation": 0.2, "test": 0.2},
        "max_rejected_share": 1.0,
    }
    for key, value in changes.items():
        spec[key] = {**spec[key], **value} if isinstance(value, dict) and isinstance(spec.get(key), dict) else value
    return FeatureSpec.model_validate(spec)


class Run:
    """An ingestion of the given files, and what it wrote."""

    def __init__(self, folder, spec, files, config=SMALL, beam_args=()):
        self.folder = Path(folder)
        data = self.folder / "data"
        data.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (data / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        out = [str(self.folder / name) for name in ("interactions", "catalogue", "rejected")]
        self.summary = ingest(spec, str(data), *out, config, beam_args)

    def split(self, split, root="interactions"):
        return read_split(self.folder / root, split)

    def rejected(self, side="events"):
        return read_rejected(self.folder, side)


def read_split(root, split):
    try:
        paths = list_shards(root, split)
    except FileNotFoundError:
        return []
    return [
        {name: [as_text(v) if isinstance(v, bytes) else v for v in value or []] for name, value in row.items()}
        for batch in read_batches(paths)
        for row in batch.to_pylist()
    ]


def as_text(value):
    """Packed molecules are no UTF-8."""
    return value.decode("utf-8", "surrogateescape")


def read_rejected(folder, side="events"):
    lines = [line for path in sorted(folder.glob(f"rejected/{side}-*.jsonl")) for line in path.open(encoding="utf-8")]
    return sorted((json.loads(line) for line in lines), key=lambda row: (row["file"], row["line"], row["reason"]))


def assert_conserved(summary):
    kept = summary.positives + summary.ignored + summary.impressions + summary.duplicates
    assert summary.events_read == kept + sum(summary.rejected.values())
    assert sum(summary.splits.values()) == summary.positives


LOG = EVENTS + (
    "u1,A,5,10\n"
    "u2,A,5,10\n"
    "u1,B,5,20\n"
    "u1,C,4,20\n"
    "u1,A,5,10\n"  # a duplicate
    "u1,D,3,25\n"  # ignored
    "u3,B,5,30\n"  # not in the user table
    "u2,B,5,40\n"
    "u1,D,5,50\n"  # eval: 10 positives, rank 6
    "u2,D,5,60\n"
    "u1,A,5,70\n"  # test: rank 8
    "u3,A,5,70\n"
    "u1,Z,5,80\n"  # not in the item table
    "u1,,5,80\n"
    "u1,A,5,NaN\n"
    "u1,A\n"
)


def click_spec(**changes):
    events = make_spec().events.model_dump(exclude_defaults=True)
    label = {"event_type": "event", "positive": {"click": 2.0}, "impressions": ["view"]}
    return make_spec(events={**events, "label": label}, **changes)


def ingest_fails(folder, spec, files, match):
    files = {"items.csv": ITEMS, "users.csv": USERS, **files}
    with pytest.raises(LogError, match=match) as error:
        Run(folder, spec, files)
    return str(error.value)
