"""A copy of the project with one more kind of content, a bag of characters, and a small log for it."""

import csv
import shutil
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FOLDER = "recsys_ssl/encoders/characters"
KIND = Path(__file__).parent / "toy_kind" / "characters"
LINE = '    "characters": "recsys_ssl.encoders.characters",\n'
SPEC = """
version: 1
name: films
events: {paths: [events.csv], query_id: user, item_id: film, timestamp: {column: time}}
items:
  table: {paths: [films.csv]}
  id: film
  features:
    - {name: film, kind: id}
    - {name: title, kind: characters}
queries: {id: user, features: [{name: user, kind: id}]}
evaluation: {group_by: event}
max_rejected_share: 0.1
"""
COMMANDS = """
import json, sys
from pathlib import Path

import recsys_ssl
from pipelines.commands.app import app

spec, work = "films.yaml", "work"
train = ["batch_size=64", "steps=6", "eval_every=3", "feature_dim=4", "embedding_dim=4", "popularity_prior=0"]
encoder = ["pretrained=pretrained/encoder", "learning_rate=1e-2"]
settings = [f"train.{text}" for text in [*train, "ssl.batch_size=16", "ssl.mask_rate=0.3"]]
settings += [f"train.encoder.characters.{text}" for text in encoder]
sets = [part for text in settings for part in ("--set", text)]
pretrain = ["pretrain.steps=20", "pretrain.eval_every=10", "pretrain.batch_size=16", "pretrain.max_learning_rate=0.1"]
for arguments in (
    ["pretrain", "characters", "--data", "titles.txt", "--workdir", "pretrained"]
    + [part for text in pretrain for part in ("--set", text)],
    ["embed", "characters", "--model", "pretrained/encoder", "--data", "titles.txt", "--to", "vectors.parquet"],
    ["ingest", spec, "--data", ".", "--workdir", work],
    ["transform", spec, "--workdir", work],
    ["correlate", spec, "--workdir", work],
    ["train", spec, "--workdir", work, *sets],
    ["index", spec, "--workdir", work],
    ["recommend", spec, "--workdir", work],
):
    app(arguments, standalone_mode=False)
model = recsys_ssl.load_recommender("work/treatment/recommender-brute-force")
raw = {"film": ["f1", "new"], "title": ["noon 1", "noon 1"]}
import tensorflow as tf
vectors = model.signatures["embed_item"](**{name: tf.constant(values) for name, values in raw.items()})["embedding"]
trained = recsys_ssl.embed(recsys_ssl.load_encoder("pretrained/encoder"), ["noon 1"])
facts = {"vectors": vectors.numpy().tolist(), "dim": trained.shape[1], "items": recsys_ssl.recommend(model, {}, 3)[0]}
Path("facts.json").write_text(json.dumps(facts))
"""


def make_tree(root: Path) -> None:
    """Copies the project to an empty directory, adds the kind by its folder and one line, and writes a log."""
    for package in ("recsys_ssl", "pipelines"):
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(KIND, root / FOLDER)
    kinds = root / "recsys_ssl" / "kinds.py"
    source = kinds.read_text()
    start = source.index('    "molecule": ')
    kinds.write_text(source[:start] + LINE + source[start:])

    rng = np.random.default_rng(0)
    titles = [f"{word} {number}" for number in range(20) for word in ("noon", "rain", "tulip")]
    films = [["film", "title"], *([f"f{row}", title] for row, title in enumerate(titles)), ["f99", "x" * 41]]
    events = [["user", "film", "time"]]
    events += [[f"u{i % 40}", f"f{3 * int(rng.integers(0, 20)) + i % 3}", i] for i in range(900)]
    for name, rows in (("films.csv", films), ("events.csv", events)):
        with open(root / name, "w", newline="") as file:
            csv.writer(file).writerows(rows)
    (root / "films.yaml").write_text(SPEC)
    (root / "titles.txt").write_text("\n".join(titles))


def changed_files(tree):
    """Files of the project that the copy has otherwise, or besides."""
    ours = {path.relative_to(ROOT) for package in ("recsys_ssl", "pipelines") for path in (ROOT / package).rglob("*.*")}
    theirs = {
        path.relative_to(tree) for package in ("recsys_ssl", "pipelines") for path in (tree / package).rglob("*.*")
    }
    sources = {path for path in ours | theirs if path.suffix in (".py", ".jinja")}
    return {
        path.as_posix()
        for path in sources
        if not (ROOT / path).exists() or (ROOT / path).read_bytes() != (tree / path).read_bytes()
    }
