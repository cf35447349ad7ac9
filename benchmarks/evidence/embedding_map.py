"""Maps item embeddings of three arms and measures how well their clusters agree with a category.

python -m benchmarks.evidence.embedding_map --dataset frappe
python -m benchmarks.evidence.embedding_map --dataset wikispeedia

The arms are trained at the settings that `benchmarks.evidence.run` found for them on all training data.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import tensorflow_transform as tft
import tf_keras as keras
from matplotlib.figure import Figure
from PIL import Image
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

from benchmarks.claims import RESULTS, describe_hardware
from benchmarks.evidence.datasets import Prepared, prepare
from benchmarks.evidence.measurements import FILES, render_embeddings
from benchmarks.evidence.plots import IMAGES
from benchmarks.evidence.run import search
from benchmarks.evidence.trials import RECOMMENDED, REGULARIZERS, Trial, make_config, read_trials
from recsys_ssl import examples
from recsys_ssl.evaluation.crossed import interval_over_seeds
from recsys_ssl.features.batch import Catalogue
from recsys_ssl.models.two_tower import TwoTower
from recsys_ssl.training.train import fit
from recsys_ssl.training.validation import Validator

COMMAND = "python -m benchmarks.evidence.embedding_map"
FEATURES = {"frappe": "category", "wikispeedia": "topics"}
ARMS = ("none", "cfm", RECOMMENDED)
SHUFFLED = "shuffled"
"""Stands for no agreement: the clusters of `none` against the same categories, dealt to the items at random."""

_LEAST_SHARE = 0.01
_LEAST_ITEMS = 50
_CLUSTER_SEEDS = range(5)
_MAP_ITEMS = 3000
# Okabe and Ito's palette, which the colour-blind tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
_OTHERS = "#d5d9df"


class Labels(NamedTuple):
    """One category of each item."""

    codes: np.ndarray
    """[num_items] int64; -1 for an item without a category, or with a rare one."""
    names: tuple[str, ...]
    """Name of each code, the most frequent first."""


def main(arguments: Sequence[str] | None = None, results: Path = RESULTS, images: Path = IMAGES) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=FEATURES, default="frappe")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="training steps, for a try")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    prepared = prepare(options.dataset)
    labels = read_labels(prepared, FEATURES[options.dataset])
    trials = read_trials()
    settings, scores, mapped, parts = {}, {}, {}, {}
    for arm in ARMS:
        settings[arm] = find_settings(trials, options.dataset, arm)
        if options.steps:
            settings[arm] |= {"steps": options.steps, "eval_every": options.steps}
        for seed in range(options.seeds):
            trial = Trial("test", options.dataset, arm, seed=seed, settings=settings[arm])
            embeddings, train_counts = embed(prepared, trial)
            parts = split_items(labels.codes, train_counts)
            found = {name: judge_clusters(embeddings[rows], labels.codes[rows]) for name, rows in parts.items()}
            scores.setdefault(arm, []).append({name: agreement for name, (agreement, _) in found.items()})
            if arm == "none":
                chance = {name: agreement for name, (_, agreement) in found.items()}
                scores.setdefault(SHUFFLED, []).append(chance)
            mapped.setdefault(arm, embeddings)
            nmi = found["all"][0]["nmi"]
            print(f"{arm} seed {seed}: NMI {nmi:.3f}, {time.monotonic() - started:.0f} s", flush=True)
    order = (SHUFFLED, *ARMS)
    path = results / FILES["embeddings"]
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[options.dataset] = {
        "feature": FEATURES[options.dataset],
        "categories": len(labels.names),
        "items": {name: len(rows) for name, rows in parts.items()},
        "labels": {SHUFFLED: "shuffled categories", **{arm: REGULARIZERS[arm] for arm in ARMS}},
        "settings": settings,
        "seeds": options.seeds,
        "scores": {part: {arm: average([of[part] for of in scores[arm]]) for arm in order} for part in parts},
        "command": " ".join([COMMAND, *(sys.argv[1:] if arguments is None else arguments)]),
        "seconds": 0.0,
        "hardware": describe_hardware(),
    }
    image = draw(mapped, labels, images / f"evidence_embeddings_{options.dataset}.png")
    known[options.dataset]["seconds"] = round(time.monotonic() - started, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(known, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{image.name} {image.stat().st_size / 1000:.0f} kB\n\n{render_embeddings(known)}")


# --- Embeddings and labels --------------------------------------------------------------------------


def embed(prepared: Prepared, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """Trains an arm; returns the catalogue's embeddings, [num_items, dim], and its items' training counts."""
    with tempfile.TemporaryDirectory() as checkpoints:
        model, catalogue, _ = fit(prepared.spec, make_config(trial), prepared.inputs, checkpoints)
    embeddings = vectorize(prepared, model, catalogue, make_config(trial).embedding_dim)
    keras.backend.clear_session()
    return embeddings, catalogue.train_counts


def vectorize(prepared: Prepared, model: TwoTower, catalogue: Catalogue, dim: int) -> np.ndarray:
    """[num_items, dim], the catalogue's embeddings without the coordinate of the popularity prior."""
    validator = Validator(prepared.spec, prepared.inputs.interactions_dir, catalogue, 1, 0)
    return validator.vectorize_items(model)[:, :dim]


