"""The settings of the baselines: their defaults, and where validation searches for better ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from recsys_ssl import ials
from recsys_ssl.baselines.lightgcn import DEFAULTS as LIGHTGCN_DEFAULTS
from recsys_ssl.baselines.sasrec import DEFAULTS as SASREC_DEFAULTS

DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "popular": {},
        "own_counts": {},
        "most_recent": {},
        "itemknn": {"similarity": "tfidf", "num_neighbours": 400},
        "ease": {"l2": 100.0, "dtype": "auto", "max_gib": 6.0},
        "ials": asdict(ials.Settings()),
        "bpr": {"factors": 64, "learning_rate": 0.05, "regularization": 0.01, "iterations": 100},
        "lightgcn": LIGHTGCN_DEFAULTS,
        "sasrec": SASREC_DEFAULTS,
    }
)


def _points(names: str, *points: tuple) -> list[dict[str, Any]]:
    return [dict(zip(names.split(), point)) for point in points]


GRIDS: Mapping[str, list[dict[str, Any]]] = MappingProxyType(
    {
        "popular": [{}],
        "own_counts": [{}],
        "most_recent": [{}],
        "itemknn": _points(
            "similarity num_neighbours",
            ("cosine", 100),
            ("cosine", 800),
            ("tfidf", 100),
            ("tfidf", 800),
            ("bm25", 400),
            ("cooccurrence", 400),
        ),
        "ease": _points("l2", (10.0,), (30.0,), (100.0,), (300.0,), (1000.0,), (3000.0,)),
        "ials": _points(
            "factors alpha regularization frequency_exponent",
            (64, 5.0, 10.0, 0.0),
            (128, 5.0, 30.0, 0.0),
            (128, 20.0, 60.0, 0.0),
            (128, 20.0, 60.0, 1.0),
            (512, 20.0, 60.0, 0.0),
            (512, 20.0, 60.0, 1.0),
        ),
        "bpr": _points(
            "factors learning_rate regularization iterations",
            (16, 0.01, 0.02, 50),
            (64, 0.05, 0.01, 100),
            (64, 0.05, 0.002, 300),
            (128, 0.02, 0.02, 300),
            (128, 0.1, 0.001, 100),
            (128, 0.1, 0.02, 300),
        ),
        "lightgcn": _points("num_layers reg_weight", (2, 1e-5), (2, 1.0), (3, 1e-5), (3, 1.0)),
        "sasrec": _points(
            "embedding_dim dropout num_epochs", (64, 0.2, 30), (64, 0.2, 100), (64, 0.5, 100), (128, 0.2, 100)
        ),
    }
)
"""What is tried first, whatever it finds."""

LADDERS: Mapping[str, Mapping[str, tuple]] = MappingProxyType(
    {
        "itemknn": {"num_neighbours": (20, 50, 100, 200, 400, 800, 2000, "all")},
        "ease": {"l2": (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0, 30000.0)},
        "ials": {
            "regularization": (1.0, 3.0, 10.0, 30.0, 60.0, 100.0, 200.0, 400.0, 1000.0),
            "factors": (16, 32, 64, 128, 256, 512),
            "alpha": (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0),
            "frequency_exponent": (0.0, 0.5, 1.0),
        },
        "bpr": {
            "regularization": (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1),
            "learning_rate": (0.005, 0.01, 0.02, 0.05, 0.1, 0.2),
            "iterations": (25, 50, 100, 300, 1000),
            "factors": (8, 16, 32, 64, 128, 256),
        },
        "lightgcn": {"reg_weight": (1e-6, 1e-5, 1e-3, 0.1, 1.0, 10.0), "num_layers": (1, 2, 3, 4)},
        "sasrec": {
            "num_epochs": (10, 30, 100, 300),
            "dropout": (0.0, 0.2, 0.5, 0.7),
            "embedding_dim": (32, 64, 128, 256),
        },
    }
)
"""Setting -> its values in order. The best of a grid is not taken at an edge: for each setting in turn, the values
beside it on its ladder are tried, and so on from the best of these, until none beside it is better. A ladder's own ends
and `MOST_TRIALS` are where the search stops."""

MOST_TRIALS: Mapping[str, int] = MappingProxyType(
    {"itemknn": 24, "ease": 24, "ials": 24, "bpr": 24, "lightgcn": 10, "sasrec": 8}
)
"""Trials of a baseline on one log, the grid's included; those that train a net take minutes each."""


def complete(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a baseline with what is not given at its default.

    Raises:
        ValueError: a setting is unknown.
    """
    unknown = sorted(set(settings) - set(DEFAULTS[name]))
    if unknown:
        raise ValueError(f"settings of {name} are {sorted(DEFAULTS[name])}. Received also: {unknown}. Remove them.")
    return {**DEFAULTS[name], **settings}
