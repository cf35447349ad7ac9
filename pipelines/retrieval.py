"""The retrieval pipeline, top to bottom as the data flow."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

import tensorflow_data_validation as tfdv
from tfx.components import ExampleValidator, StatisticsGen
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.orchestration import metadata, pipeline
from tfx.types import BaseChannel, channel

from pipelines.checkpoints import checkpoints_dir
from pipelines.components.check_serving import CheckServing
from pipelines.components.correlate import CorrelateFeatures
from pipelines.components.embed import EmbedArm
from pipelines.components.evaluate import EvaluateArms
from pipelines.components.gate import StopOnAnomalies
from pipelines.components.index import ExportControl, IndexItems
from pipelines.components.ingest import IngestLogs
from pipelines.components.publish import PublishResults
from pipelines.components.push import Pusher
from pipelines.components.schemas import DeriveSchemas
from pipelines.components.train import TrainTowers
from pipelines.components.transform import TransformFeatures
from pipelines.config import RunConfig, configure_training, list_trainings
from pipelines.properties import to_json
from pipelines.source_code import source_hash
from pipelines.stages.ingest import data_fingerprint
from pipelines.trainings import ARMS
from recsys_ssl import artifacts, kinds
from recsys_ssl.encoders.store import hash_encoder
from recsys_ssl.logs.transforms import IngestConfig
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig


def training_code(spec: FeatureSpec, config: TrainConfig, module: str = TrainTowers.__module__) -> str:
    """What decides a model besides its settings and data: sources of its component, and pre-trained encoders."""
    code = source_hash(module, *kinds.sources(spec.content_kinds, "encoder", "settings"))
    return " ".join([code, *(hash_encoder(directory) for directory in config.pretrained.values())])


class DataPath(NamedTuple):
    """From logs to what training reads."""

    ingest: BaseComponent
    transform: BaseComponent
    correlate: BaseComponent
    components: list[BaseComponent]
    """All of them, in the order of the data flow."""

    @property
    def encoded(self) -> dict[str, BaseChannel]:
        """What a trainer reads, by the names of its inputs."""
        names = "encoded_interactions", "encoded_catalogue", "query_transform", "item_transform"
        outputs = {name: self.transform.outputs[name] for name in names}
        return {**outputs, "correlations": self.correlate.outputs["correlations"]}


def create_data_path(
    spec: FeatureSpec, data_dir: str, workdir: str, config: IngestConfig, beam_args: Sequence[str] = ()
) -> DataPath:
    """Builds the components up to what training reads; arguments as `create_pipeline`."""
    spec_json, beam_json = spec.to_json(), json.dumps(list(beam_args))

    # Logs become interactions (train, eval, test) and a catalogue; bad records are kept apart and counted.
    ingest = IngestLogs(
        spec=spec_json,
        data_dir=os.path.abspath(data_dir),
        data_fingerprint=data_fingerprint(spec, data_dir),
        rejected_copy=os.path.join(os.path.abspath(workdir), "rejected"),
        config=to_json(config),
        beam_args=beam_json,
        code=source_hash(IngestLogs.__module__, *kinds.sources(spec.content_kinds, "column")),
    )
    interactions, catalogue = ingest.outputs["interactions"], ingest.outputs["catalogue"]

    # The spec says what the examples must look like; the statistics are held against it, anomalies stop the run.
    schemas = DeriveSchemas(spec=spec_json, code=source_hash(DeriveSchemas.__module__))
    gate_inputs, checks = {}, []
    for name, examples in (("interactions", interactions), ("catalogue", catalogue)):
        statistics = StatisticsGen(
            examples=examples,
            schema=schemas.outputs[name],
            # One pass with sketches instead of a shuffle of every value.
            stats_options=tfdv.StatsOptions(experimental_use_sketch_based_topk_uniques=True),
        ).with_id(f"Describe.{name}")
        validator = ExampleValidator(statistics=statistics.outputs["statistics"], schema=schemas.outputs[name]).with_id(
            f"Validate.{name}"
        )
        gate_inputs[name] = validator.outputs["anomalies"]
        checks += [statistics, validator]
    gate = StopOnAnomalies(**gate_inputs, code=source_hash(StopOnAnomalies.__module__))

    # Features become integer codes, by the graph that will serve.
    transform = TransformFeatures(
        interactions=interactions,
        catalogue=catalogue,
        spec=spec_json,
        beam_args=beam_json,
        code=source_hash(TransformFeatures.__module__),
    )
    transform.add_upstream_node(gate)

    # Which item features tell of each other: what correlated feature masking hides together.
    correlate = CorrelateFeatures(
        encoded_catalogue=transform.outputs["encoded_catalogue"],
        spec=spec_json,
        beam_args=beam_json,
        code=source_hash(CorrelateFeatures.__module__),
    )
    return DataPath(ingest, transform, correlate, [ingest, schemas, *checks, gate, transform, correlate])


def create_pipeline(
    spec: FeatureSpec, data_dir: str, workdir: str, config: RunConfig, beam_args: Sequence[str] = ()
) -> pipeline.Pipeline:
    """Builds the pipeline of one data set.

    Args:
        data_dir: where the paths of the spec begin.
        workdir: receives the artifact store (`tfx/`), checkpoints, pushed models and the published results.
        beam_args: options of any Beam runner, for every Beam job of the pipeline.
    """
    spec_json, beam_json = spec.to_json(), json.dumps(list(beam_args))
    data = create_data_path(spec, data_dir, workdir, config.ingest, beam_args)
    interactions, catalogue = data.ingest.outputs["interactions"], data.ingest.outputs["catalogue"]

    # Both arms are trained on the same examples, once with each seed, and embed the catalogue and the test queries.
    trainers, embedders = {}, {}
    for names in zip(*(list_trainings(config, arm) for arm in ARMS)):
        for name in names:
            train_config = configure_training(config, name)
            trainers[name] = TrainTowers(
                **data.encoded,
                spec=spec_json,
                config=to_json(train_config),
                checkpoint_dir=checkpoints_dir(os.path.abspath(workdir), spec),
                code=training_code(spec, train_config),
            ).with_id(f"Train.{name}")
            embedders[name] = EmbedArm(
                towers=trainers[name].outputs["towers"],
                interactions=interactions,
                catalogue=catalogue,
                spec=spec_json,
                beam_args=beam_json,
                code=source_hash(EmbedArm.__module__),
            ).with_id(f"Embed.{name}")
    control, treatment = (
        channel.union([embedders[name].outputs["embeddings"] for name in list_trainings(config, arm)])
        if config.evaluation.seeds > 1
        else embedders[arm].outputs["embeddings"]
        for arm in ARMS
    )

    # The catalogue of the treatment, trained with its first seed, becomes an index inside one servable model, and what
    # the log knows of queries and items lies beside it.
    index = IndexItems(
        towers=trainers["treatment"].outputs["towers"],
        embeddings=embedders["treatment"].outputs["embeddings"],
        interactions=interactions,
        catalogue=catalogue,
        spec=spec_json,
        config=to_json(config.index),
        code=source_hash(IndexItems.__module__),
    )

    # The control's first seed is served too, so that people can look at both side by side.
    control_model = ExportControl(
        towers=trainers["control"].outputs["towers"],
        embeddings=embedders["control"].outputs["embeddings"],
        interactions=interactions,
        catalogue=catalogue,
        spec=spec_json,
        code=source_hash(ExportControl.__module__),
    )

    # Both arms answer the same held-out queries; the report decides whether the model is blessed.
    evaluate = EvaluateArms(
        interactions=interactions,
        catalogue=catalogue,
        control=control,
        treatment=treatment,
        index=index.outputs["index"],
        recommender=index.outputs["recommender"],
        spec=spec_json,
        config=to_json(config.evaluation),
        code=source_hash(EvaluateArms.__module__),
    )

    # What is served must be what was judged: logged queries get the answers that the pipeline computed.
    check = CheckServing(
        recommender=index.outputs["recommender"],
        brute_force_recommender=index.outputs["brute_force_recommender"],
        embeddings=embedders["treatment"].outputs["embeddings"],
        interactions=interactions,
        code=source_hash(CheckServing.__module__),
    )

    # Only a model that both bless is pushed; the results lie in fixed places either way.
    pusher = Pusher(
        model=index.outputs["recommender"],
        model_blessing=evaluate.outputs["blessing"],
        infra_blessing=check.outputs["blessing"],
        versions_dir=os.path.join(os.path.abspath(workdir), "pushed", spec.name),
        keep=config.push.keep,
    )
    publish = PublishResults(
        report=evaluate.outputs["report"],
        index=index.outputs["index"],
        correlations=data.correlate.outputs["correlations"],
        recommender=index.outputs["recommender"],
        inverted_lists_recommender=index.outputs["inverted_lists_recommender"],
        brute_force_recommender=index.outputs["brute_force_recommender"],
        control_recommender=control_model.outputs["recommender"],
        rejected=data.ingest.outputs["rejected"],
        interactions=interactions,
        catalogue=catalogue,
        workdir=os.path.abspath(workdir),
        run_id=datetime.now(timezone.utc).isoformat(),
    )

    return assemble(
        spec,
        workdir,
        [
            *data.components,
            *trainers.values(),
            *embedders.values(),
            index,
            control_model,
            check,
            evaluate,
            pusher,
            publish,
        ],
        beam_args,
    )


def assemble(
    spec: FeatureSpec, workdir: str, components: Sequence[BaseComponent], beam_args: Sequence[str]
) -> pipeline.Pipeline:
    """A cached pipeline whose artifact store lies in the working directory."""
    root = os.path.join(os.path.abspath(workdir), "tfx")
    return pipeline.Pipeline(
        pipeline_name=spec.name,
        pipeline_root=root,
        components=list(components),
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            os.path.join(root, artifacts.METADATA_FILE)
        ),
        # Without this TFX builds a source distribution for every Beam job.
        beam_pipeline_args=["--sdk_container_image=none", *beam_args],
    )
