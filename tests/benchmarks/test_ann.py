"""The benchmark of approximate search on few items, without the libraries of the other process."""

import json

import numpy as np

from benchmarks import ann, ann_worker


def test_claims_are_recorded_for_what_recalls_enough(tmp_path, capsys):
    options = ["--items", "3000", "--dim", "16", "--centres", "50", "--queries", "40", "--rounds", "2"]
    ann.main(options, results=tmp_path)
    claims = {claim["id"]: claim for claim in json.loads((tmp_path / "serving.json").read_text())["claims"]}
    assert claims["brute_force_recall_at_10_3k"]["value"] == 1.0
    # Below 20,000 items ScaNN is exact as well.
    assert claims["scann_recall_at_10_3k"]["value"] == 1.0
    for name in ("scann", "inverted_lists"):
        claim = claims.get(f"{name}_qps_vs_brute_force_3k")
        if claim is not None:  # on the other half of the queries inverted lists may recall a little less
            low, high = claim["interval"]
            assert 0 < low <= claim["value"] <= high
            assert claims[f"{name}_recall_at_10_3k"]["value"] >= 0.95
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("brute_force", "scann", "inverted_lists"))


def test_vectors_lie_around_their_centres():
    vectors, queries = ann.draw(2000, 100, 16, 4, seed=0)
    assert vectors.shape == (2000, 16)
    assert queries.shape == (100, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-5)
    # One in four lies around the same centre: there the cosine is about 1/2, elsewhere about 0.
    cosines = queries @ vectors.T
    assert np.mean(np.sort(cosines, axis=1)[:, -400:]) > 0.4
    assert np.mean(np.sort(cosines, axis=1)[:, :1000]) < 0.0


def test_the_cheapest_setting_that_recalls_enough_is_taken():
    best = np.arange(20).reshape(2, 10)
    state = {}

    def search(queries):
        found = best.copy()
        found[:, : 10 - state["n"]] = -1
        return found

    assert ann_worker._set(lambda n: state.update(n=n), search, [1, 5, 10, 20], np.zeros((2, 4)), best) == 10
    assert ann_worker._set(lambda n: state.update(n=n), search, [1, 5], np.zeros((2, 4)), best) == 5
    assert ann.measure_recall(np.array([[0, 1, *[-1] * 8], best[1]]), best) == (0.2 + 1.0) / 2
