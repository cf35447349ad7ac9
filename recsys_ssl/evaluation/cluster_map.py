"""A map of rows in the plane, where what was near lies near: once by the classes of clusters, once by the rows' own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from recsys_ssl.evaluation.plots import STYLE, to_svg
from recsys_ssl.text import make_visible

MAP_ROWS = 2000
LEAST_ROWS = 10
_NEIGHBOURS = 15
# Okabe and Ito's palette, which the colour-blind tell apart; the markers carry the same on grey print.
_LOOKS = (
    *(("#0072B2", "o"), ("#E69F00", "s"), ("#009E73", "^"), ("#D55E00", "v")),
    *(("#56B4E9", "D"), ("#CC79A7", "P"), ("#F0E442", "X"), ("#000000", "*")),
)
_OTHERS = ("#c9cfd6", "o")


def map_rows(vectors: np.ndarray, seed: int = 0) -> np.ndarray:
    """[num_rows, 2], places by UMAP, the same for the same rows and seed.

    Distances within the map, sizes of groups and gaps between them mean little; who lies together means something.

    Args:
        vectors: [num_rows, dim], at least LEAST_ROWS.

    References:
        McInnes, Healy and Melville 2018, arXiv:1802.03426.
    """
    umap = load_umap()(n_neighbors=min(_NEIGHBOURS, len(vectors) - 1), random_state=seed, n_jobs=1)
    return np.asarray(umap.fit_transform(vectors), np.float64)


def load_umap() -> Any:
    """The class UMAP, loaded when it is asked for: that takes seconds.

    Its package would also load a parametric variant, with TensorFlow and another Keras; it does without where that
    cannot be imported.
    """
    parametric = "umap.parametric_umap"
    sys.modules.setdefault(parametric, None)  # type: ignore[arg-type]
    try:
        from umap import UMAP
    finally:
        if sys.modules[parametric] is None:
            del sys.modules[parametric]
    return UMAP


def draw_map(points: Sequence[Mapping[str, Any]]) -> str:
    """The map as SVG, two panels of the same places; the classes that most rows have are told apart.

    Args:
        points: rows with `x`, `y`, `cluster_class` (None for none) and `class`.
    """
    classes = [point["class"] for point in points]
    names = sorted(set(classes), key=lambda name: (-classes.count(name), name))[: len(_LOOKS)]
    places = np.array([(point["x"], point["y"]) for point in points])
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 4.6), layout="constrained")
        panels = figure.subplots(1, 2)
        sides = ("class of the row's cluster", "cluster_class"), ("the row's own class", "class")
        for axes, (title, key) in zip(panels, sides):
            axes.set_title(title.capitalize(), fontsize=9.5)
            axes.set_axis_off()
            axes.set_aspect("equal", "datalim")
            drawn = np.array([names.index(point[key]) if point[key] in names else -1 for point in points])
            for code, (colour, marker) in ((-1, _OTHERS), *enumerate(_LOOKS[: len(names)])):
                # As pixels within the figure: thousands of paths would make a page of megabytes.
                axes.scatter(*places[drawn == code].T, s=9, linewidths=0, color=colour, marker=marker, rasterized=True)
        handles = [
            panels[0].scatter([], [], s=22, linewidths=0, color=colour, marker=marker)
            for colour, marker in (*_LOOKS[: len(names)], _OTHERS)
        ]
        labels = [make_visible(name) for name in names]
        others = ["others"] if len(set(classes)) > len(names) or None in {p["cluster_class"] for p in points} else []
        figure.legend(handles, labels + others, loc="outside lower center", ncols=5, frameon=False, fontsize=8.5)
        return to_svg(figure)
