"""Draws docs/images/diffraction_scaling.png from the committed claims of `scaling.py`.

python -m benchmarks.diffraction.plots
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.claims import RESULTS, ROOT, Claim, load
from benchmarks.diffraction.scaling import TOPIC
from recsys_ssl.evaluation.plots import STYLE

PICTURE = ROOT / "docs" / "images" / "diffraction_scaling.png"
_AXES = {"patterns": 0, "rotations": 1, "pixels": 2}
"""Family of claims -> which number of its `what` it grows with."""
_DEEP = "#1b4965"


def draw(claims: Sequence[Claim]) -> Figure:
    """CPU seconds of an iteration over patterns, rotations and pixels, and seconds over workers by the model."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.8), layout="constrained")
        panels = figure.subplots(1, 4)
        for axes, (family, place) in zip(panels, _AXES.items(), strict=False):
            _show(axes, [claim for claim in claims if re.fullmatch(rf"{family}_\d+", claim.id)], place, "o-")
            axes.set(xlabel=family)
        panels[0].set_ylabel("CPU s an iteration")
        _show(panels[3], [claim for claim in claims if re.fullmatch(r"large_\d+_workers", claim.id)], 3, "D--")
        panels[3].set(xlabel="workers, by the model", ylabel="s an iteration")
    return figure


def main(results: Path = RESULTS, picture: Path = PICTURE) -> int:
    try:
        claims = load(results / f"{TOPIC}.json")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    picture.parent.mkdir(parents=True, exist_ok=True)
    draw(claims).savefig(picture, dpi=110, metadata={"Software": None})
    return 0


def _show(axes: Axes, claims: Sequence[Claim], place: int, look: str) -> None:
    """Values of claims over the number at a place of their texts, on logarithmic axes with a tick at each of these."""
    places = [_numbers(claim.what)[place] for claim in claims]
    axes.plot(places, [claim.value for claim in claims], look, color=_DEEP)
    axes.set(xscale="log", yscale="log")
    axes.set_xticks(places, [f"{number:,}" for number in places], fontsize=7.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))


def _numbers(text: str) -> list[int]:
    """The whole numbers of a claim's text: patterns, rotations, pixels, workers."""
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*\d|\d", text)]


if __name__ == "__main__":
    sys.exit(main())
