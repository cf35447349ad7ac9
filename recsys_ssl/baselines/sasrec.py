"""SASRec of RecTools 0.19.0, a causal transformer over what a query chose, trained by an interpreter of its own.

RecTools needs PyTorch and a release of SciPy that do not fit beside this package, hence an environment of its own,
made once with Python 3.11:

    python3.11 -m venv build/sasrec-venv
    build/sasrec-venv/bin/pip install 'rectools[torch]==0.19.0' torch==2.13.0

PyTorch without CUDA is enough. `sasrec_worker.py` is what that interpreter runs. One core, one thread.

References:
    Kang and McAuley 2018, "Self-Attentive Sequential Recommendation", arXiv:1808.09781.
    Petrov and Macdonald 2023, "gSASRec: Reducing Overconfidence in Sequential Recommendation Trained with Negative
    Sampling", arXiv:2308.07192, for the loss: a softmax over all items takes eight times as long for the 18,000 items
    of a supermarket.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from recsys_ssl.baselines.environment import check_codes, complete_settings, run_worker

PYTHON = Path("build/sasrec-venv/bin/python")
WORKER = Path(__file__).with_name("sasrec_worker.py")

DEFAULTS: dict[str, int | float] = {
    "embedding_dim": 64,
    "num_blocks": 2,
    "num_heads": 1,
    "dropout": 0.2,
    "length": 50,
    "num_negatives": 64,
    "learning_rate": 1e-3,
    "batch_size": 16,
    "num_epochs": 100,
}


def fit_sasrec(
    train_rows: np.ndarray,
    train_offsets: np.ndarray,
    profile_rows: np.ndarray,
    profile_offsets: np.ndarray,
    num_items: int,
    settings: Mapping[str, int | float] | None = None,
    seed: int = 0,
    python: str | Path = PYTHON,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The vectors of profiles and items that SASRec learns from sequences; a score is their dot product.

    Every position of a training sequence is asked for the item that follows it, against `num_negatives` items drawn
    uniformly, by binary cross-entropy with the positive's probability to the power of a beta below 1, which makes up
    for so few negatives (gBCE, t = 0.75). A sequence that is longer than `length` + 1 is cut into windows of so many
    events, each beginning at the last of the one before, so that every event but a sequence's first is asked for once.
    A profile's last `length` known items give its vector.

    Args:
        train_rows: [num_events] int64 in [0, num_items), sequence after sequence, oldest first.
        train_offsets: [num_sequences + 1] int64.
        profile_rows: [num_profile_events] int64 in [0, num_items), profile after profile, oldest first.
        profile_offsets: [num_profiles + 1] int64.
        num_items: items that get a vector.
        settings: what differs from `DEFAULTS`. A batch is of sequences, of which a log of a few hundred queries has
            few: with 128 an epoch would be ten steps.
        seed: of the initial weights, the dropout and the order of the sequences.
        python: the interpreter that has RecTools.

    Returns:
        [num_profiles, embedding_dim] float32, 0 where no item of the profile is known; [num_items, embedding_dim]
        float32, 0 for an unknown item; and [num_items] bool, the known ones: those in a sequence of two or more events.

    Raises:
        ValueError: a setting is unknown, a row is out of range, or no sequence has two events.
        FileNotFoundError: the interpreter is missing.
        RuntimeError: the worker failed; the message ends with what it printed.
    """
    completed = complete_settings(DEFAULTS, settings)
    check_codes("train_rows", train_rows, num_items)
    check_codes("profile_rows", profile_rows, num_items)
    if np.diff(train_offsets).max(initial=0) < 2:
        raise ValueError(
            "SASRec learns from what follows what: a training sequence must have two events. Received: "
            f"{len(train_offsets) - 1} sequences of at most {np.diff(train_offsets).max(initial=0)}."
        )
    found = run_worker(
        "SASRec",
        python,
        WORKER,
        {
            "train_rows": np.asarray(train_rows, np.int64),
            "train_offsets": np.asarray(train_offsets, np.int64),
            "profile_rows": np.asarray(profile_rows, np.int64),
            "profile_offsets": np.asarray(profile_offsets, np.int64),
            "num_items": num_items,
            "seed": seed,
        },
        completed,
        made_by=__file__,
    )
    return found["profiles"], found["items"], found["known"]
