"""Chemprop 2.3.1, a message passing network over directed bonds (D-MPNN), run by an interpreter of its own.

Chemprop needs PyTorch and a Python newer than this package's, hence an environment of its own, made once with 3.11:

    python3.11 -m venv build/chemprop-venv
    build/chemprop-venv/bin/pip install chemprop==2.3.1 torch==2.13.0 rdkit==2026.3.6

PyTorch without CUDA is enough. `chemprop_worker.py` is what that interpreter runs. One core, one thread.

References:
    Yang et al. 2019, arXiv:1904.01561, "Analyzing Learned Molecular Representations for Property Prediction".
    Heid et al. 2024, "Chemprop: A Machine Learning Package for Chemical Property Prediction".
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import workers
from recsys_ssl.evaluation.prediction import Split, Task

PYTHON = Path("build/chemprop-venv/bin/python")
WORKER = Path(__file__).with_name("chemprop_worker.py")


def fit_predict(
    smiles: Sequence[str],
    targets: np.ndarray,
    split: Split,
    task: Task,
    seed: int,
    python: str | Path = PYTHON,
    epochs: int = 50,
) -> np.ndarray:
    """[num_molecules, num_tasks] float32 predictions of all molecules, probabilities or values.

    All settings are those of chemprop's command line: 300 wide, 3 deep, no dropout, sums of atoms over 100, one hidden
    layer of 300, batches of 64, Adam with rates 1e-4, 1e-3, 1e-4 and two epochs of warm-up, one where there are fewer
    than four. The epoch with the lowest validation loss counts. One network learns all tasks; unknown targets are
    masked, and a regression's are standardised by mean and deviation in train.

    Args:
        smiles: [num_molecules].
        targets: [num_molecules, num_tasks], NaN where unknown.
        seed: of weights and batches.
        python: the interpreter that has chemprop.
        epochs: at least 2.

    Raises:
        FileNotFoundError: the interpreter is missing.
        RuntimeError: the worker failed; the message ends with what it printed.
    """
    with tempfile.TemporaryDirectory() as directory:
        inputs, outputs = Path(directory) / "inputs.npz", Path(directory) / "outputs.npz"
        np.savez(
            inputs,
            smiles=np.array(smiles, str),
            targets=np.asarray(targets, np.float32),
            train=split.train,
            validation=split.validation,
            seed=seed,
            task=task,
            epochs=epochs,
        )
        finished = subprocess.run(
            worker_command(python, "fit", inputs, outputs),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=workers.worker_environment(),
        )
        if finished.returncode:
            raise RuntimeError(f"chemprop failed with status {finished.returncode}. It printed:\n{finished.stdout}")
        with np.load(outputs) as stored:
            return stored["predictions"]


def worker_command(python: str | Path, *arguments: str | Path) -> list[str]:
    """What to run; raises FileNotFoundError where the interpreter is missing."""
    return workers.worker_command(python, WORKER, __file__, *arguments)
