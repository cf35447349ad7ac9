"""A part of a working directory is whole and fits the command that reads it, or the command says what to run again."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from pipelines import manifests
from pipelines.config import RunConfig, given_settings
from pipelines.manifests import (
    CORRELATE,
    EVALUATE,
    INDEX,
    INGEST,
    TRAIN,
    TRANSFORM,
    check,
    check_places,
    evaluation_stage,
    index_stage,
    is_current,
    making,
    training_stage,
    tuning_stage,
)
from recsys_ssl import artifacts, provenance
from recsys_ssl.spec import FeatureSpec

SPEC = {
    "version": 1,
    "name": "films",
    "events": {"paths": ["e.csv"], "query_id": "user", "item_id": "film", "timestamp": {"column": "time"}},
    "items": {"id": "film", "features": [{"name": "film", "kind": "id"}]},
    "queries": {"id": "user", "features": [{"name": "history", "kind": "item_sequence", "length": 20}]},
}


def make_spec(**changes):
    return FeatureSpec.model_validate({**SPEC, **changes})


@pytest.fixture(autouse=True)
def code(monkeypatch):
    """The hash of real sources takes a second a stage."""
    monkeypatch.setattr(manifests, "source_hash", lambda *modules: "old")


@pytest.fixture
def at(tmp_path):
    return lambda *parts: os.path.join(str(tmp_path), *parts)


@pytest.fixture
def make(at):
    """make(stage, data=...) writes all parts of a stage, with default settings and without the work."""
    config = RunConfig()

    def make(stage, data="1", **changes):
        settings = dataclasses.replace(getattr(config, stage.section), **changes) if stage.section else {}
        with making(stage, at, make_spec(), settings, facts={"data": data} if stage is INGEST else {}) as places:
            for place in places:
                Path(place, "part").write_text(data)

    return make


@pytest.fixture
def made(make):
    for stage in (INGEST, TRANSFORM, CORRELATE, *TRAIN.values(), *INDEX.values(), EVALUATE):
        make(stage)


def test_each_stage_finds_what_it_reads_and_equal_work_has_equal_manifests(made, make, at):
    before = {name: provenance.read_manifest(at(name)) for stage in manifests.STAGES for name in stage.makes}
    assert len(before) == 3 + 4 + 1 + 2 * 1 + 2 * 6 + 1
    assert before["report"].inputs.keys() >= {"data", "interactions", "encoded-catalogue", "control/towers"}
    make(INGEST)
    assert provenance.read_manifest(at("interactions")) == before["interactions"]
    for stage in manifests.STAGES:
        check(stage, at, make_spec())


def test_a_change_of_the_description_alone_is_none(made, at):
    check(EVALUATE, at, make_spec(description="Films of 1998."))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"split": {"kind": "time", "test": 0.3}}, "split.test 0.1 there, 0.3 here"),
        (
            {"queries": {"id": "user", "features": [{"name": "history", "kind": "item_sequence", "length": 5}]}},
            "queries.features.history.length 20 there, 5 here",
        ),
    ],
)
@pytest.mark.parametrize("stage", [TRANSFORM, TRAIN["control"], INDEX["treatment"], EVALUATE], ids=lambda s: s.command)
def test_another_spec_is_refused_and_its_change_told(made, at, stage, change, told):
    with pytest.raises(ValueError) as refused:
        check(stage, at, make_spec(**change))
    assert f"was made with another spec: {told}. Run `recsys-ssl ingest` again, or use that spec." in str(refused.value)


def items_with(*features):
    return {"id": "film", "table": {"paths": ["i.csv"]}, "features": [{"name": "film", "kind": "id"}, *features]}


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        ([{"name": "description", "kind": "categorical"}], 'items.features.description.kind "text" there, "cat'),
        ([], r"items.features.description \{.* there, none here"),
    ],
    ids=["another kind", "none"],
)
def test_a_feature_named_description_counts_as_any_other(at, feature, told):
    made_with = make_spec(items=items_with({"name": "description", "kind": "text"}))
    with making(INGEST, at, made_with, {}) as places:
        for place in places:
            Path(place, "part").write_text("1")
    with pytest.raises(ValueError, match=f"another spec: {told}"):
        check(TRANSFORM, at, make_spec(items=items_with(*feature)))


def test_a_stage_that_is_killed_leaves_nothing_that_is_read(made, at):
    class Killed(BaseException):
        pass

    before = Path(at("interactions", "part")).read_text()

    def begin(place):
        Path(place, "part").write_text("half")
        raise Killed

    with pytest.raises(Killed), making(INGEST, at, make_spec(), {}) as places:
        begin(places[0])
    assert Path(at("interactions", "part")).read_text() == before  # for whoever has it open
    for stage in (TRANSFORM, INDEX["control"]):
        with pytest.raises(FileNotFoundError, match="needs interactions, finished.*Run `recsys-ssl ingest` first"):
            check(stage, at, make_spec())
    # Not what it reads itself, but what that was made of.
    with pytest.raises(ValueError, match="interactions must be whole.*Run `recsys-ssl ingest` again"):
        check(CORRELATE, at, make_spec())


def test_a_stage_that_fails_leaves_what_was_there(made, at, tmp_path):
    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def fail(place):
        Path(place, "part").write_text("half")
        raise ValueError("no such method")

    before, spec = files(), make_spec()
    with pytest.raises(ValueError, match="no such method"), making(INDEX["treatment"], at, spec, {}) as places:
        fail(places[0])
    assert files() == before
    check(EVALUATE, at, spec)


def test_an_error_does_not_sign_what_a_kill_outdated(made, at):
    provenance.outdate(at("interactions"))
    with pytest.raises(OSError), making(INGEST, at, make_spec(), {}):
        raise OSError
    with pytest.raises(FileNotFoundError, match="needs interactions, finished"):
        check(TRANSFORM, at, make_spec())


def test_what_a_failed_command_shows_is_not_read_by_the_next(made, at):
    def fail(place):
        Path(place, "rejected.jsonl").write_text("{}")
        raise ValueError("too many")

    making_it = making(INGEST, at, make_spec(), {}, shown_after=(ValueError,))
    with pytest.raises(ValueError, match="too many"), making_it as places:
        fail(places[2])
    assert os.listdir(at("rejected")) == ["rejected.jsonl"]
    for stage in (TRANSFORM, CORRELATE):
        with pytest.raises((FileNotFoundError, ValueError), match="Run `recsys-ssl ingest`"):
            check(stage, at, make_spec())


def test_a_command_that_fails_before_it_writes_leaves_what_was_there(made, at):
    with (
        pytest.raises(ValueError, match="no such column"),
        making(INGEST, at, make_spec(), {}, shown_after=(ValueError,)),
    ):
        raise ValueError("no such column")
    assert os.listdir(at("interactions")) != []
    check(TRANSFORM, at, make_spec())


def test_new_data_are_not_mixed_with_what_was_made_of_the_old(made, make, at):
    make(INGEST, data="2")
    check(TRANSFORM, at, make_spec())
    for stage in (CORRELATE, TRAIN["control"], INDEX["control"], EVALUATE):
        with pytest.raises(
            ValueError, match=r"was made from other .*interactions.* than there are now\. Run `recsys-ssl"
        ):
            check(stage, at, make_spec())
    with pytest.raises(ValueError, match="encoded-catalogue was made from .* Run `recsys-ssl transform` again"):
        check(CORRELATE, at, make_spec())
    make(TRANSFORM)
    with pytest.raises(ValueError, match="towers was made from other .* Run `recsys-ssl train --arm control` again"):
        check(INDEX["control"], at, make_spec())


def test_parts_of_two_runs_of_one_command_are_refused(made, make, at):
    os.rename(at("catalogue"), at("kept"))
    make(INGEST, data="2")
    artifacts.copy_dir(at("kept"), at("catalogue"))
    with pytest.raises(ValueError, match="catalogue are of different runs of one command. Run `recsys-ssl ingest`"):
        check(TRANSFORM, at, make_spec())


@pytest.mark.parametrize(
    ("stage", "given", "told"),
    [
        (INDEX["treatment"], "train.steps=3", r"treatment/towers .*given: train\.steps \d+ there, 3 here"),
        (INDEX["control"], "train.steps=3", r"control/towers .*given: control\.steps \d+ there, 3 here"),
        (INDEX["treatment"], "train.ssl.weight=0.5", r"treatment/towers .*train\.ssl\.weight .* there, 0\.5 here"),
        (TRAIN["control"], "ingest.num_partitions=3", r"interactions .*ingest\.num_partitions 8 there, 3 here"),
        (EVALUATE, "index.reorder=7", r"control/items .*index\.reorder none there, 7 here"),
        (INDEX["control"], "train.ssl.weight=0.5", None),  # the control does not read it
        (INDEX["treatment"], "train.seed=0", None),  # as it was
        (EVALUATE, "evaluation.primary=mrr", None),  # its own
    ],
)
def test_settings_that_an_earlier_stage_did_not_have_are_refused(made, at, stage, given, told):
    if told is None:
        check(stage, at, make_spec(), given_settings([given]))
    else:
        with pytest.raises(ValueError, match=told):
            check(stage, at, make_spec(), given_settings([given]))


def test_further_seeds_are_parts_of_their_own(made, make, at):
    assert [stage("control") for stage in (training_stage, index_stage)] == [TRAIN["control"], INDEX["control"]]
    assert evaluation_stage(1) == EVALUATE
    evaluation = evaluation_stage(2)
    with pytest.raises(
        FileNotFoundError, match=r"needs control\.2/items, finished.*Run `recsys-ssl index --arm control\.2`"
    ):
        check(evaluation, at, make_spec())
    for name in ("control.2", "treatment.2"):
        with pytest.raises(FileNotFoundError, match=rf"needs {name}/towers.*Run `recsys-ssl train --arm {name}`"):
            check(index_stage(name), at, make_spec())
        make(training_stage(name), seed=1)
        make(index_stage(name))
        assert sorted(os.listdir(at(name))) == ["items", "queries", "towers"]
    check(evaluation, at, make_spec())
    # A seed that is given is that of the first training.
    check(evaluation, at, make_spec(), given_settings(["train.seed=0"]))
    with pytest.raises(ValueError, match=r"control/towers .*given: control\.seed 0 there, 5 here"):
        check(evaluation, at, make_spec(), given_settings(["train.seed=5"]))
    make(TRANSFORM, data="2")
    make(INGEST, data="2")
    with pytest.raises(ValueError, match="was made from other"):
        check(evaluation, at, make_spec())
    provenance.outdate(at("treatment.2", "towers"))
    with pytest.raises(FileNotFoundError, match=r"needs treatment\.2/towers, finished"):
        check(index_stage("treatment.2"), at, make_spec())


def test_the_seed_of_a_further_training_that_is_not_the_next_is_refused(made, make, at):
    make(training_stage("control.2"), seed=7)
    with pytest.raises(
        ValueError, match=r"control\.2/towers .*control\.seed 7 there, 1 here.*Run `recsys-ssl train --arm control\.2`"
    ):
        check(index_stage("control.2"), at, make_spec(), given_settings(["train.seed=0"]))


def test_what_the_report_clusters_by_is_no_matter_of_a_recommender():
    features = [*SPEC["items"]["features"], {"name": "genre", "kind": "categorical"}]
    items = {"id": "film", "table": {"paths": ["i.csv"]}, "features": features}
    before, now = make_spec(items=items), make_spec(items=items, evaluation={"cluster_by": "genre"})
    (change,) = manifests._spec_differences(json.loads(before.to_json()), now)
    assert change == 'evaluation.cluster_by none there, "genre" here'
    assert change.startswith(manifests._OF_REPORTS)


def test_other_code_is_told_but_not_refused(made, at, monkeypatch, caplog):
    monkeypatch.setattr(manifests, "source_hash", lambda *modules: "new")
    check(TRANSFORM, at, make_spec())
    assert [record.getMessage() for record in caplog.records] == [
        "what `recsys-ssl ingest` made is of another version of the code"
    ]


def test_a_recommender_is_asked_with_its_own_spec_and_log(made, make, at):
    places = at("treatment", "recommender"), at("interactions"), at("catalogue")
    check_places(make_spec(evaluation={"group_by": "event"}), *places)
    for mask, before in (("mask_seen", True), ("mask_disliked", False)):
        label = {"label": {"column": "rating", "threshold": 4}}
        now = make_spec(evaluation={mask: not before}, events={**SPEC["events"], **label})
        told = f"evaluation.{mask} {str(before).lower()} there, {str(not before).lower()} here"
        with pytest.raises(ValueError, match=told):
            check_places(now, *places)
    with pytest.raises(ValueError, match="another spec: name"):
        check_places(make_spec(name="books"), *places)
    make(INGEST, data="2")
    with pytest.raises(ValueError, match="made from other interactions than there are now"):
        check_places(make_spec(), *places)


@pytest.mark.parametrize(
    ("part", "command"),
    [
        ("treatment/recommender", "index --arm treatment"),
        ("interactions", "ingest"),
        ("catalogue", "ingest"),
    ],
)
def test_a_recommender_is_not_asked_when_a_part_was_begun_anew(made, at, part, command):
    provenance.outdate(at(part))
    told = f"{part} must be whole. .* was not finished. Run `recsys-ssl {command}` again"
    with pytest.raises(ValueError, match=told):
        check_places(make_spec(), at("treatment", "recommender"), at("interactions"), at("catalogue"))


def test_parts_without_any_manifest_are_of_an_earlier_version(made, at):
    places = at("treatment", "recommender"), at("interactions"), at("catalogue")
    for place in places:
        os.remove(os.path.join(place, artifacts.MANIFEST_FILE))
    check_places(make_spec(), *places)


def test_a_log_that_a_failed_ingestion_left_unsigned_is_not_the_one_that_was_learnt(made, at):
    os.remove(at("interactions", artifacts.MANIFEST_FILE))
    with pytest.raises(ValueError, match="made from other interactions than there are now"):
        check_places(make_spec(), at("treatment", "recommender"), at("interactions"), at("catalogue"))


def test_an_output_of_another_command_is_refused(made, at):
    artifacts.copy_dir(at("control", "towers"), at("treatment", "towers"))
    with pytest.raises(
        ValueError,
        match="treatment/towers must be made by `recsys-ssl train --arm treatment`. Received: an output of "
        "`recsys-ssl train --arm control`. Run `recsys-ssl train --arm treatment` again",
    ):
        check(INDEX["treatment"], at, make_spec())


def test_a_damaged_manifest_says_what_to_delete(made, at):
    Path(at("catalogue", "manifest.json")).write_text('{"stage": "inge')
    with pytest.raises(ValueError, match=r"catalogue/manifest\.json is damaged\. Delete .*/catalogue "):
        check(TRANSFORM, at, make_spec())


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda path: os.truncate(path, 0), r"part is damaged, or not whole\. Received: 0 bytes of 1\."),
        (os.remove, r"part is missing\."),
    ],
    ids=["cut", "missing"],
)
class TestDamage:
    @pytest.mark.parametrize("stage", [TRANSFORM, INDEX["control"], EVALUATE], ids=lambda stage: stage.command)
    def test_a_part_with_a_damaged_file_is_not_read(self, made, at, stage, damage, told):
        damage(at("catalogue", "part"))
        with pytest.raises(artifacts.DamagedError, match=rf"catalogue/{told} Run `recsys-ssl ingest` again\."):
            check(stage, at, make_spec())
        check(TRAIN["control"], at, make_spec())  # which does not read it

    @pytest.mark.parametrize("part", ["treatment/recommender", "interactions", "catalogue"])
    def test_a_recommender_is_not_asked(self, made, at, part, damage, told):
        damage(at(part, "part"))
        with pytest.raises(artifacts.DamagedError, match=rf"{part}/{told} Run `recsys-ssl "):
            check_places(make_spec(), at("treatment", "recommender"), at("interactions"), at("catalogue"))


def test_files_that_were_added_and_manifests_without_files_are_no_damage(made, at):
    Path(at("catalogue", "added")).touch()
    path = Path(at("interactions", artifacts.MANIFEST_FILE))
    older = json.loads(path.read_text())
    assert older.pop("files") == {"part": 1}
    path.write_text(json.dumps(older))
    os.truncate(at("interactions", "part"), 0)
    for stage in manifests.STAGES:
        check(stage, at, make_spec())


# --- Searches -----------------------------------------------------------------------------------------


def test_what_would_be_made_again_is_current(at, make, code, monkeypatch):
    config = RunConfig()
    facts = {"data": "1"}
    assert not is_current(INGEST, at, make_spec(), config.ingest, facts)
    make(INGEST)
    make(TRANSFORM)
    assert is_current(INGEST, at, make_spec(), config.ingest, facts)
    assert is_current(TRANSFORM, at, make_spec(), {})
    assert not is_current(INGEST, at, make_spec(), config.ingest, {"data": "2"})
    assert not is_current(INGEST, at, make_spec(name="others"), config.ingest, facts)
    changed = dataclasses.replace(config.ingest, num_partitions=config.ingest.num_partitions + 1)
    assert not is_current(INGEST, at, make_spec(), changed, facts)
    make(INGEST, data="2")
    assert not is_current(TRANSFORM, at, make_spec(), {})
    monkeypatch.setattr(manifests, "source_hash", lambda *modules: "new")
    assert not is_current(INGEST, at, make_spec(), config.ingest, {"data": "2"})


def test_a_search_reads_what_training_reads():
    for arm, training in TRAIN.items():
        stage = tuning_stage(arm)
        assert (stage.reads, stage.makes, stage.section) == (training.reads, (f"{arm}/tuned",), training.section)
