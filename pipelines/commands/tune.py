"""The command `tune`: a search of the settings of an arm."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands import data_path
from pipelines.commands.searching import (
    FreshSeeds,
    Jobs,
    Pruner,
    PrunerName,
    Sampler,
    SamplerName,
    Seconds,
    Seed,
    Storage,
    StudyName,
    Top,
    Trials,
    hash_facts,
    run_search,
    show_study,
)
from pipelines.commands.session import BeamArgs, DataDir, Settings, SpecPath, WorkDir, require_dir, session
from recsys_ssl.spec_files import load_spec

if TYPE_CHECKING:
    from pipelines.console import StageLines
    from recsys_ssl.logs.transforms import IngestConfig
    from recsys_ssl.spec import FeatureSpec


class ArmName(str, Enum):
    """Whose settings are searched."""

    treatment = "treatment"
    control = "control"


def tune(
    spec: SpecPath,
    data: DataDir,
    workdir: WorkDir,
    sampler: Sampler = SamplerName.tpe,
    trials: Trials = 50,
    seconds: Seconds = None,
    jobs: Jobs = 1,
    arm: Annotated[ArmName, typer.Option("--arm", help="Whose settings are searched.")] = ArmName.treatment,
    pruner: Pruner = PrunerName.none,
    seed: Seed = 0,
    top: Top = 3,
    fresh_seeds: FreshSeeds = 3,
    storage: Storage = None,
    study: StudyName = None,
    set_: Settings = None,
    beam: BeamArgs = None,
) -> None:
    """Searches the settings of an arm on validation; what --set gives is fixed. A killed search goes on.

    [dim]recsys-ssl tune SPEC --data DIR --workdir build/tuned --sampler tpe --trials 50 --jobs 2[/dim]
    """
    with session(workdir, "tune", is_alone=True) as (console, lines):
        feature_spec = load_spec(spec)
        require_dir(data)
        lines.start("Load TensorFlow")
        from pipelines.config import configure_training, flatten, given_settings, parse_overrides
        from pipelines.manifests import CORRELATE, TUNED, making, tuning_stage
        from pipelines.stages.train import fit_regularizer, fit_settings
        from pipelines.stages.tune import NO_VALIDATION, TowersTask, make_towers_objective
        from recsys_ssl import artifacts, provenance
        from recsys_ssl.encoders.store import hash_encoder
        from recsys_ssl.evaluation.metrics import choose_k
        from recsys_ssl.training.regularizers import REGULARIZERS
        from recsys_ssl.training.space import make_space
        from recsys_ssl.tuning.config import SearchConfig
        from recsys_ssl.tuning.report import Header, write_study
        from recsys_ssl.tuning.workers import Search

        run_config, given = parse_overrides(set_ or []), given_settings(set_ or [])
        config = fit_regularizer(feature_spec, configure_training(run_config, arm.value))
        section = "train" if arm is ArmName.treatment else "control"
        if not feature_spec.split.has_validation:
            raise ValueError(NO_VALIDATION)
        fixed = set(flatten(given[section]))
        space = {name: of for name, of in make_space(feature_spec, config).items() if name not in fixed}
        search_config = SearchConfig(sampler.value, pruner.value, trials, seed, top, fresh_seeds)
        lines.finish()

        def at(*parts: str) -> str:
            return str(workdir.joinpath(*parts))

        _prepare(lines, at, feature_spec, data, run_config.ingest, beam or [])
        inputs = data_path.name_inputs(at)
        config, _ = fit_settings(feature_spec, config, inputs.interactions_dir)
        stage = tuning_stage(arm.value)
        if REGULARIZERS[config.ssl.regularizer].needs_correlations:
            stage = stage._replace(reads=stage.reads + CORRELATE.makes)
        encoders = [hash_encoder(directory) for directory in config.pretrained.values()]
        about = hash_facts(feature_spec.to_json(), config, encoders, stage.code(feature_spec))
        data_digests = [provenance.read_whole(at(name)).digest for name in stage.reads]
        name = (
            study or f"{feature_spec.name} {arm.value} {hash_facts(about, data_digests, space, seed, sampler, pruner)}"
        )
        scratch = at("checkpoints", "tuning", hash_facts(name))
        task = TowersTask(feature_spec.to_json(), config, section, inputs, scratch)
        where = storage or at("tuning", "journal.log")
        search = Search(where, name, about, space, search_config, True, task.most_reports)
        make_objective = functools.partial(make_towers_objective, task)
        found = run_search(lines, f"tune {arm.value}", search, make_objective, jobs, seconds)
        k = choose_k(json.loads(artifacts.read_text(at("interactions", artifacts.SUMMARY_FILE)))["num_items"])
        subject, metric = f"{arm.value} ({config.ssl.regularizer})", f"validation recall@{k}"
        header = Header(feature_spec.name, subject, metric, section, tuple(set_ or []))
        settings = {"shared": dataclasses.asdict(config), "search": dataclasses.asdict(search_config), "study": name}
        with making(stage, at, feature_spec, settings, {"ingest": given["ingest"]}) as (tuned,):
            write_study(found, header, space, search_config, tuned)
        shutil.rmtree(scratch, ignore_errors=True)
        show_study(console, workdir / arm.value / TUNED)


def _prepare(
    lines: StageLines, at: data_path.At, spec: FeatureSpec, data: Path, config: IngestConfig, beam: Sequence[str]
) -> None:
    """Ingests, transforms and correlates, where what is there is not of the same data, spec and code."""
    from pipelines.manifests import CORRELATE, TRANSFORM, is_current

    for name, is_there, make in (
        (
            "ingest",
            lambda: data_path.has_interactions(at, spec, data, config),
            lambda: data_path.make_interactions(at, spec, data, config, beam),
        ),
        ("transform", lambda: is_current(TRANSFORM, at, spec, {}), lambda: data_path.make_codes(at, spec, beam)),
        ("correlate", lambda: is_current(CORRELATE, at, spec, {}), lambda: data_path.make_correlations(at, spec, beam)),
    ):
        lines.start(name)
        if is_there():
            lines.finish("[dim]=[/dim]", "as it was")
        else:
            make()
            lines.finish()
