"""What an encoder must beat: Morgan fingerprints with a random forest or a perceptron, each task by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from rdkit.Chem import rdFingerprintGenerator
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import StandardScaler

from recsys_ssl.encoders.molecule.smiles import parse
from recsys_ssl.evaluation.prediction import Split, Task, score

_RADIUS, _BITS = 2, 2048
_EPOCHS, _PATIENCE = 50, 10


def ecfp(smiles: Sequence[str]) -> np.ndarray:
    """[num_molecules, 2048] float32 log(1 + count) of the Morgan substructures up to two bonds (ECFP4), folded."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=_RADIUS, fpSize=_BITS)
    counts = [generator.GetCountFingerprintAsNumPy(parse(text)) for text in smiles]
    return np.log1p(np.array(counts, np.float32).reshape(-1, _BITS))


def make_forest(task: str, seed: int):
    """500 trees on a root of the bits (classes) or a third of them (values), as is usual; leaves of one molecule."""
    if task == "classification":
        return RandomForestClassifier(500, max_features="sqrt", class_weight="balanced", random_state=seed)
    return RandomForestRegressor(500, max_features=1 / 3, random_state=seed)


def make_perceptron(task: str, seed: int):
    """One hidden layer of 256; `_fit_perceptron` trains it."""
    kind = MLPClassifier if task == "classification" else MLPRegressor
    return kind((256,), batch_size=32, random_state=seed)


BASELINES: Mapping[str, Callable] = MappingProxyType({"ecfp_rf": make_forest, "ecfp_mlp": make_perceptron})


def fit_predict(
    arm: str, fingerprints: np.ndarray, targets: np.ndarray, split: Split, task: Task, seed: int
) -> np.ndarray:
    """[num_molecules, num_tasks] float32 predictions of all molecules.

    Each task is learned from its known training targets; a regression's are standardised. One whose training targets
    are all alike gets their value.

    Args:
        fingerprints: [num_molecules, num_bits] float32.
        targets: [num_molecules, num_tasks], NaN where unknown.
    """
    predictions = np.zeros(targets.shape, np.float32)
    for task_index, column in enumerate(targets.T):
        rows = split.train[~np.isnan(column[split.train])]
        if len(np.unique(column[rows])) < 2:
            predictions[:, task_index] = column[rows][0] if len(rows) else 0.0
            continue
        unit = StandardScaler(with_mean=task == "regression", with_std=task == "regression").fit(column[rows, None])
        outputs = unit.transform(column[:, None])[:, 0]
        model = BASELINES[arm](task, seed)
        if arm == "ecfp_mlp":
            found = _fit_perceptron(model, fingerprints, outputs, rows, split.validation, task)
        else:
            found = _predict(model.fit(fingerprints[rows], outputs[rows]), fingerprints, task)
        predictions[:, task_index] = unit.inverse_transform(found[:, None])[:, 0]
    return predictions


def _fit_perceptron(
    model, inputs: np.ndarray, outputs: np.ndarray, rows: np.ndarray, validation: np.ndarray, task: Task
) -> np.ndarray:
    """[num_molecules] predictions of the epoch with the best validation metric, as the fine-tuning chooses its own.

    Scikit-learn's own early stopping goes by accuracy, which says nothing where one class is rare. Where validation
    cannot be judged (one class only), the last epoch counts.
    """
    classes = {"classes": [0.0, 1.0]} if task == "classification" else {}
    best, best_epoch, found = -np.inf, 0, np.full(len(inputs), np.nan)
    for epoch in range(1, _EPOCHS + 1):
        model.partial_fit(inputs[rows], outputs[rows], **classes)
        value = score(outputs[validation, None], _predict(model, inputs[validation], task)[:, None], task)
        value = value if task == "classification" else -value
        if np.isnan(value) or value > best:
            best, best_epoch, found = value, epoch, _predict(model, inputs, task)
        if epoch - best_epoch >= _PATIENCE:
            break
    return found


def _predict(model, inputs: np.ndarray, task: Task) -> np.ndarray:
    return model.predict_proba(inputs)[:, 1] if task == "classification" else model.predict(inputs)
