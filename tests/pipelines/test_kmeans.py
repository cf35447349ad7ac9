"""Lloyd's iteration as a Beam job, against the same iteration in this process."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.stages import kmeans as job
from recsys_ssl import lists
from recsys_ssl.evaluation import kmeans, labels, vectors
from recsys_ssl.evaluation.clustering import ClusterConfig, run_clustering

BALLS, DIM = 4, 5


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    centres = 6.0 * rng.normal(size=(BALLS, DIM))
    return (centres[np.arange(240) % BALLS] + 2.0 * rng.normal(size=(240, DIM))).astype(np.float32)


@pytest.fixture
def table(tmp_path, rows):
    """Three files, the rows of each in groups of 30."""
    (tmp_path / "vectors").mkdir()
    for number, part in enumerate(np.array_split(rows, 3)):
        columns = pa.table({"vector": lists.from_vectors(part)})
        pq.write_table(columns, tmp_path / "vectors" / f"rows-{number}.parquet", row_group_size=30)
    return vectors.open_vectors(tmp_path / "vectors")


def iterate_in_memory(rows, start, iterations):
    return kmeans.iterate(kmeans.expect_clusters, kmeans.maximize_clusters, start, lambda: (rows,), iterations)


@pytest.mark.parametrize("some", [False, True], ids=["all rows", "some rows"])
def test_the_job_gives_what_memory_gives(table, rows, some, tmp_path):
    keep = np.arange(240) % 7 > 2 if some else np.ones(240, bool)
    start = rows[:BALLS].astype(np.float64)
    of_job = job.list_rows(table, keep if some else None)
    found = job.iterate_kmeans(of_job, start, str(tmp_path / "at"), iterations=3, tolerance=-1.0, batch_rows=13)
    np.testing.assert_allclose(found, iterate_in_memory(rows[keep], start, 3), rtol=1e-9)
    assert len(list((tmp_path / "at").glob("*/iteration-*.npz"))) == 3


def test_a_job_goes_on_at_its_newest_centroids(table, rows, tmp_path):
    """The second call makes iterations 2 and 3 only: that before is not written again, whatever they hold."""
    start, of_job, at = rows[:BALLS].astype(np.float64), job.list_rows(table), str(tmp_path / "at")
    half = job.iterate_kmeans(of_job, start, at, iterations=1, tolerance=-1.0)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "at").glob("*/*.npz")}
    whole = job.iterate_kmeans(of_job, start, at, iterations=3, tolerance=-1.0)
    assert {path: path.stat().st_mtime_ns for path in written} == written
    assert len(list((tmp_path / "at").glob("*/*.npz"))) == 3
    np.testing.assert_allclose(half, iterate_in_memory(rows, start, 1), rtol=1e-9)
    np.testing.assert_allclose(whole, iterate_in_memory(rows, start, 3), rtol=1e-9)


def test_a_job_that_failed_goes_on_after_its_last_whole_iteration(table, rows, tmp_path, monkeypatch):
    start, of_job, at = rows[:BALLS].astype(np.float64), job.list_rows(table), str(tmp_path / "at")
    write = job.artifacts.write_bytes

    def fail(path, content):
        if "iteration-000002" in path:
            raise OSError("the worker is gone")
        write(path, content)

    monkeypatch.setattr(job.artifacts, "write_bytes", fail)
    with pytest.raises(Exception, match="the worker is gone"):
        job.iterate_kmeans(of_job, start, at, iterations=3)
    monkeypatch.undo()
    assert len(list((tmp_path / "at").glob("*/*.npz"))) == 1
    found = job.iterate_kmeans(of_job, start, at, iterations=3, tolerance=-1.0)
    np.testing.assert_allclose(found, iterate_in_memory(rows, start, 3), rtol=1e-9)


def test_other_rows_and_another_start_are_another_job(table, rows):
    of_job, start = job.list_rows(table), rows[:BALLS]
    keep = np.arange(240) != 7
    names = {
        job._name_job(*of)
        for of in (
            (of_job, start, None),
            (of_job, start + 1, None),
            (job.list_rows(table, keep), start, None),
            (of_job[1:], start, None),
            (of_job, start, job.functools.partial(job._scale, True)),
        )
    }
    assert len(names) == 5
    pq.write_table(pa.table({"vector": lists.from_vectors(rows[:30])}), of_job[0].group.path)
    assert job._name_job(of_job, start, None) not in names


def test_what_settles_ends_early(table, rows, tmp_path):
    job.iterate_kmeans(job.list_rows(table), rows[:BALLS].astype(np.float64), str(tmp_path), iterations=40)
    losses = [float(np.load(path)["loss"]) for path in sorted(tmp_path.glob("*/iteration-*.npz"))]
    assert len(losses) < 40
    assert losses == sorted(losses, reverse=True)
    assert losses[-2] - losses[-1] <= 1e-4 * losses[-2]


def test_the_fit_finds_the_components_and_the_clusters_once(table, rows, tmp_path, monkeypatch):
    of = labels.encode([f"ball {row % BALLS}" for row in np.concatenate(np.array_split(np.arange(240), 3))])
    part, config = labels.split_rows(of), ClusterConfig(seeds=1, components=3)
    model, runs = run_clustering(table, of, part, config, job.fit_in_beam(str(tmp_path / "at"), iterations=5))
    train = rows[part == labels.TRAIN]
    expected = kmeans.find_components(kmeans.expect_moments(train), 3)
    np.testing.assert_allclose(np.abs(model.projection.components), np.abs(expected.components), atol=1e-9)
    _, of_memory = run_clustering(table, of, part, config)
    assert min(run.inertia for run in runs) == pytest.approx(min(run.inertia for run in of_memory), rel=1e-3)
    assert max(run.scores["accuracy"] for run in runs) > 0.9
    # The same command again has nothing left to do.
    monkeypatch.setattr(job.artifacts, "write_bytes", None)
    again, _ = run_clustering(table, of, part, config, job.fit_in_beam(str(tmp_path / "at"), iterations=5))
    assert np.array_equal(again.centroids[0], model.centroids[0])


def test_a_vector_that_is_not_finite_is_told_of_before_any_job(tmp_path, rows, monkeypatch):
    rows[200, 1] = np.nan
    pq.write_table(pa.table({"vector": lists.from_vectors(rows)}), tmp_path / "v.parquet")
    monkeypatch.setattr(job, "SumRows", None)
    of = labels.encode([f"ball {row % BALLS}" for row in range(240)])
    table, part = vectors.open_vectors(tmp_path / "v.parquet"), np.where(np.arange(240) < 10, labels.TEST, labels.TRAIN)
    with pytest.raises(ValueError, match="NaN or infinity in row 200 of"):
        run_clustering(table, of, part, ClusterConfig(), job.fit_in_beam(str(tmp_path / "at")))


def test_an_array_is_no_input_of_a_job():
    with pytest.raises(ValueError, match="a Beam job reads Parquet. Received: an array, the vectors"):
        job.list_rows(vectors.from_array(np.eye(3)))
