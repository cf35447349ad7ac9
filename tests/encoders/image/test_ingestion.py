"""Images of an item table through drafts of specs, their check and ingestion, in a process that knows the kind."""

import base64
import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.encoders.image.pixels import pack
from tests.encoders.image.made_images import as_uri, encode, noise
from tests.encoders.image.test_cells import write_zip

ROOT = Path(__file__).parents[3]
SPEC = """
version: 1
name: shop
events: {paths: [events.csv], query_id: user, item_id: item, timestamp: {column: time}}
items:
  table: {paths: [TABLE]}
  id: item
  features:
    - {name: item, kind: id}
    - {name: photo, kind: image, size: 8, channels: 3, KEYS}
queries: {id: user, features: [{name: user, kind: id}]}
evaluation: {group_by: event}
max_rejected_share: 1.0
"""
SCRIPT = """
import base64, contextlib, io, json, sys
from recsys_ssl import kinds
kinds.KINDS.setdefault("image", "recsys_ssl.encoders.image")
from pipelines.commands.app import app
from recsys_ssl.examples import list_shards, read_batches
from recsys_ssl.guessing.draft import draft_spec
from recsys_ssl.logs.transforms import ingest
from recsys_ssl.spec_files import load_spec

def run(*arguments):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        app(list(arguments), standalone_mode=False)
    return " ".join(out.getvalue().split())

facts = {}
for name in ("csv", "parquet"):
    facts[f"check {name}"] = run("validate-spec", f"{name}.yaml", "--data", ".")
    ingest(load_spec(f"{name}.yaml"), ".", f"{name}/log", f"{name}/items", f"{name}/rejected")
    rows = [row for batch in read_batches(list_shards(f"{name}/items", "catalogue")) for row in batch.to_pylist()]
    shown = [[base64.b64encode(value).decode() for value in row["photo"] or []] for row in rows]
    facts[name] = {row["item_id"][0].decode(): images for row, images in zip(rows, shown)}
for name in ("items.csv", "sound.parquet"):
    facts[f"draft {name}"] = draft_spec(["events.csv", name]).text
print(json.dumps(facts))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A shop whose items a0 to a4 have images, a5 and a6 none, and the others one that is at fault."""
    top = tmp_path_factory.mktemp("shop")
    images = [noise(8, 8, 3, seed=number) for number in range(5)]
    encoded = [encode(image) for image in images]
    (top / "photos").mkdir()
    (top / "photos" / "0.png").write_bytes(encoded[0])
    (top / "photos" / "1.png").write_bytes(encoded[1])
    (top / "photos" / "text.png").write_text("no image")
    write_zip(top / "more.zip", {"deep/2.png": encoded[2], "3.png": encoded[3]})
    uri = as_uri(encoded[4])
    cells = ["photos/0.png", "photos/1.png", "more.zip/deep/2.png", "more.zip/3.png", uri, "", "", "none.png"]
    cells += ["photos/text.png", "../secret.png"]
    contents = [*encoded, None, b"", encoded[0][:100], b"no image", bytes(5000)]
    rows = [[f"a{number}", cell] for number, cell in enumerate(cells)]
    events = [[f"u{number % 12}", f"a{number % 5}", str(number)] for number in range(120)]
    for name, header, lines in (
        ("items.csv", ["item", "photo"], rows),
        ("events.csv", ["user", "item", "time"], events),
    ):
        with open(top / name, "w", newline="") as file:
            csv.writer(file).writerows([header, *lines])
    table = {"item": [f"a{number}" for number in range(len(contents))], "photo": pa.array(contents, pa.binary())}
    pq.write_table(pa.table(table), top / "items.parquet")
    pq.write_table(pa.table(table).slice(0, 6), top / "sound.parquet")
    for name, keys in (("csv", 'path: "{}"'), ("parquet", "min_presence: 0.1")):
        table_keys = "items.parquet], format: parquet" if name == "parquet" else "items.csv]"
        text = SPEC.replace("TABLE]", table_keys).replace("KEYS", keys)
        (top / f"{name}.yaml").write_text(text)
    return top, images


@pytest.fixture(scope="module")
def facts(data):
    top, _ = data
    environment = {"PYTHONPATH": str(ROOT), "TF_USE_LEGACY_KERAS": "1", "COLUMNS": "300", "PATH": "/usr/bin:/bin"}
    child = subprocess.run([sys.executable, "-c", SCRIPT], cwd=top, env=environment, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr[-3000:]
    return json.loads(child.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", ["csv", "parquet"])
def test_the_catalogue_holds_packed_pixels(data, facts, name):
    expected = {f"a{number}": [base64.b64encode(pack(image)).decode()] for number, image in enumerate(data[1])}
    assert facts[name] == {**expected, "a5": [], "a6": []}


@pytest.mark.parametrize(
    ("name", "first_line", "reasons"),
    [("csv", 9, ["no_file", "no_image", "outside"]), ("parquet", 8, ["truncated", "no_image", "no_image"])],
)
def test_what_gives_no_image_rejects_its_item_by_file_and_line(data, facts, name, first_line, reasons):
    paths = sorted((data[0] / name / "rejected").glob("items-*.jsonl"))
    rows = sorted((json.loads(line) for path in paths for line in path.open()), key=lambda row: row["line"])
    found = [(row["file"], row["line"], row["record"]["item"], row["reason"]) for row in rows]
    assert found == [
        (f"items.{name}", first_line + place, f"a{7 + place}", f"photo is no image: {reason}")
        for place, reason in enumerate(reasons)
    ]
    if name == "parquet":  # long bytes are not written out
        assert "(5,000 bytes)" in rows[2]["record"]["photo"]
        assert len(rows[2]["record"]["photo"]) < 500


def test_a_spec_is_checked_with_its_images(facts):
    assert "photo is no image: no_file" in facts["check csv"]
    assert "photo is no image: truncated" in facts["check parquet"]


@pytest.mark.parametrize(
    ("name", "why"), [("items.csv", "the texts name images"), ("sound.parquet", "the values are files of images")]
)
def test_a_draft_knows_a_column_of_images(facts, name, why):
    (line,) = [line for line in facts[f"draft {name}"].splitlines() if "photo" in line and "kind" in line]
    assert "kind: image" in line
    assert why in line
