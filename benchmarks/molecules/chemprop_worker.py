"""Runs chemprop; `chemprop.py` and `throughput.py` start this under the interpreter that has it.

    python chemprop_worker.py fit INPUTS.npz OUTPUTS.npz
    python chemprop_worker.py time INPUTS.npz

fit: IN `smiles`, `targets`, `train`, `validation`, `seed`, `task` and `epochs`, OUT `predictions` of all molecules.
time: IN `smiles`; prints the number of parameters, then, for each line `train`, `graphs` or `smiles` that it reads,
the CPU seconds of one pass over the molecules.

Data, model, loss and schedule are the library's, with the defaults of its command line.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from chemprop import data, models, nn
from lightning import pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint


def make_dataset(smiles: Sequence[str], targets: np.ndarray) -> data.MoleculeDataset:
    rows = zip(smiles, targets)
    return data.MoleculeDataset([data.MoleculeDatapoint.from_smi(str(text), row) for text, row in rows])


def make_model(task: str, num_tasks: int, scaler=None, warmup_epochs: int = 2) -> models.MPNN:
    """The defaults of the command line, which differ from those of the classes in the aggregation."""
    if task == "classification":
        predictor = nn.BinaryClassificationFFN(n_tasks=num_tasks)
    else:
        unscale = None if scaler is None else nn.UnscaleTransform.from_standard_scaler(scaler)
        predictor = nn.RegressionFFN(n_tasks=num_tasks, output_transform=unscale)
    return models.MPNN(nn.BondMessagePassing(), nn.NormAggregation(), predictor, warmup_epochs=warmup_epochs)


def fit(inputs: dict[str, np.ndarray]) -> np.ndarray:
    """[num_molecules, num_tasks] float32 of the epoch with the lowest validation loss."""
    task, seed, epochs = str(inputs["task"]), int(inputs["seed"]), int(inputs["epochs"])
    targets = inputs["targets"]
    pl.seed_everything(seed)
    parts = [make_dataset(inputs["smiles"][inputs[part]], targets[inputs[part]]) for part in ("train", "validation")]
    scaler = None
    if task == "regression":
        scaler = parts[0].normalize_targets()
        parts[1].normalize_targets(scaler)
    for part in parts:
        part.cache = True
    model = make_model(task, targets.shape[1], scaler, warmup_epochs=2 if epochs >= 4 else 1)
    with tempfile.TemporaryDirectory() as directory:
        best = ModelCheckpoint(directory, monitor="val_loss", mode="min", save_weights_only=True)
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=epochs, callbacks=[best], logger=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        loaders = data.build_dataloader(parts[0], seed=seed), data.build_dataloader(parts[1], shuffle=False)
        trainer.fit(model, *loaders)
        model.load_state_dict(torch.load(best.best_model_path, weights_only=False)["state_dict"])
        everything = make_dataset(inputs["smiles"], targets)
        found = trainer.predict(model, data.build_dataloader(everything, shuffle=False, drop_last=False))
    return torch.cat(found).numpy().astype(np.float32)


def measure(smiles: Sequence[str]) -> None:
    """Answers each line of the standard input with the CPU seconds of one pass over the molecules."""
    torch.manual_seed(0)
    model = make_model("regression", 1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4)
    targets = np.zeros((len(smiles), 1), np.float32)
    dataset = make_dataset(smiles, targets)
    dataset.cache = True

    def train() -> None:
        model.train()
        for graphs, _, _, values, *_ in data.build_dataloader(dataset, seed=0):
            loss = torch.nn.functional.mse_loss(model(graphs), values)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.inference_mode()
    def predict(of: data.MoleculeDataset) -> None:
        model.eval()
        for graphs, *_ in data.build_dataloader(of, shuffle=False):
            model(graphs)

    passes = {
        "train": train,
        "graphs": lambda: predict(dataset),
        "smiles": lambda: predict(make_dataset(smiles, targets)),
    }
    for run in passes.values():
        run()
    print(sum(weights.numel() for weights in model.parameters()), flush=True)
    for line in sys.stdin:
        started = time.process_time()
        passes[line.strip()]()
        print(time.process_time() - started, flush=True)


def main(mode: str, inputs_path: str, outputs_path: str | None = None) -> None:
    torch.set_num_threads(1)  # seconds that compare with the other arms'
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with np.load(inputs_path) as stored:
        inputs = dict(stored)
    if mode == "fit":
        np.savez(outputs_path, predictions=fit(inputs))
    else:
        measure(inputs["smiles"])


if __name__ == "__main__":
    main(*sys.argv[1:])
