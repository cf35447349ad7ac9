import numpy as np
import pyarrow as pa
import pytest

from benchmarks import ingest
from benchmarks.claims import load
from recsys_ssl.logs.readers import Batch


def test_the_claim_is_the_ratio_of_the_plain_log(tmp_path, capsys):
    ingest.main(["--events", "3000", "--rounds", "3"], tmp_path)
    (claim,) = load(tmp_path / "house.json")
    assert claim.id == "ingest_csv_speedup"
    assert claim.interval[0] <= claim.value <= claim.interval[1]
    assert claim.command == "python -m benchmarks.ingest --events 3000 --rounds 3"
    assert f"log.csv    ratio {claim.value:.1f}" in capsys.readouterr().out


def test_the_log_is_the_same_for_a_seed_and_both_files_hold_it(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    paths = [path for name in ("a", "b") for path in ingest.write_log(tmp_path / name, 100, seed=1)]
    logs = [pa.concat_tables(batch.columns for batch in ingest.read_at_once(path)) for path in paths]
    assert len(logs[0]) == 100
    assert all(log.equals(logs[0]) for log in logs)


def test_readers_that_disagree_are_an_error(tmp_path, monkeypatch):
    path, _ = ingest.write_log(tmp_path, 10, seed=0)
    ingest.check_agreement(path)
    shifted = (Batch(batch.columns, batch.lines + 1, batch.rejects) for batch in ingest.read_at_once(path))
    monkeypatch.setattr(ingest, "read_by_line", lambda path: shifted)
    with pytest.raises(ValueError, match="both readers must agree. Batch 0 of log.csv differs"):
        ingest.check_agreement(path)


def test_the_ratio_is_the_median_of_the_rounds():
    times, base = np.array([10.0, 40.0, 90.0]), np.array([1.0, 2.0, 3.0])  # ratios 10, 20, 30
    ratio, low, high = ingest.compare_times(times, base)
    assert ratio == 20
    assert 10 <= low <= 20 <= high <= 30
    assert ingest.compare_times(2 * base, base) == (2.0, 2.0, 2.0)
