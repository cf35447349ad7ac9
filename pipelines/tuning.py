"""The tuning pipeline, top to bottom as the data flow: the data path of `retrieval`, a search, a training."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from tfx.orchestration import pipeline

from pipelines.checkpoints import checkpoints_dir
from pipelines.components.tune import TrainTuned, TuneTowers
from pipelines.config import RunConfig
from pipelines.properties import to_json
from pipelines.retrieval import assemble, create_data_path, training_code
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.tuning.config import SearchConfig


def create_tuning_pipeline(
    spec: FeatureSpec,
    data_dir: str,
    workdir: str,
    config: RunConfig,
    search: SearchConfig,
    fixed: Sequence[str] = (),
    jobs: int = 1,
    beam_args: Sequence[str] = (),
) -> pipeline.Pipeline:
    """Builds the pipeline of one data set.

    Args:
        data_dir: where the paths of the spec begin.
        workdir: receives the artifact store (`tfx/`), checkpoints, and the study (`tuning/`).
        config: what all trials share, in `config.train`.
        fixed: settings that are not searched, as behind `train.`; their values are those of `config.train`.
        jobs: processes that train.
        beam_args: options of any Beam runner, for every Beam job of the pipeline.
    """
    spec_json, root = spec.to_json(), os.path.abspath(workdir)

    # Logs become encoded interactions and catalogue, as in a whole run.
    data = create_data_path(spec, data_dir, workdir, config.ingest, beam_args)

    # Trials on the train split, judged on validation; the best few with fresh seeds.
    tune = TuneTowers(
        **data.encoded,
        spec=spec_json,
        config=to_json(config.train),
        fixed=json.dumps(sorted(fixed)),
        search=to_json(search),
        jobs=jobs,
        tuning_dir=os.path.join(root, "tuning"),
        code=training_code(spec, config.train, TuneTowers.__module__),
    )

    # The towers with the best settings.
    train = TrainTuned(
        **data.encoded,
        best_hyperparameters=tune.outputs["best_hyperparameters"],
        spec=spec_json,
        config=to_json(config.train),
        checkpoint_dir=checkpoints_dir(root, spec),
        code=training_code(spec, config.train, TrainTuned.__module__),
    )
    return assemble(spec, workdir, [*data.components, tune, train], beam_args)
