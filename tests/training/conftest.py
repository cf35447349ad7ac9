"""Settings that train in seconds, the shop as a training run reads it, and one finished run on it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from recsys_ssl.features.batch import Catalogue
from recsys_ssl.features.correlations import Correlations
from recsys_ssl.settings import build, nest
from recsys_ssl.training import train as train_module
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs, build_model, train

TINY = {
    "feature_dim": 4,
    "hidden": (8,),
    "embedding_dim": 4,
    "batch_size": 32,
    "ssl_batch_size": 32,
    "initial_accumulator": 0.1,
    "schedule": "constant",
    "popularity_prior": 0.0,
}
# 150 steps are almost four epochs of 40 batches.
CFM = {
    "ssl_regularizer": "cfm",
    "logq": "streaming",
    "steps": 150,
    "eval_every": 30,
    "learning_rate": 0.3,
    "ssl_weight": 0.1,
    "popularity_prior": 0.5,
}


@pytest.fixture(scope="session")
def make_config():
    def make(**changes):
        """Settings whose names begin with `ssl_` are those of `train.ssl`."""
        settings = {name.replace("ssl_", "ssl.", 1): value for name, value in (TINY | changes).items()}
        return build("train", TrainConfig, nest(settings))

    return make


@pytest.fixture(scope="session")
def cfm_config(make_config):
    return make_config(**CFM)


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


@pytest.fixture(scope="session")
def embed_shop(shop, shop_inputs, make_config):
    """The vectors of all items of the shop by a model, on the path of training."""
    catalogue = Catalogue(shop_inputs.catalogue_dir, build_model(shop.spec, make_config(), shop_inputs)[1].layout)
    rows, counts = tf.range(200, dtype=tf.int64), tf.constant(catalogue.train_counts)
    return lambda model: model.vectorize_items(catalogue.gather(rows), counts).numpy()


@pytest.fixture(scope="session")
def run_training(shop, embed_shop):
    """Trains on the shop, tells what came of it, and exports only when asked to: exporting takes longer."""

    def run(inputs, config, directory, export=False, **options):
        told, exported = [], []

        def export_towers(model, *arguments):
            exported.append(embed_shop(model))
            if export:
                export_for_good(model, *arguments)

        with pytest.MonkeyPatch.context() as patch:
            export_for_good = train_module.export_towers
            patch.setattr(train_module, "export_towers", export_towers)
            result = train(
                shop.spec,
                config,
                inputs,
                str(Path(directory) / "export"),
                str(Path(directory) / "checkpoints"),
                progress=lambda *news: told.append(news),
                **options,
            )
        figures = (result.best_step, result.best_score, result.last_step)
        return SimpleNamespace(
            result=result, figures=figures, told=told, embeddings=exported[0], directory=str(directory)
        )

    return run


@pytest.fixture(scope="session")
def unharmed(shop_inputs, cfm_config, run_training, tmp_path_factory):
    """A run with self-supervision that nothing interrupts, exported."""
    directory = tmp_path_factory.mktemp("unharmed")
    return run_training(shop_inputs, cfm_config, directory, export=True, log_dir=str(directory / "logs"))
