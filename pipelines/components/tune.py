"""The components that search an arm's settings and train with the best of them."""

import dataclasses
import functools
import json
import os

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from pipelines.components.artifacts import Correlations, Tuned
from pipelines.properties import from_json
from pipelines.stages.train import fit_settings, train_arm
from pipelines.stages.tune import NO_VALIDATION, TowersTask, make_towers_objective
from recsys_ssl import artifacts, provenance
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.defaults import settle
from recsys_ssl.training.space import make_space
from recsys_ssl.training.train import TrainInputs
from recsys_ssl.tuning import workers
from recsys_ssl.tuning.config import SearchConfig
from recsys_ssl.tuning.report import Header, write_study

_BEST_FILE = "best_hyperparameters.txt"
"""As TFX's own Tuner names it, and its Trainer reads it."""


@component
def TuneTowers(  # noqa: N802
    encoded_interactions: InputArtifact[standard_artifacts.Examples],
    encoded_catalogue: InputArtifact[standard_artifacts.Examples],
    query_transform: InputArtifact[standard_artifacts.TransformGraph],
    item_transform: InputArtifact[standard_artifacts.TransformGraph],
    correlations: InputArtifact[Correlations],
    best_hyperparameters: OutputArtifact[standard_artifacts.HyperParameters],
    tuned: OutputArtifact[Tuned],
    spec: Parameter[str],
    config: Parameter[str],
    fixed: Parameter[str],
    search: Parameter[str],
    jobs: Parameter[int],
    tuning_dir: Parameter[str],
    code: Parameter[str],
):
    """Encoded interactions and catalogue -> the best settings on validation; a killed search goes on.

    `fixed` names settings that are not searched, as JSON; `tuning_dir` holds the study and checkpoints.
    """
    feature_spec, search_config = FeatureSpec.from_json(spec), from_json(SearchConfig, search)
    if not feature_spec.split.has_validation:
        raise ValueError(NO_VALIDATION)
    read = {
        "encoded-interactions": encoded_interactions.uri,
        "encoded-catalogue": encoded_catalogue.uri,
        "query-transform": query_transform.uri,
        "item-transform": item_transform.uri,
        "correlations": correlations.uri,
    }
    settings = {"shared": json.loads(config), "search": json.loads(search), "fixed": json.loads(fixed)}
    manifest = provenance.derive_manifest("run", spec, settings, code, read)
    inputs = TrainInputs(
        encoded_interactions.uri,
        encoded_catalogue.uri,
        query_transform.uri,
        item_transform.uri,
        os.path.join(correlations.uri, artifacts.CORRELATIONS_FILE),
    )
    shared, _ = fit_settings(feature_spec, from_json(TrainConfig, config), inputs.interactions_dir)
    space = {name: of for name, of in make_space(feature_spec, shared).items() if name not in json.loads(fixed)}
    # The budget may grow: a study is of the same name with more trials.
    endless = {**settings, "search": {**json.loads(search), "trials": None}}
    name = provenance.digest(json.dumps([spec, endless, code, manifest.inputs], sort_keys=True))
    task = TowersTask(spec, shared, "train", inputs, os.path.join(tuning_dir, "checkpoints", name))
    found = workers.run(
        workers.Search(
            os.path.join(tuning_dir, "journal.log"), name, code, space, search_config, True, task.most_reports
        ),
        functools.partial(make_towers_objective, task),
        jobs,
    )
    header = Header(feature_spec.name, f"treatment ({shared.ssl.regularizer})", "validation recall", "train")
    study = write_study(found, header, space, search_config, tuned.uri)
    values = {"space": [], "values": study["best"]["settings"]}
    artifacts.write_text(os.path.join(best_hyperparameters.uri, _BEST_FILE), artifacts.to_json(values))
    manifest.write(tuned.uri)


@component
def TrainTuned(  # noqa: N802
    encoded_interactions: InputArtifact[standard_artifacts.Examples],
    encoded_catalogue: InputArtifact[standard_artifacts.Examples],
    query_transform: InputArtifact[standard_artifacts.TransformGraph],
    item_transform: InputArtifact[standard_artifacts.TransformGraph],
    correlations: InputArtifact[Correlations],
    best_hyperparameters: InputArtifact[standard_artifacts.HyperParameters],
    towers: OutputArtifact[standard_artifacts.Model],
    run: OutputArtifact[standard_artifacts.ModelRun],
    spec: Parameter[str],
    config: Parameter[str],
    checkpoint_dir: Parameter[str],
    code: Parameter[str],
):
    """Encoded interactions and catalogue, and the best settings -> SavedModel of both towers, as `TrainTowers`."""
    best = json.loads(artifacts.read_text(os.path.join(best_hyperparameters.uri, _BEST_FILE)))["values"]
    train_config = settle(from_json(TrainConfig, config), best)
    read = {
        "encoded-interactions": encoded_interactions.uri,
        "encoded-catalogue": encoded_catalogue.uri,
        "query-transform": query_transform.uri,
        "item-transform": item_transform.uri,
        "correlations": correlations.uri,
    }
    manifest = provenance.derive_manifest("run", spec, dataclasses.asdict(train_config), code, read)
    inputs = TrainInputs(
        encoded_interactions.uri,
        encoded_catalogue.uri,
        query_transform.uri,
        item_transform.uri,
        os.path.join(correlations.uri, artifacts.CORRELATIONS_FILE),
    )
    train_arm(FeatureSpec.from_json(spec), train_config, inputs, towers.uri, checkpoint_dir, run.uri)
    manifest.write(towers.uri)
