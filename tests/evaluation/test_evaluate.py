import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_ssl.evaluation import evaluate
from recsys_ssl.evaluation.decision import EvaluationConfig
from recsys_ssl.evaluation.evaluate import Arm, evaluate_arms
from recsys_ssl.evaluation.report import render_report
from recsys_ssl.spec import Split
from tests.evaluation.tasted_arms import CONFIG, CUTS, DIM, NUM_ITEMS, NUM_QUERIES, evaluate_once


def checks(report):
    return {check["name"]: check["passed"] for check in report["checks"]}


def test_settings_of_a_section_differ_by_their_dotted_names():
    control = {"steps": 3, "ssl": {"regularizer": "none", "weight": 0.3}, "encoder": {}}
    treatment = {"steps": 3, "ssl": {"regularizer": "cfm", "weight": 0.3}, "encoder": {"kind": {"size": "tiny"}}}
    assert evaluate._differing(control, treatment) == [
        {"setting": "encoder.kind.size", "control": None, "treatment": "tiny"},
        {"setting": "ssl.regularizer", "control": "none", "treatment": "cfm"},
    ]


def test_from_embeddings_to_a_decision(make_arms, make_spec):
    steps = []
    report = evaluate_once(
        make_spec(slices=["gender"]), *make_arms(), CONFIG, CUTS, progress=lambda *step: steps.append(step)
    )
    assert report["verdict"]["word"] == "launch"
    assert report["counts"] == {
        "queries": NUM_QUERIES,
        "rankings": NUM_QUERIES,
        "pairs": 4 * NUM_QUERIES,
        "items": NUM_ITEMS,
        "trained_items": report["counts"]["trained_items"],
        "masked": 2 * NUM_QUERIES,
        "repeats": 0,
    }
    assert report["cautions"] == []
    assert "<h2>Caution</h2>" not in render_report(report)
    assert set(checks(report).values()) == {True}
    assert report["arms"]["differing"] == [{"setting": "noise", "control": 1.0, "treatment": 0.1}]
    assert report["index"] == [
        {"k": 10, "control": 0.99, "treatment": 0.99},
        {"k": 50, "control": 0.97, "treatment": 0.97},
    ]
    assert steps == [(name, NUM_QUERIES, NUM_QUERIES) for name in ("most-popular", "plain", "regularised")]


GIVEN = {"kind": "given", "test_paths": ["test.csv"]}


@pytest.mark.parametrize(
    ("split", "told", "last_us", "passed", "words"),
    [
        (
            {"validation": 0.05},
            "training log.csv; validation 5% of the training pairs, by a hash; test test.csv.",
            1_000_000_000,
            True,
            "Training ends at 1970-01-01 00:16:40 UTC; first held-out event 1970-01-01 00:16:40 UTC.",
        ),
        (
            {"validation_paths": ["a.csv", "b.csv"]},
            "training log.csv; validation a.csv, b.csv; test test.csv.",
            1_000_000_001,
            None,
            "They overlap: the models may have learnt from the future of what they are asked.",
        ),
        (
            {"validation": 0},
            "validation none, so that the last step of the training is kept; test test.csv.",
            None,
            None,
            "The times of the given splits were not given.",
        ),
    ],
    ids=["in order", "overlap", "unknown"],
)
def test_a_given_split_is_told_and_its_times_are_compared(make_arms, make_spec, split, told, last_us, passed, words):
    spec = make_spec().model_copy(update={"split": Split.model_validate(GIVEN | split)})
    summary = {} if last_us is None else {"split_times_us": {"train": {"first": 0, "last": last_us}}}
    report = evaluate_once(spec, *make_arms(), CONFIG, summary)
    protocol = {row["topic"]: row["statement"] for row in report["protocol"]}
    assert protocol["Split"].startswith("Given by files: ")
    assert protocol["Split"].endswith(told)
    assert "before the split, and in it before the event, are left out" in protocol["Filter"]
    (check,) = (check for check in report["checks"] if check["name"] == "Training before testing")
    assert check["passed"] is passed
    assert check["detail"].endswith(words)
    assert report["verdict"]["word"] == "launch"


def chosen_before(make_arms):
    """What each query chose before the split: its own held-out items again, which only own counts can know."""
    table = pq.read_table(make_arms()[0].query_dir)
    yield table["query_id"].combine_chunks().cast(pa.large_binary()), table["item_row"].to_numpy()