def read_labels(prepared: Prepared, feature: str) -> Labels:
    """The first value of a categorical feature of each item, without the rare ones."""
    first = []
    for batch in examples.read_batches(examples.list_shards(prepared.inputs.catalogue_dir, examples.CATALOGUE_SPLIT)):
        values = batch.column(batch.schema.get_field_index(feature)).to_pylist()
        first += [of[0] if of else -1 for of in values]
    vocabulary = tft.TFTransformOutput(prepared.inputs.item_transform_dir).vocabulary_by_name(feature)
    return keep_frequent(np.array(first), [name.decode() for name in vocabulary])


def keep_frequent(codes: np.ndarray, names: Sequence[str], least_share: float = _LEAST_SHARE) -> Labels:
    """Numbers the categories by frequency; a category of fewer than this share of the items is none.

    Args:
        codes: [num_items] int64 index of `names`; what is out of its range is no category.
    """
    known = (codes >= 0) & (codes < len(names))
    counts = np.bincount(codes[known], minlength=len(names))
    frequent = [code for code in np.argsort(-counts, kind="stable") if counts[code] >= least_share * len(codes)]
    number = np.full(len(names) + 1, -1)
    number[frequent] = np.arange(len(frequent))
    return Labels(number[np.where(known, codes, len(names))], tuple(names[code] for code in frequent))


def split_items(codes: np.ndarray, train_counts: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of the items with a category: all, with training events and, where there are enough, without any."""
    labelled = codes >= 0
    parts = {"all": labelled, "trained": labelled & (train_counts > 0), "cold": labelled & (train_counts == 0)}
    rows = {name: np.flatnonzero(chosen) for name, chosen in parts.items()}
    return {name: own for name, own in rows.items() if name == "all" or len(own) >= _LEAST_ITEMS}


def find_settings(trials: Sequence[Trial], dataset: str, arm: str) -> dict[str, Any]:
    """What the search of an arm on all training data has found; none where it is not over."""
    best, missing = search(trials, dataset, 1.0, arm)
    if missing:
        print(f"{arm} is not tuned on {dataset}: takes the data set's own settings")
        return {}
    return best


# --- Agreement --------------------------------------------------------------------------------------


def judge_clusters(embeddings: np.ndarray, codes: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """How well k-means with a cluster per category agrees with the categories, and with them shuffled.

    Returns:
        Twice the measures of `measure_agreement`, means over runs of k-means.
    """
    runs = []
    for seed in _CLUSTER_SEEDS:
        clusters = KMeans(len(np.unique(codes)), n_init=3, random_state=seed).fit_predict(embeddings)
        shuffled = np.random.default_rng(seed).permutation(codes)
        runs.append([measure_agreement(clusters, codes), measure_agreement(clusters, shuffled)])
    means = [{name: float(np.mean([of[name] for of in own])) for name in own[0]} for own in zip(*runs)]
    return means[0], means[1]


def measure_agreement(clusters: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    """Normalised and adjusted mutual information, and the accuracy of clusters [n] against categories [n].

    All are 1 for the same partition. The first and the last are above 0 by chance, the adjusted one is not.
    """
    return {
        "nmi": float(normalized_mutual_info_score(codes, clusters)),
        "ami": float(adjusted_mutual_info_score(codes, clusters)),
        "accuracy": measure_accuracy(clusters, codes),
    }


def measure_accuracy(clusters: np.ndarray, codes: np.ndarray) -> float:
    """Share of items in the cluster of their category, at the one-to-one assignment that makes it greatest."""
    table = contingency_matrix(codes, clusters)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(codes))


def average(scores: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    """measure -> [mean over training seeds, half of the 95% interval; None for one seed]."""
    found = {}
    for name in scores[0]:
        mean, half = interval_over_seeds(np.array([of[name] for of in scores]))
        found[name] = [round(mean, 6), None if np.isnan(half) else round(half, 6)]
    return found


# --- Map --------------------------------------------------------------------------------------------


def draw(embeddings: Mapping[str, np.ndarray], labels: Labels, path: Path) -> Path:
    """Writes a t-SNE map of each arm's embeddings, side by side; all show the same items."""
    rows = np.flatnonzero(labels.codes >= 0)
    rows = np.sort(np.random.default_rng(0).permutation(rows)[:_MAP_ITEMS])
    codes = labels.codes[rows]
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        panels = figure.subplots(1, len(embeddings))
        for axes, (arm, whole) in zip(panels, embeddings.items()):
            print(f"maps {arm}", flush=True)
            places = TSNE(init="pca", random_state=0).fit_transform(whole[rows])
            axes.set_title(REGULARIZERS[arm], fontsize=9.5)
            axes.set_axis_off()
            axes.set_aspect("equal", "datalim")
            # The others first, so that they lie under the rest.
            for code in reversed(range(len(_COLOURS) + 1)):
                own = places[codes == code] if code < len(_COLOURS) else places[codes >= code]
                axes.scatter(*own.T, s=3, linewidths=0, color=(*_COLOURS, _OTHERS)[code])
        names = labels.names[: len(_COLOURS)] + ("others",) * (len(labels.names) > len(_COLOURS))
        points = [
            panels[0].scatter([], [], s=16, linewidths=0, color=colour) for colour in (*_COLOURS, _OTHERS)[: len(names)]
        ]
        figure.legend(points, names, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = io.BytesIO()
        figure.savefig(pixels, dpi=100)
        # A palette makes the file a third of its size, and holds no date or version.
        Image.open(pixels).convert("RGB").quantize(96, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


if __name__ == "__main__":
    main()
