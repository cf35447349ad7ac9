"""Vectors of apps by item towers that did not read their category, with self-supervision and without.

    python -m benchmarks.clustering towers

The log is Frappe, in build/data/frappe (`recsys-ssl data frappe --to ...`); the category is taken out of the spec, so
that what vectors know of it comes from who uses an app, and from its other features. Each arm has the settings that the
study of regularisers found for it. Writes build/clustering/towers/ARM-SEED.npz: apps with a training event and a
category that 1% of them have, a fifth of them as test.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from benchmarks.claims import ROOT
from benchmarks.clustering import vector_files
from benchmarks.clustering.arms import DOMAINS
from benchmarks.evidence.datasets import Prepared, prepare
from recsys_ssl.evaluation.labels import TEST, encode, keep_frequent, split_rows

DATASET, FEATURE = "frappe", "category"
WORK = ROOT / "build" / "clustering" / "towers"
LEAST_SHARE = 0.01
FLOORS, TRAINED = DOMAINS["towers"].floors, DOMAINS["towers"].trained
_COMPONENTS = 64


def write_vectors(seeds: int, steps: int | None = None, to: Path = WORK) -> None:
    """Trains what is not there yet.

    Args:
        steps: of each training, for a try; None: those of the study.
    """
    # These load TensorFlow.
    from benchmarks.evidence.embedding_map import embed, find_settings
    from benchmarks.evidence.trials import Trial, read_trials

    prepared = prepare(DATASET, without=FEATURE)
    data = _Items(prepared)
    known = read_trials()
    for seed in range(seeds):
        for arm in (*FLOORS, *TRAINED):
            if (to / f"{arm}-{seed}.npz").exists():
                continue
            settings = find_settings(known, DATASET, arm if arm in TRAINED else "none")
            if steps is not None:
                settings = {**settings, "steps": steps, "eval_every": steps}
            trial = Trial("test", DATASET, arm if arm in TRAINED else "none", seed=seed, settings=settings)
            if arm in TRAINED:
                vectors, _ = embed(prepared, trial)
            elif arm == "random":
                vectors = _initialise(prepared, trial)
            else:
                vectors = data.count_users() if arm == "counts" else data.reduce(seed)
            print(vector_files.write(to, arm, seed, data.split(vectors)), flush=True)


class _Items:
    """The apps that are judged."""

    def __init__(self, prepared: Prepared):
        from recsys_ssl.pairs import read_pairs

        self._pairs = read_pairs(prepared.inputs.interactions_dir, "train")
        catalogue = _read_catalogue(prepared)
        self._num_items = len(catalogue.item_ids)
        with (ROOT / "build" / "data" / DATASET / "apps.csv").open(encoding="utf-8", newline="") as file:
            category_of = {row["item"]: row[FEATURE] for row in csv.DictReader(file)}
        trained = catalogue.train_counts > 0
        texts = [
            category_of[item_id.decode()] if is_trained else None
            for item_id, is_trained in zip(catalogue.item_ids, trained)
        ]
        labels = keep_frequent(encode(texts), LEAST_SHARE)
        self._rows = np.flatnonzero(labels.counts)
        self._is_test = split_rows(labels, seed=0)[self._rows] == TEST
        self._labels = np.array(labels.classes)[labels.take(self._rows).codes]

    def count_users(self) -> np.ndarray:
        """[num_items, num_users] 0 or 1, who chose an app in training."""
        counts = np.zeros([self._num_items, len(self._pairs.query_ids)], np.float32)
        counts[self._pairs.item_rows, self._pairs.query_codes] = 1.0
        return counts

    def reduce(self, seed: int) -> np.ndarray:
        """[num_items, 64] principal components of that, found on the apps to train on."""
        from sklearn.decomposition import PCA

        counts = self.count_users()
        return PCA(_COMPONENTS, random_state=seed).fit(counts[self._rows[~self._is_test]]).transform(counts)

    def split(self, vectors: np.ndarray) -> vector_files.Vectors:
        """Train and test of [num_items, dim]."""
        return vector_files.split(vectors[self._rows], self._labels, self._is_test)


def _read_catalogue(prepared: Prepared):
    from recsys_ssl.training.config import TrainConfig
    from recsys_ssl.training.train import build_model

    return build_model(prepared.spec, TrainConfig(), prepared.inputs)[1]


def _initialise(prepared: Prepared, trial) -> np.ndarray:
    """[num_items, dim] of towers whose weights, those of ids too, are as the seed draws them."""
    from benchmarks.evidence.embedding_map import vectorize
    from benchmarks.evidence.trials import make_config
    from recsys_ssl import seeds
    from recsys_ssl.training.train import build_model

    config = make_config(trial)
    seeds.set_initial_weights(config.seed)
    model, catalogue = build_model(prepared.spec, config, prepared.inputs)
    return vectorize(prepared, model, catalogue, config.embedding_dim)
