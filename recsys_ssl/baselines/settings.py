"""The settings of the baselines: their defaults, and the grids that are searched on validation."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from recsys_ssl.baselines.lightgcn import DEFAULTS as LIGHTGCN_DEFAULTS

DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "popular": {},
        "itemknn": {"similarity": "tfidf", "num_neighbours": 400},
        "ease": {"l2": 100.0, "dtype": "float64", "max_gib": 6.0},
        "ials": {"factors": 128, "alpha": 5.0, "regularization": 30.0, "iterations": 15},
        "bpr": {"factors": 64, "learning_rate": 0.05, "regularization": 0.01, "iterations": 100},
        "lightgcn": LIGHTGCN_DEFAULTS,
    }
)

GRIDS: Mapping[str, list[dict[str, Any]]] = MappingProxyType(
    {
        "popular": [{}],
        "itemknn": [
            {"similarity": similarity, "num_neighbours": num_neighbours}
            for similarity, num_neighbours in (
                ("cosine", 20),
                ("cosine", 400),
                ("tfidf", 100),
                ("tfidf", 400),
                ("bm25", 400),
                ("cooccurrence", 400),
            )
        ],
        "ease": [{"l2": l2} for l2 in (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)],
        "ials": [
            {"factors": factors, "alpha": alpha, "regularization": regularization}
            for factors, alpha, regularization in (
                (64, 5.0, 10.0),
                (64, 20.0, 100.0),
                (128, 1.0, 10.0),
                (128, 5.0, 30.0),
                (128, 20.0, 10.0),
                (128, 20.0, 100.0),
            )
        ],
        "bpr": [
            {
                "factors": factors,
                "learning_rate": learning_rate,
                "regularization": regularization,
                "iterations": iterations,
            }
            for factors, learning_rate, regularization, iterations in (
                (16, 0.01, 0.02, 50),
                (64, 0.05, 0.01, 100),
                (64, 0.05, 0.002, 300),
                (128, 0.02, 0.02, 300),
                (128, 0.1, 0.001, 100),
                (128, 0.1, 0.02, 300),
            )
        ],
        "lightgcn": [
            {"num_layers": num_layers, "reg_weight": reg_weight} for num_layers in (2, 3) for reg_weight in (1e-5, 1.0)
        ],
    }
)


def complete(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a baseline with what is not given at its default.

    Raises:
        ValueError: a setting is unknown.
    """
    unknown = sorted(set(settings) - set(DEFAULTS[name]))
    if unknown:
        raise ValueError(f"settings of {name} are {sorted(DEFAULTS[name])}. Received also: {unknown}. Remove them.")
    return {**DEFAULTS[name], **settings}
