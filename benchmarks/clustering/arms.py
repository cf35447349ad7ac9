"""What is compared: encoders of ours and their floors, each kind of content on rows of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from benchmarks.images.trials import OBJECTIVES, UNTRAINED


class Domain(NamedTuple):
    """Encoders of one kind of content, judged on the same rows.

    An arm is a key of `floors` or `trained`, with `@BUDGET` behind it where encoders of several budgets are compared.
    """

    label: str
    floors: Mapping[str, str]
    """Arm -> its name in tables, of what learned nothing; `random` is an encoder, the others are none."""
    trained: Mapping[str, str]
    self_supervised: tuple[str, ...]
    """Of the trained, those with a loss that needs no label."""

    @property
    def arms(self) -> dict[str, str]:
        return {**self.floors, **self.trained}

    def name(self, arm: str) -> str:
        """What people read."""
        base, _, budget = arm.partition("@")
        return self.arms[base] + (f", {budget} core-seconds" if budget else "")

    def is_floor(self, arm: str) -> bool:
        return arm.partition("@")[0] in self.floors

    def is_encoder(self, arm: str) -> bool:
        """Whether it has weights."""
        return not self.is_floor(arm) or arm == "random"

    def is_self_supervised(self, arm: str) -> bool:
        return arm.partition("@")[0] in self.self_supervised

    def place(self, arm: str) -> tuple[int, float]:
        """Sorts arms as they stand above, then by budget."""
        base, _, budget = arm.partition("@")
        return list(self.arms).index(base), float(budget or 0.0)


DOMAINS: Mapping[str, Domain] = {
    "images": Domain("Fashion-MNIST", UNTRAINED, OBJECTIVES, tuple(OBJECTIVES)),
    "towers": Domain(
        "Apps by category",
        {
            "counts": "who used it",
            "components": "64 principal components of who used it",
            "random": "towers as they begin",
        },
        {"none": "towers, no regularisation", "cfm": "towers, CFM", "item_masks": "towers, item masks"},
        ("cfm", "item_masks"),
    ),
    "molecules": Domain(
        "Compounds by target",
        {
            "ecfp": "ECFP, 2,048 counts",
            "ecfp_components": "128 principal components of ECFP",
            "random": "GROVER as it begins",
        },
        {"pretrained": "GROVER pre-trained", "finetuned": "GROVER fine-tuned on the classes"},
        ("pretrained",),
    ),
}
