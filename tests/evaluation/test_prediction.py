"""ROC-AUC and RMSE of several tasks with unknown targets."""

import numpy as np
import pytest
from sklearn.metrics import mean_squared_error, roc_auc_score

from recsys_ssl.evaluation.prediction import score

NAN = np.nan


class TestScore:
    def test_is_that_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        targets, scores = rng.integers(0, 2, (50, 3)).astype(float), rng.integers(0, 9, (50, 3)) / 8.0
        targets[::7, 1] = NAN
        known = ~np.isnan(targets)
        expected = [roc_auc_score(targets[k, i], scores[k, i]) for i, k in enumerate(known.T)]
        assert score(targets, scores, "classification") == pytest.approx(np.mean(expected))
        expected = [mean_squared_error(targets[k, i], scores[k, i]) ** 0.5 for i, k in enumerate(known.T)]
        assert score(targets, scores, "regression") == pytest.approx(np.mean(expected))

    def test_a_task_of_one_class_is_left_out(self):
        targets = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, NAN]])
        assert score(targets, np.array([[0.9, 0.1], [0.1, 0.9], [0.0, 0.5]]), "classification") == 1 / 2
        assert np.isnan(score(targets[:1], targets[:1], "classification"))

    def test_unknown_targets_are_left_out(self):
        assert score(np.array([[1.0], [NAN]]), np.array([[3.0], [99.0]]), "regression") == 2.0
        assert np.isnan(score(np.array([[NAN]]), np.array([[1.0]]), "regression"))

    def test_a_prediction_that_is_no_number_is_an_error(self):
        targets = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        predictions = np.array([[0.1, 0.9], [0.8, NAN], [0.2, 0.7]])
        for task in ("classification", "regression"):
            with pytest.raises(ValueError, match="Received: NaN for 1 of 3 records"):
                score(targets, predictions, task)
