"""The tables of posters and of speed, from the files that `posters.py` and `speed.py` write, for `tables.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.evidence.cells import grid

POSTERS, SPEED = "posters.json", "speed.json"
_NOT_RUN = "Not measured yet."


def render(name: str, directory: Path) -> str:
    """The table of a name of `RENDERERS`, from the file of its measurement in `results/images`."""
    file, render_found = RENDERERS[name]
    path = directory / file
    return render_found(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else _NOT_RUN


def render_posters(found: Mapping[str, Any]) -> str:
    """What `posters.summarise` gives as a Markdown table; the encoder that validation chose is bold."""
    rows = []
    for row in found["rows"]:
        name = f"**{row['label']}**" if row["arm"] == found["chosen"] else row["label"]
        gain = _interval(row["gain"], "+.3f") if "gain" in row else ""
        rows.append([name, f"{row['validation']:.3f}", _interval(row["test"], ".3f"), gain])
    return grid(["What is known of a film", "Validation", "AUC (95% interval)", "Over the bar"], rows, left=1)


def render_speed(found: Mapping[str, Any]) -> str:
    """What `speed.main` writes as a Markdown table."""
    rows = []
    for row in found["rows"]:
        sizes = row["sizes"]
        net = (
            f"{sizes['size']} x {sizes['size']} x {sizes['channels']}, patches of {sizes['patch']}, "
            f"{sizes['depth']} blocks of {sizes['dim']} ({row['weights'] / 1e6:.2f} M weights)"
        )
        rates = [f"{row['rates'][arm]:,.0f}" for arm in ("ours", "timm")]
        rows.append([net, *rates, _interval([row["ratio"], *row["interval"]], ".2f")])
    head = ["Net", "Here, images/s", "timm, images/s", "Ratio (95% interval)"]
    where = f"One core, batches of {found['batch_size']}, {found['rounds']} rounds in turn. {found['hardware']}."
    return f"{grid(head, rows, left=1)}\n\n{where}"


def _interval(found: list[float], form: str) -> str:
    value, low, high = (format(each, form) for each in found)
    return f"{value} ({low} to {high})"


RENDERERS = {"posters": (POSTERS, render_posters), "speed": (SPEED, render_speed)}
