"""The pipeline's graph: its order, its gate, and what makes a component run again."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from google.protobuf.json_format import MessageToJson
from tfx.dsl.compiler import compiler

from pipelines import retrieval, source_code
from pipelines.checkpoints import checkpoints_dir
from pipelines.config import parse_overrides
from pipelines.retrieval import create_pipeline
from pipelines.trainings import ARMS
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import SslConfig

ROOT = Path(__file__).parents[2]
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
    *("Train.control", "Train.treatment", "Embed.control", "Embed.treatment", "IndexItems", "ExportControl"),
    *("CheckServing", "EvaluateArms", "Pusher", "PublishResults"),
]

# Each setting of the regularizer with another value than its default.
OTHER_SSL = [
    (
        field,
        {"towers": "both", "correlation": "normalised", "regularizer": "cfm", "batch_size": 9}.get(field.name, 0.25),
    )
    for field in dataclasses.fields(SslConfig)
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
    assert {name for name in left if left[name] != right[name]} == {"ssl"}
    left, right = left["ssl"], right["ssl"]
    assert {name: (left[name], right[name]) for name in left if left[name] != right[name]} == {
        "regularizer": ("none", "item_masks")
    }
    assert properties(nodes["Embed.control"]) == properties(nodes["Embed.treatment"])


def test_the_index_and_the_pushed_model_are_the_treatments(build):
    nodes = build()
    assert set(nodes["IndexItems"].upstream_nodes) == {"Train.treatment", "Embed.treatment", "IngestLogs"}
    assert set(nodes["ExportControl"].upstream_nodes) == {"Train.control", "Embed.control", "IngestLogs"}
    assert set(nodes["CheckServing"].upstream_nodes) == {"IndexItems", "Embed.treatment", "IngestLogs"}
    assert set(nodes["Pusher"].upstream_nodes) == {"IndexItems", "CheckServing", "EvaluateArms"}
    assert {"Embed.control", "Embed.treatment", "IndexItems", "IngestLogs"} == set(nodes["EvaluateArms"].upstream_nodes)


def test_several_seeds_train_each_arm_with_its_seed_and_those_after_it(build):
    before, nodes = build(), build(["evaluation.seeds=3", "train.seed=5", "control.seed=8"])
    further = [f"{stage}.{arm}.{number}" for stage in ("Train", "Embed") for number in (2, 3) for arm in ARMS]
    assert nodes.keys() == before.keys() | set(further)
    configs = {name: json.loads(properties(nodes[name])["config"]) for name in nodes if name.startswith("Train.")}
    seeds = {name: config.pop("seed") for name, config in configs.items()}
    for arm, first in (("control", 8), ("treatment", 5)):
        names = [f"Train.{arm}", f"Train.{arm}.2", f"Train.{arm}.3"]
        assert [seeds[name] for name in names] == [first, first + 1, first + 2]
        assert all(configs[name] == configs[names[0]] for name in names)
        for name in names:
            assert nodes[name.replace("Train", "Embed")].upstream_nodes[0] in (name, "IngestLogs")
            assert name in nodes[name.replace("Train", "Embed")].upstream_nodes
    # All are compared; what is indexed and pushed is the first seed's.
    embedded = {name for name in nodes if name.startswith("Embed.")}
    assert embedded | {"IndexItems", "IngestLogs"} == set(nodes["EvaluateArms"].upstream_nodes)
    assert set(nodes["IndexItems"].upstream_nodes) == {"Train.treatment", "Embed.treatment", "IngestLogs"}


def test_more_seeds_leave_what_there_is_in_the_cache(build):
    once, thrice = build(), build(["evaluation.seeds=3"])
    assert changed(once, thrice) == ["EvaluateArms", "PublishResults"]
    assert [name for name in thrice if name not in once] == [
        name for name in build(["evaluation.seeds=3"]) if name.endswith((".2", ".3"))
    ]


def test_building_twice_changes_nothing_but_the_run(build):
    assert changed(build(), build()) == ["PublishResults"]


@pytest.mark.parametrize(
    ("override", "components"),
    [
        ("ingest.num_partitions=3", ["IngestLogs"]),
        ("train.steps=7", ["Train.control", "Train.treatment"]),
        ("train.ssl.regularizer=rfm", ["Train.treatment"]),
        # The control reads none of the treatment's settings.
        *((f"train.ssl.{field.name}={value}", ["Train.treatment"]) for field, value in OTHER_SSL),
        ("control.seed=7", ["Train.control"]),
        ("index.method=hash", ["IndexItems"]),
        ("evaluation.seed=7", ["EvaluateArms"]),
    ],
)
def test_a_setting_changes_the_components_that_read_it(build, override, components):
    after = build([override])
    assert changed(build(), after) == [*components, "PublishResults"]
    # The settings that the report shows come with the embeddings, so it is made again.
    assert "EvaluateArms" in downstream(after, components)


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


# What a component's cache key begins at.
MODULES = {
    "IngestLogs": "pipelines.components.ingest",
    "DeriveSchemas": "pipelines.components.schemas",
    "StopOnAnomalies": "pipelines.components.gate",
    "TransformFeatures": "pipelines.components.transform",
    "CorrelateFeatures": "pipelines.components.correlate",
    "Train.control": "pipelines.components.train",
    "Train.treatment": "pipelines.components.train",
    "Embed.control": "pipelines.components.embed",
    "Embed.treatment": "pipelines.components.embed",
    "IndexItems": "pipelines.components.index",
    "ExportControl": "pipelines.components.index",
    "CheckServing": "pipelines.components.check_serving",
    "EvaluateArms": "pipelines.components.evaluate",
}
TRAIN, EMBED = ["Train.control", "Train.treatment"], ["Embed.control", "Embed.treatment"]
MOLECULES = {
    **SPEC,
    "items": {**SPEC["items"], "features": [*SPEC["items"]["features"], {"name": "structure", "kind": "molecule"}]},
}


class TestCode:
    """TFX's cache does not see code: a component carries a hash of the sources that it runs."""

    @pytest.fixture
    def edit(self, tmp_path, monkeypatch):
        """edit(path) adds a remark to a source, in a copy of the project."""
        for package in ("recsys_ssl", "pipelines"):
            shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(source_code, "ROOT", tmp_path)

        def edit(path):
            with open(tmp_path / path, "a", encoding="utf-8") as file:
                file.write("\n# a remark\n")

        return edit

    @pytest.mark.parametrize(
        ("path", "components"),
        [
            ("recsys_ssl/logs/records.py", ["IngestLogs"]),
            ("recsys_ssl/encoders/molecule/column.py", ["IngestLogs"]),
            ("recsys_ssl/features/schema.py", ["DeriveSchemas", "TransformFeatures", *TRAIN]),
            ("recsys_ssl/features/preprocessing.py", ["TransformFeatures", *TRAIN]),
            ("recsys_ssl/features/correlations.py", ["CorrelateFeatures", *TRAIN]),
            ("recsys_ssl/models/two_tower.py", TRAIN),
            ("recsys_ssl/encoders/molecule/settings.py", TRAIN),
            ("recsys_ssl/encoders/molecule/grover.py", TRAIN),
            ("recsys_ssl/encoders/whitening.py", TRAIN),
            ("recsys_ssl/loop.py", TRAIN),
            ("recsys_ssl/training/step.py", TRAIN),
            ("recsys_ssl/evaluation/ranking.py", [*TRAIN, "EvaluateArms"]),
            ("recsys_ssl/evaluation/report.py", ["EvaluateArms"]),
            ("recsys_ssl/serving/catalogue.py", ["EvaluateArms"]),
            ("recsys_ssl/index/embed.py", EMBED),
            ("recsys_ssl/index/export.py", ["IndexItems", "ExportControl"]),
            ("recsys_ssl/serving/lookup_writer.py", ["IndexItems", "ExportControl"]),
            ("pipelines/stages/embed.py", EMBED),
            ("pipelines/components/embed.py", EMBED),
            ("pipelines/components/gate.py", ["StopOnAnomalies"]),
            ("recsys_ssl/__init__.py", list(MODULES)),
            ("pipelines/__init__.py", list(MODULES)),
            ("recsys_ssl/encoders/finetune.py", []),
            ("recsys_ssl/encoders/molecule/scaffolds.py", []),
            ("recsys_ssl/encoders/molecule/predictor.py", []),
            ("recsys_ssl/encoders/molecule/pretext.py", []),
            ("recsys_ssl/encoders/pretrain.py", []),
            ("recsys_ssl/serving/recommender.py", ["CheckServing"]),
            ("recsys_ssl/serving/queries.py", []),
            ("recsys_ssl/datasets/simulate.py", []),
            ("pipelines/retrieval.py", []),
            ("pipelines/console.py", []),
            ("pipelines/commands/app.py", []),
        ],
    )
    def test_a_remark_in_a_source_changes_the_components_that_run_it(
        self, build, edit, loaded_modules, path, components
    ):
        before = build(spec=MOLECULES)
        edit(path)
        found = changed(before, build(spec=MOLECULES))
        assert found == [*components, "PublishResults"]
        module = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        starts = {
            name.split(",")[0]: name for name in loaded_modules
        }  # with the parts of molecules, where there are any
        assert components == [name for name, start in MODULES.items() if module in loaded_modules[starts[start]]]

    def test_molecules_are_nothing_to_a_recommender_without_any(self, build, edit):
        before = build()
        for name in ("column", "encoder", "grover", "settings"):
            edit(f"recsys_ssl/encoders/molecule/{name}.py")
        assert changed(before, build()) == ["PublishResults"]

    def test_the_template_of_the_report_counts(self, build, edit):
        before = build()
        edit("recsys_ssl/evaluation/report.html.jinja")
        assert changed(before, build()) == ["EvaluateArms", "PublishResults"]

    @pytest.mark.parametrize("name", ["smiles", "graph", "column"])
    def test_whatever_reads_molecules_runs_everything_from_ingestion_again(self, build, edit, name):
        before = build(spec=MOLECULES)
        edit(f"recsys_ssl/encoders/molecule/{name}.py")
        after = build(spec=MOLECULES)
        found = changed(before, after)
        assert "IngestLogs" in found
        assert downstream(after, found) == [name for name in ORDER if name != "DeriveSchemas"]

    def test_the_spec_is_everybodys(self, build, edit):
        before = build()
        edit("recsys_ssl/spec.py")
        after = build()
        found = changed(before, after)
        # It reads artifacts alone.
        assert set(MODULES) - set(found) == {"StopOnAnomalies"}
        assert downstream(after, found) == ORDER

    def test_every_component_but_the_copies_has_a_key_and_tfx_s_own_follow_their_inputs(self, build):
        nodes = build()
        own = [name for name in ORDER if "code" in properties(nodes[name])]
        assert own == list(MODULES)
        assert {name.split(".")[0] for name in set(ORDER) - set(own)} == {
            *("Describe", "Validate", "Pusher", "PublishResults")
        }

    @pytest.mark.parametrize(
        ("path", "is_new"),
        [
            ("recsys_ssl/training/step.py", True),
            ("recsys_ssl/evaluation/metrics.py", True),
            ("pipelines/components/train.py", False),
            ("pipelines/progress.py", False),
            ("recsys_ssl/encoders/finetune.py", False),
        ],
    )
    def test_checkpoints_are_those_of_the_code_that_decides_the_weights(self, build, edit, tmp_path, path, is_new):
        before = properties(build()["Train.control"])["checkpoint_dir"]
        edit(path)
        after = properties(build()["Train.control"])["checkpoint_dir"]
        assert (before != after) == is_new
        assert after == checkpoints_dir(str(tmp_path / "work"), FeatureSpec.model_validate(SPEC))
