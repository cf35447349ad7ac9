"""The names of a run's trainings: each arm with its seed, and with those after it where `evaluation.seeds` asks."""

from __future__ import annotations

import re

from recsys_ssl.evaluation.decision import MOST_SEEDS

ARMS = ("control", "treatment")
_NAME = re.compile(rf"({'|'.join(ARMS)})(?:\.([1-9]\d?))?")


def name_training(arm: str, number: int) -> str:
    """`control` for the first, then `control.2`, `control.3`, ..."""
    return arm if number == 1 else f"{arm}.{number}"


def parse_training(name: str) -> tuple[str, int]:
    """The arm and the number of a training, of which 1 is the first.

    Raises:
        ValueError: there is no such training.
    """
    match = _NAME.fullmatch(name)
    number = int(match[2] or 1) if match else 0
    if match is None or number > MOST_SEEDS or name_training(match[1], number) != name:
        raise ValueError(
            f"--arm must be control or treatment, or for a further seed one of them with .2 to .{MOST_SEEDS} behind "
            f"it. Received: {name!r}."
        )
    return match[1], number
