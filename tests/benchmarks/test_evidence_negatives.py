import dataclasses

import numpy as np
import pytest

from benchmarks.claims import load
from benchmarks.evidence import negatives
from benchmarks.evidence.negatives import ARMS, SEEDS, Training

ROWS = np.array([7, 3, 9])
"""Of the distinct items of a batch."""


@pytest.fixture
def embedded():
    """Queries, items and terms that do not change from step to step."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        vectors = rng.standard_normal(shape).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return draw(4, 5), draw(3, 5), np.log([0.5, 0.2, 0.3]).astype(np.float32)


def test_remembered_items_are_candidates_like_those_of_the_batch(embedded):
    from recsys_ssl.models.losses import batch_softmax

    queries, items, log_proposal = embedded
    positives, counts = np.array([0, 1, 1, 2], np.int32), np.array([1, 2, 1], np.int32)
    memory = negatives.Memory(8, 5, batch_softmax)
    memory.rows_of_batch = ROWS
    taken = [float(memory.batch_softmax(queries, items, positives, counts, 0.2, log_proposal)) for _ in range(4)]
    # With the items as they were, a batch that is remembered once is the same as every negative drawn twice, and so on;
    # the third and the fourth are alike, since only two are remembered.
    for times, found in zip([1, 2, 3, 3], taken):
        logits = queries @ items.T / 0.2 - log_proposal
        own = logits[np.arange(4), positives]
        others = np.where(np.arange(3) == positives[:, np.newaxis], 0.0, times * counts * np.exp(logits))
        assert found == pytest.approx(np.mean(np.log(np.exp(own) + others.sum(axis=1)) - own), rel=1e-5)


def test_the_cosine_contrastive_loss_is_that_of_uniform_negatives_beyond_a_margin(embedded):
    queries, items, log_proposal = embedded
    positives, counts = np.array([0, 1, 1, 2], np.int32), np.array([1, 2, 1], np.int32)
    found = negatives.make_cosine_contrastive(0.1, 7.0)(queries, items, positives, counts, 0.2, log_proposal)
    losses = []
    for query, own in zip(queries @ items.T, positives):
        weights = [0.0 if j == own else counts[j] / np.exp(log_proposal[j]) for j in range(3)]
        far = np.average(np.maximum(query - 0.1, 0.0), weights=weights)
        losses.append(1 - query[own] + 7.0 * far)
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)
    with pytest.raises(ValueError, match="no prior"):
        negatives.make_cosine_contrastive(0.1, 7.0)(
            queries, items, positives, counts, 0.2, log_proposal, item_logits=log_proposal
        )


def test_within_an_arm_the_towers_have_its_loss():
    from recsys_ssl.models import losses
    from recsys_ssl.training.step import TrainStep

    before = losses.batch_softmax, TrainStep._log_proposal
    with negatives.change_loss("cross_batch", 5, 4, batches=2):
        assert losses.batch_softmax.__self__.__class__ is negatives.Memory
        assert TrainStep._log_proposal is not before[1]
    with negatives.change_loss("cosine", 5, 4, margin=0.1, negative_weight=1.0):
        assert losses.batch_softmax is not before[0]
    with negatives.change_loss("plain", 5, 4):
        assert (losses.batch_softmax, TrainStep._log_proposal) == before
    assert (losses.batch_softmax, TrainStep._log_proposal) == before


@pytest.mark.parametrize("arm", ["cross_batch", "cosine"])
def test_a_search_begins_with_settings_that_make_a_loss(arm):
    """Those of its first step, before the others are searched."""
    from recsys_ssl.models import losses

    before, (name, values) = losses.batch_softmax, negatives.steps_of(arm, 0.2, 0.1)[0]
    with negatives.change_loss(arm, 5, 4, **{name: values[0]}):
        assert losses.batch_softmax != before


def test_the_best_of_a_search_is_compared_over_all_seeds(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(negatives, "search", lambda *_: ({"temperature": 0.2, "learning_rate": 0.1}, []))
    monkeypatch.setattr(negatives, "prepare", lambda name: None)
    trained = []

    def score(each: Training) -> float:
        gain = {"plain": 0.0, "cross_batch": 0.01 * (each.settings.get("batches") == 16), "cosine": -0.1}[each.arm]
        return 0.3 + gain + 0.02 * each.seed

    def run_all(pending, run, path, workers):
        trained.extend(pending)
        done = [dataclasses.replace(each, validation=round(score(each), 6), seconds=1.0) for each in pending]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write("".join(each.to_json() + "\n" for each in done))

    monkeypatch.setattr(negatives, "run_all", run_all)
    negatives.main(["--datasets", "frappe"], tmp_path)
    negatives.main(["--datasets", "frappe"], tmp_path)
    count = {arm: [each.seed for each in trained if each.arm == arm] for arm in ARMS}
    expected = {"plain": 3, "cross_batch": 2 + 2 + 2 + 2, "cosine": 3 + 2 + 2 + 2}
    assert {arm: len(seeds) for arm, seeds in count.items()} == expected
    assert all(sum(seed > 0 for seed in seeds) == len(SEEDS) - 1 for seeds in count.values())
    claims = {claim.id: claim for claim in load(tmp_path / "retrieval.json")}
    assert claims["cross_batch_gain_frappe"].value == pytest.approx(0.01)
    assert "(batches 16)" in claims["cross_batch_gain_frappe"].what
    assert claims["cosine_gain_frappe"].value == pytest.approx(-0.1)