@pytest.mark.parametrize("mask_seen", [True, False])
def test_own_counts_are_a_floor_where_queries_may_choose_again(make_arms, make_spec, mask_seen):
    events = chosen_before(make_arms)
    report = evaluate_once(make_spec(mask_seen=mask_seen), *make_arms(), CONFIG, CUTS, chosen_before=events)
    topics = [row["topic"] for row in report["protocol"]]
    assert "Floor of own counts" not in checks(report)
    if mask_seen:  # all of them would be masked
        assert (report["own_floor"], "Own counts" in topics) == ([], False)
        assert report["verdict"]["word"] == "launch"
        assert next(events, None) is not None  # they are not even read
        return
    assert [row["own_counts"] for row in report["own_floor"]][:2] == [1.0, 1.0]
    assert report["verdict"]["word"] == "no launch"
    assert "Own counts" in topics
    page = render_report(report)
    for row in report["own_floor"]:
        assert f"<td>{row['own_counts']:.4f}</td>" in page
    assert page.index("Above most-popular") < page.index("Above own counts")


def test_a_floor_that_was_not_given_is_not_checked(make_arms, make_spec):
    report = evaluate_once(make_spec(mask_seen=False), *make_arms(), CONFIG, CUTS)
    assert checks(report)["Floor of own counts"] is None
    assert "not checked: Floor of own counts." in report["verdict"]["reasons"][-1]


def add_repeats(arm):
    """Every held-out item but each first one of its query was chosen before, and is sure to come again."""
    (path,) = Path(arm.query_dir).glob("*.parquet")
    rows = pq.read_table(path)
    ids = [
        [] if number % 4 == 0 else [b"gone", b"item-%d" % row]
        for number, row in enumerate(rows["item_row"].to_pylist())
    ]
    rows = rows.append_column("repeat_ids", pa.array(ids, pa.list_(pa.binary())))
    rows = rows.append_column("repeat_scores", pa.array([[99.0] * len(own) for own in ids], pa.list_(pa.float32())))
    pq.write_table(rows.append_column("repeat_temperature", pa.array([0.1] * len(rows), pa.float32())), path)


@pytest.mark.parametrize(
    ("arms", "told"),
    [
        ([], "Score: dot product of the embeddings."),
        ([0, 1], "embeddings; of an item that the query has chosen before also a learned chance that it comes again."),
        ([1], "also a learned chance that it comes again in the treatment."),
    ],
    ids=["none", "both", "treatment"],
)
def test_items_that_may_come_again_are_ranked_by_that_too_and_it_is_told(make_arms, make_spec, arms, told):
    made = make_arms(3.0, 3.0)
    for arm in arms:
        add_repeats(made[arm])
    report = evaluate_once(make_spec(group_by="event", mask_seen=False), *made, CONFIG)
    (corpus,) = (row["statement"] for row in report["protocol"] if row["topic"] == "Corpus")
    assert corpus.endswith(told)
    recall = next(row for row in report["metrics"] if row["metric"] == "recall_at_10")
    for number, name in enumerate(("control", "treatment")):
        assert (recall[name] >= 0.75) == (number in arms)


def test_the_same_model_twice_is_held(make_arms, make_spec):
    report = evaluate_once(make_spec(), *make_arms(0.5, 0.5), CONFIG, CUTS)
    assert report["verdict"]["word"] == "hold"
    assert all(row["difference"] == 0 and row["interval"] is None for row in report["metrics"])
    refusal = "the arms differ in as much as 0 queries, and an interval needs 5"
    assert {row["no_interval"] for row in report["metrics"]} == {refusal}
    assert f"NDCG@20, MRR: {refusal}." in render_report(report)
    assert [sample["why"] for sample in report["samples"]] == ["at random"] * 4


