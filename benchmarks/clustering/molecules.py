"""Vectors of compounds by the stages of GROVER, with the protein target that each binds best.

    python -m benchmarks.clustering molecules --data DIR

DIR has chembl_unlabelled.smi.gz and chembl_targets.csv.gz (a column of SMILES, and one of pActivity for each target).
Compounds whose best pActivity is 6 or more on one of the 20 most frequent best targets, at most 150 of each; a fifth of
them as test. The encoder is tiny and pre-trained for minutes: the stages are compared, not GROVER with others. The
fine-tuned stage has seen the classes of train. Writes build/clustering/molecules/ARM-SEED.npz.
"""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.claims import ROOT
from benchmarks.clustering import vector_files
from benchmarks.clustering.arms import DOMAINS
from benchmarks.molecules.trials import HAND_SET
from recsys_ssl.evaluation.labels import TEST, encode, split_rows

WORK = ROOT / "build" / "clustering" / "molecules"
FLOORS, TRAINED = DOMAINS["molecules"].floors, DOMAINS["molecules"].trained
_CLASSES, _MOST_OF_CLASS, _LEAST_ACTIVITY = 20, 150, 6.0
_COMPONENTS = 128
_PRETRAIN_MOLECULES, _PRETRAIN_STEPS, _FINETUNE_EPOCHS = 20_000, 400, 8


class Compounds(NamedTuple):
    """Compounds with a class."""

    smiles: list[str]
    labels: np.ndarray
    """[num_compounds] str, names of targets."""
    is_test: np.ndarray
    """[num_compounds] bool."""


def write_vectors(data: Path, seeds: int, to: Path = WORK, steps: int = _PRETRAIN_STEPS) -> None:
    """Trains and embeds what is not there yet.

    Args:
        steps: of each pre-training.
    """
    compounds = read_compounds(data / "chembl_targets.csv.gz")
    print(f"{len(compounds.smiles):,} compounds, {compounds.is_test.sum():,} of them test", flush=True)
    for seed in range(seeds):
        missing = [arm for arm in (*FLOORS, *TRAINED) if not (to / f"{arm}-{seed}.npz").exists()]
        for arm, vectors in _embed(compounds, data, seed, to, missing, steps):
            found = vector_files.split(vectors, compounds.labels, compounds.is_test)
            print(vector_files.write(to, arm, seed, found), flush=True)


def read_compounds(path: Path, classes: int = _CLASSES, most: int = _MOST_OF_CLASS) -> Compounds:
    """The compounds of the most frequent best targets; of a class with more than `most` the first by chance."""
    table = pd.read_csv(path)
    activity = table.drop(columns="smiles")
    active = activity.max(axis=1) >= _LEAST_ACTIVITY
    best = activity[active].idxmax(axis=1)
    frequent = sorted(best.value_counts().index[:classes])
    rng, rows = np.random.default_rng(0), []
    for target in frequent:
        rows += sorted(rng.permutation(best.index[best == target])[:most].tolist())
    labels = best.loc[rows].to_numpy(str)
    part = split_rows(encode(labels.tolist()), seed=0)
    return Compounds(table["smiles"].loc[rows].tolist(), labels, part == TEST)


def _embed(compounds: Compounds, data: Path, seed: int, to: Path, arms: list[str], steps: int):
    """Yields each of the arms and its vectors of all compounds."""
    if {"ecfp", "ecfp_components"} & set(arms):
        yield from _embed_fingerprints(compounds, seed, arms)
    if not {"random", *TRAINED} & set(arms):
        return
    # These load TensorFlow.
    from recsys_ssl import seeds
    from recsys_ssl.encoders import store
    from recsys_ssl.encoders.molecule.embed import Embedder
    from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
    from recsys_ssl.encoders.molecule.settings import PretrainConfig
    from recsys_ssl.encoders.pretrain import pretrain

    config = PretrainConfig(seed=seed, size="tiny", steps=steps, eval_every=max(1, steps // 4), validation_size=500)
    if "random" in arms:
        seeds.set_initial_weights(seed)
        yield "random", Embedder(MoleculeEncoder(config.grover)).embed(compounds.smiles)
    if not set(TRAINED) & set(arms):
        return
    # Not among the vectors: an encoder is an .npz too.
    work = to.with_name(f"{to.name}-pretrained")
    source = _write_some(data / "chembl_unlabelled.smi.gz", work / "molecules.smi")
    found = pretrain("molecule", source, config, work / str(seed), progress=_tell)
    encoder = store.load(found.encoder_dir, "molecule")
    if "pretrained" in arms:
        yield "pretrained", Embedder(encoder).embed(compounds.smiles)
    if "finetuned" in arms:
        yield "finetuned", _embed_finetuned(compounds, encoder, seed)


def _embed_fingerprints(compounds: Compounds, seed: int, arms: list[str]):
    from sklearn.decomposition import PCA

    from recsys_ssl.baselines.fingerprints import ecfp

    counts = ecfp(compounds.smiles)
    if "ecfp" in arms:
        yield "ecfp", counts
    if "ecfp_components" in arms:
        pca = PCA(_COMPONENTS, svd_solver="randomized", random_state=seed).fit(counts[~compounds.is_test])
        yield "ecfp_components", pca.transform(counts)


def _embed_finetuned(compounds: Compounds, encoder, seed: int) -> np.ndarray:
    """Vectors of the encoder after it learned the classes of train, each as a yes or no."""
    from recsys_ssl.encoders.finetune import finetune
    from recsys_ssl.encoders.molecule.embed import Embedder
    from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
    from recsys_ssl.encoders.molecule.settings import FinetuneConfig
    from recsys_ssl.encoders.molecule.smiles import featurise_all
    from recsys_ssl.evaluation.prediction import Split

    classes = np.unique(compounds.labels)
    targets = (compounds.labels[:, None] == classes).astype(np.float32)
    train = np.flatnonzero(~compounds.is_test)
    held_out = np.random.default_rng(seed).random(len(train)) < 0.1
    split = Split(train[~held_out], train[held_out], np.flatnonzero(compounds.is_test))
    config = FinetuneConfig(**HAND_SET, seed=seed, epochs=_FINETUNE_EPOCHS)
    graphs = list(featurise_all(compounds.smiles))
    found = finetune("molecule", encoder, graphs, targets, split, "classification", config)
    print(f"fine-tuned, ROC-AUC of test {found.metrics['test']:.3f}", flush=True)
    trained = MoleculeEncoder(found.model.encoder.config)
    trained.set_weights(found.model.encoder.get_weights())
    return Embedder(trained).embed(compounds.smiles)


def _write_some(source: Path, to: Path, most: int = _PRETRAIN_MOLECULES) -> Path:
    """The first molecules of a file of SMILES."""
    to.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        to.write_text("".join(itertools.islice(lines, most)), encoding="utf-8")
    return to


def _tell(phase: str, done: int, most: int, figures: dict[str, float]) -> None:
    if figures:
        print(
            f"{phase} {done}/{most}: {', '.join(f'{name} {value:.3g}' for name, value in figures.items())}", flush=True
        )
