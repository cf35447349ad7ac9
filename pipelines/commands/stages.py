"""The stages of the pipeline one by one, each a command."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from pipelines.commands.data_path import make_codes, make_correlations, make_interactions, name_inputs
from pipelines.commands.results import show_cautions, show_report
from pipelines.commands.session import BeamArgs, DataDir, Settings, SpecPath, WorkDir, require_dir, stage
from pipelines.console import make_console
from recsys_ssl.spec_files import load_spec

ArmName = Annotated[
    str, typer.Option("--arm", help="control or treatment; control.2 is the control with its second seed, and so on.")
]


def ingest(spec: SpecPath, data: DataDir, workdir: WorkDir, set_: Settings = None, beam: BeamArgs = None) -> None:
    """Logs and tables -> interactions, catalogue, rejected records.

    [dim]recsys-ssl ingest SPEC --data DIR --workdir build/steps[/dim]
    """
    with stage(workdir, "ingest") as at:
        feature_spec = load_spec(spec)
        require_dir(data)
        from pipelines.config import parse_overrides
        from recsys_ssl.evaluation.cautions import list_cautions

        config = parse_overrides(set_ or []).ingest
        summary = make_interactions(at, feature_spec, data, config, beam or [])
        cautions = list_cautions(feature_spec, dataclasses.asdict(summary))
    show_cautions(make_console(), cautions)


def transform(spec: SpecPath, workdir: WorkDir, beam: BeamArgs = None) -> None:
    """Raw features -> integer codes.

    [dim]recsys-ssl transform SPEC --workdir build/steps[/dim]
    """
    with stage(workdir, "transform") as at:
        feature_spec = load_spec(spec)
        make_codes(at, feature_spec, beam or [])


def correlate(spec: SpecPath, workdir: WorkDir, beam: BeamArgs = None) -> None:
    """Mutual information between item features, with a heat map.

    [dim]recsys-ssl correlate SPEC --workdir build/steps[/dim]
    """
    with stage(workdir, "correlate") as at:
        feature_spec = load_spec(spec)
        make_correlations(at, feature_spec, beam or [])


def train(spec: SpecPath, workdir: WorkDir, arm: ArmName = "treatment", set_: Settings = None) -> None:
    """Trains one arm; a killed run goes on at its last checkpoint.

    [dim]recsys-ssl train SPEC --workdir build/steps --set train.ssl.regularizer=cfm --set train.steps=500[/dim]
    """
    with stage(workdir, f"train {arm}", arm) as at:
        feature_spec = load_spec(spec)
        from pipelines.checkpoints import checkpoints_dir
        from pipelines.config import configure_training, given_settings, parse_overrides
        from pipelines.manifests import CORRELATE, making, training_stage
        from pipelines.stages.train import train_arm
        from recsys_ssl.encoders.store import hash_encoder
        from recsys_ssl.training.regularizers import REGULARIZERS

        train_config = configure_training(parse_overrides(set_ or []), arm)
        inputs = name_inputs(at)
        training = training_stage(arm)
        if REGULARIZERS[train_config.ssl.regularizer].needs_correlations:
            training = training._replace(reads=training.reads + CORRELATE.makes)
        given = {"ingest": given_settings(set_ or [])["ingest"]}
        facts = {f"pretrained {kind}": hash_encoder(at_) for kind, at_ in train_config.pretrained.items()}
        with making(training, at, feature_spec, train_config, given, facts) as (towers,):
            checkpoint_dir = checkpoints_dir(str(workdir), feature_spec)
            train_arm(feature_spec, train_config, inputs, towers, checkpoint_dir, at(arm, "run"))


def index(spec: SpecPath, workdir: WorkDir, arm: ArmName = "treatment", set_: Settings = None, beam: BeamArgs = None):
    """Embeds the catalogue and the test queries, builds the ScaNN index and the servable models.

    [dim]recsys-ssl index SPEC --workdir build/steps --arm treatment[/dim]
    """
    with stage(workdir, f"index {arm}", arm) as at:
        feature_spec = load_spec(spec)
        from pipelines.config import given_settings, parse_overrides
        from pipelines.manifests import index_stage, making
        from pipelines.stages.check_serving import check_serving
        from pipelines.stages.embed import embed_arm
        from pipelines.stages.index import Served, index_arm
        from recsys_ssl.serving.queries import Places

        config, towers = parse_overrides(set_ or []).index, at(arm, "towers")
        given = {name: values for name, values in given_settings(set_ or []).items() if name != "index"}
        with making(index_stage(arm), at, feature_spec, config, given) as (items, queries, *of_index):
            embed_arm(feature_spec, towers, at("interactions"), at("catalogue"), items, queries, beam or [])
            if of_index:  # what a further seed embeds only the report reads, and that ranks exactly
                inputs = towers, items, queries, at("interactions"), at("catalogue")
                served = Served(*of_index)
                index_arm(feature_spec, *inputs, served, config)
                check_serving(served.scann, False, items, queries, at("interactions"))
                check_serving(served.brute_force, True, items, queries, at("interactions"))
        if arm == "treatment":
            Places(at("interactions"), at("catalogue"), at(arm, "recommender")).write(str(workdir))


def evaluate(spec: SpecPath, workdir: WorkDir, set_: Settings = None) -> None:
    """Compares both arms on the same held-out queries and writes the report.

    [dim]recsys-ssl evaluate SPEC --workdir build/steps[/dim]
    """
    with stage(workdir, "evaluate") as at:
        feature_spec = load_spec(spec)
        from pipelines.config import given_settings, list_trainings, parse_overrides
        from pipelines.manifests import evaluation_stage, making
        from pipelines.stages.evaluate import ArmDirs, evaluate_run
        from pipelines.trainings import ARMS

        config, given = parse_overrides(set_ or []), given_settings(set_ or [])
        control, treatment = (
            [ArmDirs(at(name, "items"), at(name, "queries")) for name in list_trainings(config, arm)] for arm in ARMS
        )
        treatment[0] = dataclasses.replace(treatment[0], index_dir=at("treatment", "index"))
        with making(evaluation_stage(config.evaluation.seeds), at, feature_spec, config.evaluation, given) as (report,):
            evaluate_run(
                feature_spec, control, treatment, at("interactions"), at("catalogue"), report, config.evaluation
            )
    show_report(make_console(), workdir)