def test_held_out_repeats_are_counted_and_told(make_arms, make_spec, write_queries):
    """Every query chose one of its four held-out items before."""
    arms = make_arms()
    for arm in arms:
        (path,) = Path(arm.query_dir).glob("*.parquet")
        table = pq.read_table(path)
        items = table["item_row"].to_numpy().reshape(NUM_QUERIES, 4)
        seen = [[*own, items[row // 4, 3]] for row, own in enumerate(table["seen_rows"].to_pylist())]
        at = table.schema.get_field_index("seen_rows")
        pq.write_table(table.set_column(at, "seen_rows", pa.array(seen, pa.list_(pa.int64()))), path)
    counts = {"held_out_pairs": {"test": 4 * NUM_QUERIES}, "held_out_repeats": {"test": NUM_QUERIES}}
    report = evaluate_once(make_spec(), *arms, CONFIG, {**CUTS, **counts})
    assert (report["counts"]["pairs"], report["counts"]["repeats"]) == (3 * NUM_QUERIES, NUM_QUERIES)
    assert {row["n"] for row in report["metrics"] if row["metric"].startswith("recall")} == {3 * NUM_QUERIES}
    (caution,) = report["cautions"]
    assert caution.startswith("120 of 480 held-out pairs (25.0%)")
    page = render_report(report)
    assert f"<li>{caution}</li>" in page
    assert "Of 480 held-out pairs 120 (25.0%) are such repeats." in page
    # What a low rating alone leaves out is told apart.
    spec = make_spec()
    low = spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"mask_disliked": True})})
    counts["held_out_repeats"], counts["held_out_disliked"] = {"test": NUM_QUERIES - 7}, {"test": 7}
    report = evaluate_once(low, *arms, CONFIG, {**CUTS, **counts})
    assert report["cautions"][0].startswith("113 of 480 held-out pairs (23.5%)")
    assert "Of 480 held-out pairs 120 (25.0%) are of such items, 7 of them for a low rating alone." in render_report(
        report
    )
    counts = {"held_out_pairs": {"test": 4 * NUM_QUERIES}, "held_out_repeats": {"test": NUM_QUERIES}}
    # With repeat consumption all are asked for, and the report still says how many there are.
    report = evaluate_once(make_spec(mask_seen=False), *arms, CONFIG, {**CUTS, **counts})
    assert (report["counts"]["pairs"], report["cautions"]) == (4 * NUM_QUERIES, [])
    assert "Of 480 held-out pairs 120 (25.0%) are such repeats." in render_report(report)


def test_a_report_of_an_earlier_version_is_shown(make_arms, make_spec):
    report = evaluate_once(make_spec(), *make_arms(), CONFIG, CUTS)
    del report["cautions"], report["config"]["seeds"]
    for row in report["metrics"]:
        for name in ("effective_queries", "largest_share", "no_interval", "seed_differences", "seed_share"):
            del row[name]
    assert "<h2>Validity</h2>" in render_report(report)


def test_cautions_of_the_training_name_their_arm(make_arms, make_spec):
    control, treatment = make_arms()
    control, treatment = (
        dataclasses.replace(arm, cautions=["of both.", f"of the {arm.name}."]) for arm in (control, treatment)
    )
    assert evaluate_once(make_spec(), control, treatment, CONFIG)["cautions"] == [
        "Training of both arms: of both.",
        "Training of the plain: of the plain.",
        "Training of the regularised: of the regularised.",
    ]


def make_seeds(make_arms, noises=((1.0, 0.9, 1.1), (0.1, 0.2, 0.15)), **changed):
    """Three trainings of each arm."""
    arms = [[], []]
    for seed, pair in enumerate(zip(*noises, strict=True)):
        for arm, training in zip(arms, make_arms(*pair, below=str(seed))):
            arm.append(dataclasses.replace(training, settings={"steps": 10, "seed": seed, **changed}))
    return arms


def test_several_seeds_give_means_and_an_interval_over_queries_and_seeds(make_arms, make_spec):
    control, treatment = make_seeds(make_arms)
    treatment[1] = dataclasses.replace(treatment[1], cautions=["late."])
    steps = []
    config = EvaluationConfig(bootstrap_samples=300, seeds=3)
    progress = lambda name, *_: steps.append(name)  # noqa: E731
    report = evaluate_arms(make_spec(), control, treatment, config, CUTS, progress=progress)
    once = [evaluate_once(make_spec(), *pair, CONFIG, CUTS) for pair in zip(control, treatment)]
    for i, row in enumerate(report["metrics"]):
        alone = [each["metrics"][i] for each in once]
        for name in ("control", "treatment", "difference"):
            assert row[name] == pytest.approx(np.mean([each[name] for each in alone]))
        assert row["seed_differences"] == pytest.approx([each["difference"] for each in alone])
        assert row["interval"][0] < row["difference"] < row["interval"][1]
        assert 0 < row["seed_share"] < 1
    for i, row in enumerate(report["floor"]):
        assert row["treatment"] == pytest.approx(report["metrics"][i]["treatment"])
        assert row["popularity"] == pytest.approx(once[0]["floor"][i]["popularity"])
    for arm in ("control", "treatment"):
        assert report["coverage"][arm] == pytest.approx(np.mean([each["coverage"][arm] for each in once]))
        curves = [each["recall_curve"][arm] for each in once]
        assert report["recall_curve"][arm] == pytest.approx(np.mean(curves, axis=0))
    assert report["samples"] == once[0]["samples"]
    assert report["cautions"] == ["Training of the regularised: late."]
    assert steps == ["most-popular", *(f"{arm}, seed {i} of 3" for arm in ("plain", "regularised") for i in (1, 2, 3))]
    page = render_report(report)
    assert "<h2>Training seeds</h2>" in page
    assert "Each arm was trained 3 times" in page
    assert "t-intervals over queries and 3 training seeds" in page
    assert "two models" in render_report(once[0])


