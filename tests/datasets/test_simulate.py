"""The simulator's truth: what it says is what the log does, and it is worth knowing."""

import numpy as np
import pandas as pd
import pytest

from recsys_ssl.datasets.simulate import Simulation, Truth, simulate
from recsys_ssl.logs.transforms import IngestConfig, ingest
from recsys_ssl.spec_files import load_spec


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    return folder, simulate(Simulation(num_users=300, num_items=200, num_events=20_000, events_per_chunk=6_000), folder)


@pytest.fixture(scope="module")
def log(simulated):
    events = pd.read_csv(simulated[0] / "events.csv.gz")
    events["row"] = events["item"].str.removeprefix("item-").astype(int)
    events["number"] = events["user"].str.removeprefix("user-").astype(int)
    return events


def test_sizes_and_order(log):
    assert (log["event"] == "click").sum() == 20_000
    assert (log["event"] == "impression").sum() == 40_000
    assert log["time"].is_monotonic_increasing


def test_clicks_follow_the_preference(simulated, log):
    _, truth = simulated
    preference = truth.preference(np.arange(300))
    np.testing.assert_allclose(preference.sum(axis=1), 1.0)
    clicks = log[log["event"] == "click"]
    expected = np.bincount(clicks["number"], minlength=300) @ preference
    observed = np.bincount(clicks["row"], minlength=200)
    chi_square = ((observed - expected) ** 2 / expected).sum()
    assert chi_square < 200 + 5 * np.sqrt(2 * 200)
    busiest = clicks["number"].value_counts().index[0]
    own = np.bincount(clicks.loc[clicks["number"] == busiest, "row"], minlength=200)
    expected = own.sum() * preference[busiest]
    assert ((own - expected) ** 2 / expected).sum() < 200 + 6 * np.sqrt(2 * 200)


def test_the_right_ranking_beats_popularity(simulated, log):
    _, truth = simulated
    held_out = log[log["event"] == "click"].tail(4_000)
    users, rows = held_out["number"].to_numpy(), held_out["row"].to_numpy()
    right = np.argsort(-truth.preference(np.arange(300)), axis=1)[:, :10]
    train = log[log["event"] == "click"].head(16_000)
    popular = np.argsort(-np.bincount(train["row"], minlength=200))[:10]
    recall = (right[users] == rows[:, None]).any(axis=1).mean()
    floor = np.isin(rows, popular).mean()
    expected = np.take_along_axis(truth.preference(users), right[users], axis=1).sum(axis=1).mean()
    assert recall == pytest.approx(expected, abs=4 * np.sqrt(0.25 / 4_000))
    assert recall > 1.5 * floor


def test_users_and_items_follow_a_power_law(log):
    counts = log.loc[log["event"] == "click", "user"].value_counts().to_numpy()
    harmonic = (1 / np.arange(1, 301)).sum()
    assert counts[0] / 20_000 == pytest.approx(1 / harmonic, rel=0.1)


def test_item_features_are_correlated_and_true(simulated):
    folder, truth = simulated
    items = pd.read_csv(folder / "items.csv.gz")
    assert items["item"].tolist() == [f"item-{n}" for n in range(200)]
    assert items["topic"].tolist() == [f"topic-{n}" for n in truth.topic]
    assert items.groupby("maker")["topic"].nunique().max() == 1
    first_tag = items["tags"].str.split("|").str[0].str.removeprefix("tag-").astype(int)
    assert (first_tag // 8 == truth.topic).all()


def test_the_same_simulation_writes_the_same_records_and_another_seed_does_not(simulated, tmp_path):
    folder, truth = simulated
    simulate(truth.simulation, tmp_path)
    for name in ("events.csv.gz", "items.csv.gz", "users.csv.gz"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    other = Truth(Simulation(num_users=300, num_items=200, seed=1))
    assert (other.preference(np.arange(300)) != truth.preference(np.arange(300))).any()


def test_its_spec_ingests_its_log(simulated, tmp_path):
    folder, _ = simulated
    out = [str(tmp_path / name) for name in ("i", "c", "r")]
    summary = ingest(load_spec(folder / "simulated.yaml"), str(folder), *out, IngestConfig(num_partitions=2))
    assert summary.events_read == 60_000
    assert summary.impressions == 40_000
    assert summary.positives + summary.duplicates == 20_000
    assert summary.rejected == summary.items_rejected == summary.queries_rejected == {}
    assert summary.num_items == 200


@pytest.mark.parametrize(
    "fields", [{"num_events": 0}, {"num_topics": 1}, {"num_items": 39}], ids=["events", "topics", "items"]
)
def test_impossible_simulations(fields):
    with pytest.raises(ValueError, match="Received"):
        Simulation(**fields)
