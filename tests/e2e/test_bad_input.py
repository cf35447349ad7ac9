"""Bad input at the command line: every broken record is counted and kept, every unusable log is one clear message."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_ssl.examples import list_shards, read_batches

SPEC = """
version: 1
name: films
events:
  paths: [events*]
  query_id: user
  item_id: film
  timestamp: {column: time}
  label: {event_type: event, positive: {watch: 1.0}, impressions: [shown]}
items:
  table: {paths: [films.csv]}
  id: film
  features:
    - {name: film, kind: id}
    - {name: genres, kind: categorical, multi_valued: true, separator: "|"}
queries:
  id: user
  features:
    - {name: user, kind: id}
    - {name: history, kind: item_sequence}
split: {validation: 0.2, test: 0.2}
"""
HEADER = "user,film,time,event\n"
FILMS = [f"f{i}" for i in range(6)]
# Sixty sound events, one a minute; every tenth is an impression, every fifteenth neither.
SOUND = [
    f"u{i % 4},{FILMS[i % 6]},{1_700_000_000 + 60 * i},{kind}\n"
    for i in range(60)
    for kind in ["shown" if i % 10 == 0 else "pause" if i % 15 == 5 else "watch"]
]
NUM_SHOWN = sum("shown" in line for line in SOUND)
NUM_PAUSED = sum("pause" in line for line in SOUND)
NUM_WATCHED = len(SOUND) - NUM_SHOWN - NUM_PAUSED


class Case:
    """A data directory, its spec, and what ingestion makes of them."""

    def __init__(self, root, cli):
        self.root, self.cli = root, cli
        self.data, self.work, self.spec = root / "data", root / "work", root / "films.yaml"
        self.data.mkdir()
        self.spec.write_text(SPEC)
        self.write("events.csv", HEADER + "".join(SOUND))
        self.write("films.csv", "film,genres\n" + "".join(f"{film},a|b\n" for film in FILMS))

    def write(self, name, content):
        content = content.encode() if isinstance(content, str) else content
        (self.data / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    def accept(self, share):
        self.spec.write_text(self.spec.read_text() + f"max_rejected_share: {share}\n")

    def ingest(self):
        return self.cli(
            "ingest", self.spec, "--data", self.data, "--workdir", self.work, "--set", "ingest.num_partitions=2"
        )

    def ingest_counted(self):
        """Ingests what must be usable; returns summary and rejects after checking that nothing is lost."""
        result = self.ingest()
        assert result.status == 0, result.output
        return self.check_books()

    def check_books(self):
        summary = json.loads((self.work / "interactions" / "summary.json").read_text(encoding="utf-8"))
        rejects = {}
        for path in sorted((self.work / "rejected").glob("*.jsonl")):
            side = path.name.partition("-")[0]
            rejects.setdefault(side, []).extend(json.loads(line) for line in path.read_text("utf-8").splitlines())
        for side, name in (("events", "rejected"), ("items", "items_rejected")):
            counts = {}
            for reject in rejects.get(side, []):
                counts[reject["reason"]] = counts.get(reject["reason"], 0) + 1
            assert counts == summary[name]
        kinds = [summary[name] for name in ("positives", "ignored", "impressions", "duplicates")]
        assert summary["events_read"] == sum(kinds) + sum(summary["rejected"].values())
        assert summary["items_read"] == summary["num_items"] + sum(summary["items_rejected"].values())
        written = {split: len(self.records("interactions", split)) for split in ("train", "eval", "test")}
        assert written == summary["splits"]
        assert sum(written.values()) == summary["positives"]
        return summary, rejects.get("events", []), rejects.get("items", [])

    def records(self, directory, split):
        shards = list_shards(str(self.work / directory), split)
        return [record for batch in read_batches(shards) for record in batch.to_pylist()]

    def check_error(self, *parts, result=None):
        result = result or self.ingest()
        assert result.status == 1
        assert "Traceback" not in result.output
        message = result.output.split("error: ")[1]
        assert [part for part in parts if part not in message] == [], message


@pytest.fixture
def case(tmp_path, cli, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    return Case(tmp_path, cli)


def places(rejects):
    return [(reject["file"], reject["line"], reject["reason"]) for reject in rejects]


# --- Counted and kept ------------------------------------------------------------------------------------


def test_a_gzip_file_that_is_cut_off_and_an_empty_one_lose_nothing_else(case):
    """The whole log lies in a second file, so what is read of the first are duplicates."""
    whole = gzip.compress((HEADER + "".join(SOUND)).encode())
    (case.data / "events.csv").unlink()
    (case.data / "events-1.csv.gz").write_bytes(whole[:-60])
    case.write("events-2.csv", HEADER + "".join(SOUND))
    case.write("events-3.csv", "")
    case.accept(0.05)
    summary, events, _ = case.ingest_counted()
    reject, empty = sorted(events, key=lambda reject: reject["file"])
    assert (reject["file"], reject["reason"]) == ("events-1.csv.gz", "gzip file is cut off here")
    assert (empty["file"], empty["line"], empty["reason"]) == ("events-3.csv", 1, "file is empty")
    read = reject["line"] - 2  # lines before the damage, without the header
    assert 1 < read < len(SOUND)
    assert summary["events_read"] == len(SOUND) + read + 2
    assert summary["duplicates"] == sum("watch" in line for line in SOUND[:read])
    assert SOUND[read].startswith(reject["record"])


def test_broken_records_among_sound_ones(case):
    """Each kind of broken record once; the sound ones come out as if nothing were between them."""
    lines = SOUND[:]
    broken = {
        5: ("u1,f1,1700000000\n", "wrong number of columns"),
        11: ("u1,f1,1700000000,watch,extra\n", "wrong number of columns"),
        17: ("u1,f1,nan,watch\n", "timestamp is empty"),
        23: ("u1,f1,NaN,shown\n", "timestamp is empty"),
        29: ("u1,f1,,watch\n", "timestamp is empty"),
        35: ("u1,f1,-5,watch\n", "timestamp is no time between 1970 and 2100"),
        36: ("u1,nowhere,1700000000,watch\n", "item not in the table"),
        40: (",f1,1700000000,watch\n", "query id is empty"),
        44: ("u1,,1700000000,watch\n", "item id is empty"),
        48: ("u1,f1,1700000000,\n", "event type is empty"),
        52: ('u1,"f1,1700000000,watch\n', "quotation marks are broken"),
    }
    for at, (line, _) in sorted(broken.items()):
        lines.insert(at, line)
    case.write("events.csv", HEADER + "".join(lines))
    case.accept(0.2)
    summary, events, _ = case.ingest_counted()
    assert sorted(places(events)) == sorted(("events.csv", 2 + at, why) for at, (_, why) in broken.items())
    assert summary["events_read"] == len(SOUND) + len(broken)
    assert (summary["positives"], summary["impressions"], summary["ignored"]) == (NUM_WATCHED, NUM_SHOWN, NUM_PAUSED)
    (raw,) = [reject["record"] for reject in events if reject["line"] == 2 + 5]
    assert raw == broken[5][0].rstrip("\n")


def test_too_many_broken_records_fail_the_run_and_are_kept_all_the_same(case):
    case.write("events.csv", HEADER + "".join(SOUND) + "u1,f1,never,watch\nu1\n")
    case.check_error(
        "2 of 62 records of the log (3.2%) were rejected; max_rejected_share is 1.0%.",
        "timestamp is not a number (s since 1970); set timestamp.unit or timestamp.format; first: events.csv:62: ",
        'wrong number of columns; first: events.csv:63: "u1"',
        "Mend the data or the spec, or raise max_rejected_share.",
    )
    _, events, _ = case.check_books()
    assert [place[1] for place in places(events)] == [62, 63]


def test_ids_with_tabs_emoji_newlines_and_brackets_come_through_whole(case):
    ids = ["a\tb", "🍕", "two\nlines", '"quoted"', "[red]", " blank ", "f1"]
    quoted = ['"' + id_.replace('"', '""') + '"' for id_ in ids]
    case.write("films.csv", "film,genres\n" + "".join(f"{id_},x\n" for id_ in quoted))
    events = [
        f"{q},{f},{1_700_000_000 + 60 * i + j},watch\n" for j, q in enumerate(quoted) for i, f in enumerate(quoted)
    ]
    case.write("events.csv", HEADER + "".join(events))
    summary, rejects, _ = case.ingest_counted()
    assert rejects == []
    assert summary["positives"] == len(ids) ** 2
    catalogue = case.records("catalogue", "catalogue")
    assert sorted(record["item_id"][0].decode() for record in catalogue) == sorted(ids)
    records = [record for split in ("train", "eval", "test") for record in case.records("interactions", split)]
    assert {(r["query_id"][0].decode(), r["item_id"][0].decode()) for r in records} == {
        (q, f) for q in ids for f in ids
    }
    assert {item.decode() for record in records for item in record["history"] or []} <= set(ids)


def test_broken_records_of_the_item_table(case):
    """A film that comes twice keeps its first record; events of a film whose record is broken are rejected."""
    case.write("films.csv", "film,genres\nf0,a\nf1,b\nf2,c\nf1,again\n,d\nf3,x,y\nf4,\nf5,a|b\n")
    case.accept(1.0)
    summary, _, items = case.ingest_counted()
    assert sorted(places(items)) == [
        ("films.csv", 5, "duplicate item id"),
        ("films.csv", 6, "item id is empty"),
        ("films.csv", 7, "wrong number of columns"),
    ]
    of_f3 = [line for line in SOUND if ",f3," in line and "pause" not in line]
    assert summary["rejected"] == {"item not in the table": len(of_f3)}
    assert {record["item_id"][0]: record["genres"] or [] for record in case.records("catalogue", "catalogue")} == {
        b"f0": [b"a"], b"f1": [b"b"], b"f2": [b"c"], b"f4": [], b"f5": [b"a", b"b"],
    }  # fmt: skip


# --- One clear message -----------------------------------------------------------------------------------


def test_a_log_that_is_empty(case):
    case.write("events.csv", "")
    case.check_error("the log has no record. Check events in the spec and the files that its paths match.")


def test_a_missing_column(case):
    case.write("events.csv", (HEADER + "".join(SOUND)).replace("film", "movie", 1))
    case.check_error("events.csv: events.item_id needs column 'film'. The file has: 'event', 'movie', 'time', 'user'.")


def test_a_missing_column_in_a_later_file(case):
    """Only a worker sees it: what Beam wraps around the message is not shown."""
    case.write("events2.csv", "user,film,event\nu1,f1,watch\n")
    case.check_error("events2.csv: events.timestamp.column needs column 'time'.", "delimiter or format.\n✗ ingest")


def test_files_that_are_not_there(case):
    (case.data / "films.csv").unlink()
    case.check_error(f"items.table.paths: no file matches 'films.csv' in '{case.data}'. Check the path")
    result = case.cli("validate-spec", case.spec, "--data", case.data)
    case.check_error("a file cannot be read", result=result)
    assert "no file matches 'films.csv'" in result.output


def test_a_missing_data_directory(case):
    case.data = case.root / "none"
    case.check_error("--data must be a directory. Received: ", str(case.data))


def test_a_spec_with_a_typo(case):
    case.spec.write_text(SPEC.replace("query_id:", "querry_id:"))
    for result in (case.ingest(), case.cli("validate-spec", case.spec)):
        case.check_error("films.yaml:6: events.querry_id: unknown key. Check its spelling or remove it", result=result)


def test_a_process_of_its_own_prints_no_trace(case):
    """What the tests above see within one process is what a person sees."""
    whole = gzip.compress((case.data / "events.csv").read_bytes())
    (case.data / "events.csv").write_bytes(whole[:12] + b"\xff" * 40)  # which is no gzip file from there on
    command = [str(Path(sys.executable).with_name("recsys-ssl")), "ingest", str(case.spec)]
    process = subprocess.run(
        [*command, "--data", str(case.data), "--workdir", str(case.work)],
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert process.returncode == 1
    assert process.stdout.startswith("✗ ingest ")
    assert process.stdout.count("\n") == 1
    assert process.stderr.startswith("error: 1 of 1 records of the log (100.0%) were rejected")
    assert "gzip data is damaged" in process.stderr
    assert "Traceback" not in process.stderr
