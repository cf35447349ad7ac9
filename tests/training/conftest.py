"""Settings that train in seconds, and the shop as the training run reads it."""

import numpy as np
import pytest

from recsys_ssl.features.correlations import Correlations
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs

TINY = {"feature_dim": 4, "hidden": (8,), "embedding_dim": 4, "batch_size": 32, "ssl_batch_size": 32}


@pytest.fixture(scope="session")
def make_config():
    def make(**changes):
        return TrainConfig(**TINY | changes)

    return make


@pytest.fixture(scope="session")
def correlations_path(tmp_path_factory):
    """Correlations of the shop's features but the dense one, in an order of their own."""
    names = ("tags", "product", "price", "title", "brand")
    noise = np.random.default_rng(0).random([5, 5])
    correlations = Correlations(names, noise + noise.T, np.full(5, 2.0), (5,) * 5, 200)
    path = tmp_path_factory.mktemp("correlations") / "correlations.json"
    path.write_text(correlations.to_json())
    return str(path)


@pytest.fixture(scope="session")
def shop_inputs(shop, correlations_path):
    encoded = shop.encoded
    return TrainInputs(
        encoded.interactions, encoded.catalogue, encoded.query_transform, encoded.item_transform, correlations_path
    )
