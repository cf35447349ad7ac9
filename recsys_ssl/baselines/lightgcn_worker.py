"""Trains RecBole's LightGCN on one file of pairs; `lightgcn.py` runs this under the interpreter that has RecBole.

    python lightgcn_worker.py PAIRS.npz VECTORS.npz

IN a file with `query_codes`, `item_rows`, `num_queries`, `num_items`, `seed` and the settings as JSON.
OUT a file with `queries` and `items`: the mean of the embeddings of all layers, whose dot product is the score.

Data set, sampler, model, loss and trainer are the library's. Every query and item has a node, whether or not a pair
names it, so that items without pairs are drawn as negatives like all others.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import numpy as np
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataloader import TrainDataLoader
from recbole.model.general_recommender.lightgcn import LightGCN
from recbole.sampler import Sampler
from recbole.trainer import Trainer
from recbole.utils import init_seed

DATASET = "pairs"


def write_atomic_files(root: Path, pairs: dict[str, np.ndarray]) -> None:
    """Writes the text files that the library reads: the pairs, every query and every item."""
    columns = {
        "inter": ("query:token\titem:token", (pairs["query_codes"], pairs["item_rows"])),
        "user": ("query:token", (np.arange(int(pairs["num_queries"])),)),
        "item": ("item:token", (np.arange(int(pairs["num_items"])),)),
    }
    (root / DATASET).mkdir()
    for suffix, (header, values) in columns.items():
        table = np.stack(values, axis=1)
        np.savetxt(root / DATASET / f"{DATASET}.{suffix}", table, "%d", "\t", header=header, comments="")


def library_config(root: Path, settings: dict[str, float], seed: int) -> Config:
    """The library's configuration: all pairs train, nothing is validated, nothing is saved."""
    return Config(
        model="LightGCN",
        dataset=DATASET,
        config_dict={
            "data_path": str(root),
            "checkpoint_dir": str(root / "checkpoints"),
            "USER_ID_FIELD": "query",
            "ITEM_ID_FIELD": "item",
            "load_col": {"inter": ["query", "item"], "user": ["query"], "item": ["item"]},
            "eval_args": {"split": {"RS": [1.0, 0.0, 0.0]}, "group_by": "none", "order": "RO", "mode": "full"},
            "use_gpu": False,
            "show_progress": False,
            "seed": seed,
            "embedding_size": settings["embedding_dim"],
            "n_layers": settings["num_layers"],
            "reg_weight": settings["reg_weight"],
            "learning_rate": settings["learning_rate"],
            "train_batch_size": settings["batch_size"],
            "epochs": settings["num_epochs"],
        },
    )


def train(root: Path, pairs: dict[str, np.ndarray], settings: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """The propagated vectors of every query and item, in the order of their codes and rows.

    Args:
        root: an empty directory for the library's files.
        pairs: the arrays of the input file.
        settings: `lightgcn.DEFAULTS` with what the caller changed.

    Returns:
        [num_queries, embedding_dim] and [num_items, embedding_dim] float32.
    """
    write_atomic_files(root, pairs)
    config = library_config(root, settings, int(pairs["seed"]))
    init_seed(config["seed"], reproducibility=True)

    dataset, _, _ = create_dataset(config).build()
    sampler = Sampler("train", dataset).set_phase("train")
    batches = TrainDataLoader(config, dataset, sampler, shuffle=True)
    model = LightGCN(config, dataset)
    Trainer(config, model).fit(batches, saved=False)

    with torch.no_grad():
        queries, items = (vectors.numpy() for vectors in model())
    query_nodes = _nodes(dataset, "query", int(pairs["num_queries"]))
    item_nodes = _nodes(dataset, "item", int(pairs["num_items"]))
    return queries[query_nodes], items[item_nodes]


def _nodes(dataset, field: str, count: int) -> np.ndarray:
    """[count] int64, the library's node of each code; its node 0 is padding."""
    return dataset.token2id(field, np.arange(count).astype(str))


def main(pairs_path: str, vectors_path: str) -> None:
    torch.set_num_threads(1)  # one order of summation, and seconds that compare with the other baselines'
    pairs_path, vectors_path = os.path.abspath(pairs_path), os.path.abspath(vectors_path)
    root = Path(pairs_path).parent / "library"
    root.mkdir()
    os.chdir(root)  # the library writes its logs into the working directory
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with np.load(pairs_path) as stored:
        pairs = dict(stored)
    queries, items = train(root, pairs, json.loads(str(pairs["settings"])))
    np.savez(vectors_path, queries=queries, items=items)


if __name__ == "__main__":
    main(*sys.argv[1:])
