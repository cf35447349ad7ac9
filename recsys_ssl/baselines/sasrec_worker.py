"""Trains RecTools' SASRec on one file of sequences; `sasrec.py` runs this under the interpreter that has RecTools.

    python sasrec_worker.py SEQUENCES.npz VECTORS.npz

IN a file with `train_rows`, `train_offsets`, `profile_rows`, `profile_offsets`, `num_items`, `seed` and the settings.
OUT a file with `profiles` and `items`, whose dot product is the score, and `known`, the items that have a vector.

Sequences, model, loss and trainer are the library's. Its own recommendation is a list of the best; we take the vectors
that it is made from, since an evaluation needs the place of every item.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

CALIBRATION = 0.75  # t of gBCE, as its paper recommends


def cut(rows: np.ndarray, offsets: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The window and the item row of each event: windows of at most `length` + 1 events that share their ends."""
    windows, owners, number = [], [], 0
    for start, stop in itertools.pairwise(offsets):
        for begin in range(start, max(stop - 1, start + 1), length):
            end = min(begin + length + 1, stop)
            windows.append(rows[begin:end])
            owners.append(np.full(end - begin, number))
            number += 1
    return np.concatenate(owners), np.concatenate(windows)


def to_dataset(owners: np.ndarray, rows: np.ndarray) -> Dataset:
    """Events as the library reads them; their order stands for the time."""
    return Dataset.construct(
        pd.DataFrame(
            {
                Columns.User: owners,
                Columns.Item: rows,
                Columns.Weight: 1.0,
                Columns.Datetime: pd.to_datetime(np.arange(len(rows)), unit="s"),
            }
        )
    )


def make_trainer(num_epochs: int) -> Trainer:
    return Trainer(
        max_epochs=num_epochs,
        min_epochs=num_epochs,
        accelerator="cpu",
        devices=1,
        deterministic=True,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def train(sequences: dict[str, np.ndarray], settings: dict[str, Any]) -> dict[str, np.ndarray]:
    """The output arrays: see the head of this file.

    Args:
        sequences: the arrays of the input file.
        settings: `sasrec.DEFAULTS` with what the caller changed.
    """
    seed_everything(int(sequences["seed"]), workers=True)
    model = SASRecModel(
        n_factors=settings["embedding_dim"],
        n_blocks=settings["num_blocks"],
        n_heads=settings["num_heads"],
        dropout_rate=settings["dropout"],
        session_max_len=settings["length"],
        lr=settings["learning_rate"],
        batch_size=settings["batch_size"],
        loss="gBCE",
        n_negatives=settings["num_negatives"],
        gbce_t=CALIBRATION,
        use_key_padding_mask=True,
        deterministic=True,
        get_trainer_func=make_trainer,
        get_trainer_func_kwargs={"num_epochs": settings["num_epochs"]},
    )
    model.fit(to_dataset(*cut(sequences["train_rows"], sequences["train_offsets"], settings["length"])))

    items = np.zeros((int(sequences["num_items"]), settings["embedding_dim"]), np.float32)
    known = np.zeros(len(items), bool)
    profile_rows, offsets = sequences["profile_rows"], sequences["profile_offsets"]
    profiles = np.zeros((len(offsets) - 1, settings["embedding_dim"]), np.float32)
    prepared = model.data_preparator
    known_rows = prepared.get_known_item_ids().astype(np.int64)
    known[known_rows] = True

    owners = np.repeat(np.arange(len(profiles)), np.diff(offsets))
    kept = known[profile_rows]
    asked = np.unique(owners[kept])
    dataset = prepared.transform_dataset_u2i(to_dataset(owners[kept], profile_rows[kept]), asked)
    batches = prepared.get_dataloader_recommend(dataset, settings["batch_size"])
    vectors, item_vectors = model.lightning_model._get_user_item_embeddings(batches, "cpu")
    items[known_rows] = item_vectors[prepared.n_item_extra_tokens :].detach().numpy()
    profiles[dataset.user_id_map.external_ids.astype(np.int64)] = vectors.numpy()
    return {"profiles": profiles, "items": items, "known": known}


def main(sequences_path: str, vectors_path: str) -> None:
    torch.set_num_threads(1)  # one order of summation, and seconds that compare with the other baselines'
    sequences_path, vectors_path = os.path.abspath(sequences_path), os.path.abspath(vectors_path)
    os.chdir(os.path.dirname(vectors_path))  # whatever the library leaves behind goes with it
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with np.load(sequences_path) as stored:
        sequences = dict(stored)
    np.savez(vectors_path, **train(sequences, json.loads(str(sequences["settings"]))))


if __name__ == "__main__":
    main(*sys.argv[1:])
