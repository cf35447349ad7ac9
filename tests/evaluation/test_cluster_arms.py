"""Both arms of a run by the clusters of their items, from embeddings to the page."""

import numpy as np
import pytest

from recsys_ssl.evaluation.cluster_arms import compare_clusters
from recsys_ssl.evaluation.cluster_scores import SCORES
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.evaluate import Arm, evaluate_arms
from recsys_ssl.evaluation.labels import encode
from recsys_ssl.evaluation.report import render_report

NUM_ITEMS = 240
TOPICS = np.arange(NUM_ITEMS) % 3


@pytest.fixture
def arms(tmp_path, write_items, write_queries):
    """The treatment's items lie by topic, the control's by chance."""
    rng = np.random.default_rng(0)
    made = []
    for name, weight in (("control", 0.0), ("treatment", 5.0)):
        items = weight * np.eye(3)[TOPICS] + rng.normal(size=(NUM_ITEMS, 3))
        item_dir = write_items(tmp_path / name / "items", items, [1] * NUM_ITEMS)
        queries = write_queries(tmp_path / name / "queries", ["u", "v"], [0, 1], rng.normal(size=(2, 3)), times=[5, 6])
        made.append(Arm(name, str(item_dir), str(queries)))
    return made


def test_the_arm_whose_items_lie_by_topic_agrees_with_it(arms):
    labels = encode([None if row < 6 else f"topic {topic}" for row, topic in enumerate(TOPICS)])
    found = compare_clusters("topic", labels, {arm.name: arm.item_dir for arm in arms})
    assert (found["feature"], found["classes"], found["items"], found["refusal"]) == ("topic", 3, 234, None)
    assert [row["score"] for row in found["scores"]] == list(SCORES)
    ari = next(row for row in found["scores"] if row["score"] == "ari")
    assert ari["treatment"]["mean"] > 0.9
    assert abs(ari["control"]["mean"]) < 0.1
    assert abs(ari["chance"]["mean"]) < 0.1
    assert len(ari["treatment"]["values"]) == 5


def test_rare_values_are_no_class(arms):
    labels = encode([f"topic {topic}" if row > 1 else f"only {row}" for row, topic in enumerate(TOPICS)])
    found = compare_clusters("topic", labels, {arm.name: arm.item_dir for arm in arms})
    assert (found["classes"], found["items"]) == (3, 238)


@pytest.mark.parametrize(
    ("values", "why"),
    [([None] * NUM_ITEMS, "rows must have labels"), (["same"] * NUM_ITEMS, "must be of two classes or more")],
    ids=["no value", "one value"],
)
def test_a_feature_that_tells_nothing_is_told_and_ends_nothing(arms, values, why):
    found = compare_clusters("topic", encode(values), {arm.name: arm.item_dir for arm in arms})
    assert why in found["refusal"]
    assert found["scores"] == []


@pytest.mark.parametrize("told", [True, False], ids=["clusters", "refusal"])
def test_the_page_shows_them_where_the_spec_asks(arms, make_spec, told):
    config = EvaluationConfig(bootstrap_samples=100)
    labels = encode([f"topic {topic}" if told else "same" for topic in TOPICS])
    steps = []
    report = evaluate_arms(
        make_spec(cluster_by="topic"),
        *[[arm] for arm in arms],
        config,
        item_labels=labels,
        progress=lambda *step: steps.append(step[0]),
    )
    page = render_report(report)
    assert "<h2>Clusters of items by topic</h2>" in page
    assert ("Fowlkes-Mallows" in page) == told
    assert ("None: labels must be of two classes" in page) != told
    assert steps[-1] == "clusters"
    without = evaluate_arms(make_spec(), *[[arm] for arm in arms], config)
    assert "clusters" not in without
    assert "Clusters of items" not in render_report(without)
