"""The pipeline's graph: its order, its gate, and what makes a component run again."""

import json
import os
from types import SimpleNamespace

import pytest
from google.protobuf.json_format import MessageToJson
from tfx.dsl.compiler import compiler

from pipelines import retrieval
from pipelines.config import parse_overrides
from pipelines.retrieval import create_pipeline
from recsys_ssl.spec import FeatureSpec

SPEC = {
    "name": "films",
    "events": {"paths": ["events*.csv"], "query_id": "user", "item_id": "film", "timestamp": {"column": "time"}},
    "items": {"table": {"paths": ["films.csv"]}, "id": "film", "features": [{"name": "film", "kind": "id"}]},
    "queries": {"id": "user", "features": [{"name": "user", "kind": "id"}]},
}
# Top to bottom as the data flow.
ORDER = [
    *("IngestLogs", "DeriveSchemas"),
    *("Describe.interactions", "Validate.interactions", "Describe.catalogue", "Validate.catalogue", "StopOnAnomalies"),
    *("TransformFeatures", "CorrelateFeatures"),
    *("Train.control", "Train.treatment", "Embed.control", "Embed.treatment", "IndexItems"),
    *("EvaluateArms", "Pusher", "PublishResults"),
]


@pytest.fixture
def data_dir(tmp_path):
    for name in ("events-1.csv", "events-2.csv", "films.csv", "unrelated.csv"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    return str(tmp_path / "data")


@pytest.fixture
def build(tmp_path, data_dir):
    """Builds the pipeline and returns its compiled nodes by id: what the runner runs and the cache compares."""

    def build(overrides=(), beam_args=(), spec=SPEC, data_dir=data_dir):
        config = parse_overrides(overrides)
        pipeline = create_pipeline(
            FeatureSpec.model_validate(spec), data_dir, str(tmp_path / "work"), config, beam_args
        )
        ir = compiler.Compiler().compile(pipeline)
        return {node.pipeline_node.node_info.id: node.pipeline_node for node in ir.nodes}

    return build


def properties(node):
    """Property name -> value of a compiled node."""
    found = {name: value.field_value for name, value in node.parameters.parameters.items()}
    return {name: getattr(value, value.WhichOneof("value")) for name, value in found.items()}


def changed(before, after):
    return [name for name in ORDER if properties(before[name]) != properties(after[name])]


def downstream(nodes, names):
    """The nodes that run again when `names` do: themselves and all that follow, in order."""
    found = set(names)
    for name in ORDER:
        if found & set(nodes[name].upstream_nodes):
            found.add(name)
    return [name for name in ORDER if name in found]


def test_components_are_listed_in_the_order_of_the_data_flow(build, monkeypatch):
    listed = []
    real = retrieval.pipeline.Pipeline

    def make_pipeline(components, **settings):
        listed.extend(component.id for component in components)
        return real(components=components, **settings)

    monkeypatch.setattr(retrieval, "pipeline", SimpleNamespace(Pipeline=make_pipeline))
    nodes = build()
    assert listed == ORDER
    place = {name: i for i, name in enumerate(ORDER)}
    assert nodes.keys() == place.keys()
    late = [(up, name) for name, node in nodes.items() for up in node.upstream_nodes if place[up] >= place[name]]
    assert late == []


def test_every_component_is_cached_and_the_store_lies_in_the_working_directory(tmp_path, data_dir):
    pipeline = create_pipeline(FeatureSpec.model_validate(SPEC), data_dir, str(tmp_path), parse_overrides([]))
    assert pipeline.enable_cache
    assert pipeline.pipeline_info.pipeline_root == str(tmp_path / "tfx")
    assert pipeline.metadata_connection_config.sqlite.filename_uri == str(tmp_path / "tfx" / "metadata.db")


def test_nothing_is_transformed_before_the_gate_has_passed(build):
    nodes = build()
    assert set(nodes["StopOnAnomalies"].upstream_nodes) == {"Validate.interactions", "Validate.catalogue"}
    assert "StopOnAnomalies" in nodes["TransformFeatures"].upstream_nodes
    behind = downstream(nodes, ["StopOnAnomalies"])
    assert behind == ORDER[ORDER.index("StopOnAnomalies") :]
    assert set(behind) == set(downstream(nodes, ["TransformFeatures"])) | {"StopOnAnomalies"}


def test_both_arms_get_the_same_data_and_differ_in_their_settings_only(build):
    nodes = build()
    control, treatment = nodes["Train.control"], nodes["Train.treatment"]
    assert control.inputs.inputs.keys() == treatment.inputs.inputs.keys()
    for name, source in control.inputs.inputs.items():
        assert MessageToJson(source) == MessageToJson(treatment.inputs.inputs[name])
    left, right = properties(control), properties(treatment)
    assert {name for name in left if left[name] != right[name]} == {"config"}
    left, right = json.loads(left["config"]), json.loads(right["config"])
    assert {name: (left[name], right[name]) for name in left if left[name] != right[name]} == {
        "regularizer": ("none", "item_masks")
    }
    assert properties(nodes["Embed.control"]) == properties(nodes["Embed.treatment"])


def test_the_index_and_the_pushed_model_are_the_treatments(build):
    nodes = build()
    assert set(nodes["IndexItems"].upstream_nodes) == {"Train.treatment", "Embed.treatment"}
    assert set(nodes["Pusher"].upstream_nodes) == {"IndexItems", "EvaluateArms"}
    assert {"Embed.control", "Embed.treatment", "IndexItems", "IngestLogs"} == set(nodes["EvaluateArms"].upstream_nodes)


def test_building_twice_changes_nothing_but_the_run(build):
    assert changed(build(), build()) == ["PublishResults"]


@pytest.mark.parametrize(
    ("override", "components"),
    [
        ("ingest.num_partitions=3", ["IngestLogs"]),
        ("train.steps=7", ["Train.control", "Train.treatment", "EvaluateArms"]),
        ("train.regularizer=rfm", ["Train.treatment", "EvaluateArms"]),
        ("control.seed=7", ["Train.control", "EvaluateArms"]),
        ("index.method=hash", ["IndexItems"]),
        ("evaluation.seed=7", ["EvaluateArms"]),
    ],
)
def test_a_setting_changes_the_components_that_read_it(build, override, components):
    assert changed(build(), build([override])) == [*components, "PublishResults"]


def test_beam_options_reach_every_beam_job(build, tmp_path, data_dir):
    option = "--direct_num_workers=2"
    nodes = build(beam_args=[option])
    with_jobs = [name for name in ORDER if json.loads(properties(nodes[name]).get("beam_args", "[]")) == [option]]
    assert with_jobs == ["IngestLogs", "TransformFeatures", "CorrelateFeatures", "Embed.control", "Embed.treatment"]
    # TFX's own components read the pipeline's.
    pipeline = create_pipeline(FeatureSpec.model_validate(SPEC), data_dir, str(tmp_path), parse_overrides([]), [option])
    assert pipeline.beam_pipeline_args[-1] == option


class TestData:
    def test_only_ingestion_sees_the_files(self, build, data_dir):
        before = build()
        with open(os.path.join(data_dir, "events-2.csv"), "a") as file:
            file.write("more")
        assert changed(before, build()) == ["IngestLogs", "PublishResults"]

    @pytest.mark.parametrize("name", ["films.csv", "events-3.csv"])
    def test_a_changed_table_or_another_file_counts(self, build, data_dir, name):
        before = build()
        with open(os.path.join(data_dir, name), "w") as file:
            file.write("what came later")
        assert "IngestLogs" in changed(before, build())

    def test_a_file_of_the_same_size_counts_by_its_time(self, build, data_dir):
        before = build()
        os.utime(os.path.join(data_dir, "films.csv"), (1e9, 1e9))
        assert "IngestLogs" in changed(before, build())

    def test_a_file_that_the_spec_does_not_read_does_not_count(self, build, data_dir):
        before = build()
        with open(os.path.join(data_dir, "unrelated.csv"), "a") as file:
            file.write("more")
        assert changed(before, build()) == ["PublishResults"]

    def test_a_relative_directory_is_the_same_data(self, build, data_dir, monkeypatch):
        before = build()
        monkeypatch.chdir(os.path.dirname(data_dir))
        assert changed(before, build(data_dir="data")) == ["PublishResults"]

    def test_a_file_named_by_its_full_path_counts(self, build, data_dir):
        path = os.path.join(data_dir, "unrelated.csv")
        spec = {**SPEC, "events": {**SPEC["events"], "paths": [path]}}
        before = build(spec=spec)
        with open(path, "a") as file:
            file.write("more")
        assert "IngestLogs" in changed(before, build(spec=spec))


def change_source(monkeypatch, source):
    """As if the sources of a package or module had been edited."""
    real = retrieval.source_hash
    monkeypatch.setattr(retrieval, "source_hash", lambda *names: real(*names) + " changed" * (source in names))


class TestCode:
    """TFX's cache does not see code: a component carries a hash of the sources that it runs."""

    @pytest.mark.parametrize(
        ("source", "components"),
        [
            ("recsys_ssl/logs", {"IngestLogs"}),
            ("recsys_ssl/features", {"TransformFeatures", "CorrelateFeatures", "Train.control", "Train.treatment"}),
            ("recsys_ssl/features/schema.py", {"DeriveSchemas"}),
            ("recsys_ssl/models", {"Train.control", "Train.treatment"}),
            ("recsys_ssl/training", {"Train.control", "Train.treatment"}),
            ("recsys_ssl/index", {"Embed.control", "Embed.treatment", "IndexItems"}),
            ("recsys_ssl/evaluation", {"EvaluateArms"}),
            ("recsys_ssl/evaluation/ranking.py", {"Train.control", "Train.treatment"}),
        ],
    )
    def test_a_changed_package_changes_the_components_that_run_it(self, build, monkeypatch, source, components):
        before = build()
        real = retrieval.source_hash
        monkeypatch.setattr(
            retrieval, "source_hash", lambda *packages: real(*packages) + " changed" * (source in packages)
        )
        assert set(changed(before, build())) - {"PublishResults"} == components

    @pytest.mark.parametrize(
        "source", ["recsys_ssl/spec.py", "recsys_ssl/examples.py", "pipelines/stages.py", "pipelines/components.py"]
    )
    def test_what_every_stage_reads_changes_all_of_them(self, build, source, monkeypatch):
        before = build()
        real = retrieval.source_hash
        monkeypatch.setattr(
            retrieval, "source_hash", lambda *packages: real(*packages) + " changed" * (source in packages)
        )
        own = [name for name in ORDER if "code" in properties(before[name])]
        assert changed(before, build()) == [*own, "PublishResults"]
        # The gate's and TFX's own components follow their inputs; the copies are made in every run.
        tfx = {"Describe", "Validate", "Pusher", "StopOnAnomalies", "PublishResults"}
        assert {name.split(".")[0] for name in set(ORDER) - set(own)} == tfx
