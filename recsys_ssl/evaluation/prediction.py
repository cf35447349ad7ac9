"""How well predicted properties agree with measured ones: ROC-AUC of yes or no, RMSE of a number."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from scipy.stats import mannwhitneyu

Task = Literal["classification", "regression"]
METRICS = {"classification": "roc_auc", "regression": "rmse"}


class Split(NamedTuple):
    """Rows of the three parts, ascending; each row is in one part."""

    train: np.ndarray
    """[num_train] int64."""
    validation: np.ndarray
    """[num_validation] int64."""
    test: np.ndarray
    """[num_test] int64."""


def score(targets: np.ndarray, predictions: np.ndarray, task: Task) -> float:
    """Mean over tasks of ROC-AUC (0 to 1, higher is better) or RMSE (0 and up, lower is better).

    Args:
        targets: [num_records, num_tasks], NaN where unknown; 0 or 1 in a classification.
        predictions: [num_records, num_tasks].

    Returns:
        NaN when no task can be judged: a ROC-AUC needs both classes, an RMSE one known target.

    Raises:
        ValueError: a prediction is NaN: a mean over the other tasks would hide it.
    """
    if np.isnan(predictions).any():
        number = int(np.isnan(predictions).any(axis=1).sum())
        raise ValueError(f"predictions must be numbers. Received: NaN for {number:,} of {len(predictions):,} records.")
    judge = {"classification": _roc_auc, "regression": _rmse}[task]
    known = [~np.isnan(column) for column in targets.T]
    found = [judge(t[k], p[k]) for t, p, k in zip(targets.T, predictions.T, known)]
    found = [value for value in found if not np.isnan(value)]
    return float(np.mean(found)) if found else math.nan


def _roc_auc(targets: np.ndarray, predictions: np.ndarray) -> float:
    positive, negative = predictions[targets == 1], predictions[targets == 0]
    if not len(positive) or not len(negative):
        return math.nan
    # The share of pairs in which the positive ranks higher, ties counted half.
    return mannwhitneyu(positive, negative, method="asymptotic").statistic / (len(positive) * len(negative))


def _rmse(targets: np.ndarray, predictions: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(predictions - targets)))) if len(targets) else math.nan
