"""A catalogue of particles: families are known by structure, better than by voxels, and ingestion takes all of it."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from recsys_ssl.datasets.particles import STRUCTURE_DIM, ParticleCatalogue, simulate_particles
from recsys_ssl.evaluation.cluster_report import judge_vectors
from recsys_ssl.evaluation.clustering import ClusterConfig
from recsys_ssl.logs.transforms import IngestConfig, ingest
from recsys_ssl.spec_files import load_spec

CATALOGUE = ParticleCatalogue(num_particles=60, num_families=3, num_groups=40, num_measurements=400)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    directory = tmp_path_factory.mktemp("particles")
    return directory, simulate_particles(CATALOGUE, str(directory))


def test_families_are_known_by_the_structure_better_than_by_the_voxels(simulated):
    directory, truth = simulated
    labels = pd.read_csv(directory / "families.csv")["family"].tolist()
    assert labels == [f"family-{topic}" for topic in truth.topic]
    vectors = np.load(directory / "structures.npz")["vectors"]
    np.testing.assert_allclose(vectors.mean(axis=0), 0.0, atol=1e-5)
    report = judge_vectors(
        vectors, labels, raw=np.load(directory / "voxels.npy"), config=ClusterConfig(seeds=2, components=10)
    )
    scores = {row["features"]: row["metrics"]["ari"]["mean"] for row in report["scores"]}
    assert scores["vectors"] > 0.75
    assert scores["raw"] < scores["vectors"] - 0.2


def test_its_spec_ingests_its_log_and_the_structures(simulated, tmp_path):
    directory, _ = simulated
    table = pq.read_table(directory / "items.parquet").to_pandas()
    assert np.stack(table["structure"]).shape == (60, STRUCTURE_DIM)
    out = [str(tmp_path / name) for name in ("interactions", "catalogue", "rejected")]
    summary = ingest(load_spec(directory / "particles.yaml"), str(directory), *out, IngestConfig(num_partitions=1))
    assert summary.num_items == 60
    assert summary.positives + summary.duplicates == 400
    assert summary.rejected == summary.items_rejected == summary.queries_rejected == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_families": 1}, "a catalogue needs two families"),
        ({"num_particles": 7}, "num_particles=7, num_families=8"),
        ({"spread": 1.0}, "a spread in"),
    ],
)
def test_catalogues_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ParticleCatalogue(**changes)