def test_trainings_that_are_not_those_of_the_seeds_are_an_error(make_arms, make_spec):
    control, treatment = make_seeds(make_arms)
    config = EvaluationConfig(bootstrap_samples=300, seeds=3)
    with pytest.raises(ValueError, match=r"seeds=3 asks for as many trainings of each arm\. Received: 2\."):
        evaluate_arms(make_spec(), control, treatment[:2], config)
    with pytest.raises(ValueError, match=r"must differ in their seeds.* Received: seeds \[0, 1, 0\] of plain\."):
        evaluate_arms(make_spec(), [*control[:2], control[0]], treatment, config)
    other = dataclasses.replace(control[2], settings={"steps": 11, "seed": 2})
    with pytest.raises(ValueError, match="with other settings besides"):
        evaluate_arms(make_spec(), [*control[:2], other], treatment, config)


def test_a_leak_of_the_future_stops_the_launch(make_arms, make_spec):
    late = {"cuts_us": {"eval": 1_000_000_001, "test": 1_000_000_002}}
    report = evaluate_once(make_spec(), *make_arms(), CONFIG, late)
    assert checks(report)["Training before testing"] is False
    assert report["verdict"]["word"] == "no launch"


def test_a_poor_index_stops_the_launch(make_arms, make_spec):
    control, treatment = make_arms()
    poor = Arm(**{**treatment.__dict__, "index_recall": {10: 0.95, 50: 0.8}})
    report = evaluate_once(make_spec(), control, poor, CONFIG, CUTS)
    assert checks(report)["Index against exact search"] is False
    assert report["verdict"]["word"] == "no launch"


def test_what_was_not_given_is_not_checked_and_said_so(make_arms, make_spec):
    control, treatment = (Arm(**{**arm.__dict__, "index_recall": None}) for arm in make_arms())
    report = evaluate_once(make_spec(), control, treatment, CONFIG)
    assert checks(report)["Index against exact search"] is None
    assert checks(report)["Training before testing"] is None
    assert report["verdict"]["word"] == "launch"
    assert "not checked" in render_report(report)


def test_samples_mark_the_held_out_items(make_arms, make_spec):
    titles = [f"Title {row}" for row in range(NUM_ITEMS)]
    report = evaluate_once(make_spec(), *make_arms(), CONFIG, CUTS, titles)
    assert [sample["why"] for sample in report["samples"]].count("win") == 3
    assert len(report["samples"]) >= 7
    for sample in report["samples"]:
        gain = sample["treatment"]["ndcg_at_10"] - sample["control"]["ndcg_at_10"]
        assert {"win": gain > 0, "loss": gain < 0}.get(sample["why"], True)
        for arm in ("control", "treatment"):
            assert all(item["hit"] == (item["name"] in sample["held_out"]) for item in sample[arm]["items"])
            assert len(sample[arm]["items"]) == 10
            assert not {item["name"] for item in sample[arm]["items"]} & set(sample["masked"])


def test_queries_that_are_items_are_called_by_their_title(tmp_path, make_spec, write_queries, write_items):
    rng = np.random.default_rng(0)
    arms = []
    for name in ("control", "treatment"):
        write_queries(
            tmp_path / name / "q", [f"item-{i}" for i in range(40)], rng.permutation(40), rng.normal(size=(40, 4)),
            seen=[[i] for i in range(40)], query_row=list(range(40)),
        )  # fmt: skip
        write_items(tmp_path / name / "i", rng.normal(size=(40, 4)), [1] * 40)
        arms.append(Arm(name, str(tmp_path / name / "i"), str(tmp_path / name / "q")))
        rng = np.random.default_rng(0)
    titles = [f"Page {row}" for row in range(40)]
    report = evaluate_once(make_spec(same_as_items=True), *arms, CONFIG, titles=titles)
    for sample in report["samples"]:
        assert sample["query"].startswith("Page ")
        assert sample["query"] not in {item["name"] for item in sample["control"]["items"]} - set(sample["held_out"])
    assert "own row is always left out" in json.dumps(report["protocol"])


def test_arms_of_different_catalogues_are_an_error(make_arms, make_spec, write_items):
    control, treatment = make_arms()
    write_items(treatment.item_dir, np.ones((NUM_ITEMS, DIM)), [1] * NUM_ITEMS)
    with pytest.raises(ValueError, match="both arms must embed the same catalogue"):
        evaluate_once(make_spec(), control, treatment, CONFIG)


def test_titles_of_another_catalogue_are_an_error(make_arms, make_spec):
    with pytest.raises(ValueError, match="titles must have one entry per item"):
        evaluate_once(make_spec(), *make_arms(), CONFIG, titles=["one"])
