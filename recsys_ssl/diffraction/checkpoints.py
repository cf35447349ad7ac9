"""The state of a run after an iteration, as one file that is there whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Any, Optional

import numpy as np

from recsys_ssl import artifacts
from recsys_ssl.diffraction.annealing import Annealing
from recsys_ssl.diffraction.expectation import Problem
from recsys_ssl.diffraction.settings import EmcSettings


@dataclass
class Winner:
    """The best of the starts that have ended."""

    start: int
    quality: float
    """Log-likelihood a pattern, of those held out where there are any."""
    volume: np.ndarray
    fluence: np.ndarray
    beta: float


@dataclass
class State:
    """Everything that the next iteration depends on; volumes are [side, side, side], fluences [num_patterns]."""

    start: int
    iteration: int
    """Iterations of this start that are done."""
    volume: np.ndarray
    fluence: np.ndarray
    annealing: Annealing
    best_volume: np.ndarray
    """By the held-out likelihood."""
    best_fluence: np.ndarray
    history: list[dict[str, Any]]
    winner: Optional[Winner]
    is_done: bool = False


def key_of(problem: Problem, settings: EmcSettings) -> str:
    """A hash of everything that decides how a run goes."""
    counts, layout = problem.counts, problem.layout
    numbers = {**dataclasses.asdict(settings), "num_good": layout.num_good, "shape": counts.shape}
    facts = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
    for array in (counts.data, counts.indices, counts.indptr, layout.q_voxels, layout.corrections, layout.pixels):
        facts.update(np.ascontiguousarray(array).tobytes())
    return facts.hexdigest()


def save(path: str | os.PathLike, key: str, state: State) -> None:
    """Writes a state; `key` tells what it is of."""
    arrays = {
        "volume": state.volume,
        "fluence": state.fluence,
        "best_volume": state.best_volume,
        "best_fluence": state.best_fluence,
    }
    winner = None
    if state.winner is not None:
        arrays |= {"winner_volume": state.winner.volume, "winner_fluence": state.winner.fluence}
        winner = {"start": state.winner.start, "quality": state.winner.quality, "beta": state.winner.beta}
    facts = {
        "key": key,
        "start": state.start,
        "iteration": state.iteration,
        "annealing": dataclasses.asdict(state.annealing),
        "history": state.history,
        "winner": winner,
        "is_done": state.is_done,
    }
    with artifacts.whole_file(path) as unfinished, open(unfinished, "wb") as file:
        # Python's own JSON: it reads back the NaN and infinities that it writes.
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)


def load(path: str | os.PathLike, key: str) -> Optional[State]:
    """The state that was saved; None where there is none.

    Raises:
        ValueError: it is of another problem.
        DamagedError: it cannot be read.
    """
    if not os.path.exists(path):
        return None
    advice = f"Delete {os.fspath(path)} and run the same command again; it starts at the beginning."
    with artifacts.reading(path, advice), np.load(path) as arrays:
        facts = json.loads(str(arrays["facts"]))
        winner = None
        if facts["winner"] is not None:
            winner = Winner(volume=arrays["winner_volume"], fluence=arrays["winner_fluence"], **facts["winner"])
        state = State(
            facts["start"],
            facts["iteration"],
            arrays["volume"],
            arrays["fluence"],
            Annealing(**facts["annealing"]),
            arrays["best_volume"],
            arrays["best_fluence"],
            facts["history"],
            winner,
            facts["is_done"],
        )
    if facts["key"] != key:
        raise ValueError(
            f"{os.fspath(path)} must be of the same patterns, detector and settings. Received: of others. "
            "Give these again, or delete it to start at the beginning."
        )
    return state
