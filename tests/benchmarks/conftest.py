"""The synthetic study of the evidence: empty, and with every arm of a few."""

import pytest

from benchmarks.evidence.trials import RECOMMENDED
from tests.benchmarks.made_study import PLAIN, SEEDS, Study

SCORES = {RECOMMENDED: 0.6, "cfm": 0.5, "popular": 0.2, "itemknn": 0.1, "ease": 0.1, "ials": 0.1}


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Two data sets, all regularisers tuned and tested at both shares, and a deterministic baseline."""
    study = Study(tmp_path_factory.mktemp("whole"))
    for dataset in ("frappe", "movielens-small"):
        for share in (1.0, 0.1):
            for arm in ("none", *PLAIN, "cfm", RECOMMENDED):
                study.add(dataset, arm, share)
                study.tune(arm, SCORES.get(arm, 0.4), dataset, share)
            study.add(dataset, "popular", share, seeds=range(1) if share == 1.0 else SEEDS)
            for arm in ("popular", "itemknn", "ease", "ials"):
                study.tune(arm, SCORES[arm], dataset, share)
    return study


@pytest.fixture(scope="session")
def found(whole):
    return whole.summarise()
