"""Settings in the properties of components: there and back."""

import pytest

from pipelines.properties import from_json, to_json
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.index.scann_index import IndexConfig
from recsys_ssl.logs.transforms import IngestConfig
from recsys_ssl.training.config import TrainConfig

SECTIONS = {
    "ingest": IngestConfig(num_partitions=3),
    "train": TrainConfig(hidden=(8, 4), logq="streaming", steps=7),
    "index": IndexConfig(method="tree", num_leaves=9),
    "evaluation": EvaluationConfig(primary="mrr", seed=2),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_json_gives_back_the_same_settings(section):
    config = SECTIONS[section]
    assert from_json(type(config), to_json(config)) == config
    # A component's properties must be equal when the settings are.
    assert to_json(config) == to_json(from_json(type(config), to_json(config)))
    assert to_json(config) != to_json(type(config)())
