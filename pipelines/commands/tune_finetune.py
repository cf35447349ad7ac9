"""The command `tune-finetune`: a search of the settings of `finetune`."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Annotated, Optional

import typer

from pipelines.commands.encoders import KindName
from pipelines.commands.predictors import TaskName, choose_split, guess_task
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
from pipelines.commands.session import Settings, WorkDir, session
from pipelines.progress import PROGRESS


def tune_finetune(
    kind: KindName,
    model: Annotated[Path, typer.Option("--model", help="Directory encoder/ of a pre-training.")],
    data: Annotated[Path, typer.Option("--data", help="CSV file of records, plain or .gz.")],
    column: Annotated[str, typer.Option("--column", help="Column of the raw content, e.g. of the SMILES.")],
    target: Annotated[list[str], typer.Option("--target", help="Column to predict; may be repeated.")],
    workdir: WorkDir,
    sampler: Sampler = SamplerName.tpe,
    trials: Trials = 50,
    seconds: Seconds = None,
    jobs: Jobs = 1,
    task: Annotated[
        Optional[TaskName], typer.Option("--task", help="By default a classification if all targets are 0 or 1.")
    ] = None,
    split: Annotated[
        Optional[str], typer.Option("--split", help="As of finetune; finetune.seed draws it, the same for all trials.")
    ] = None,
    pruner: Pruner = PrunerName.none,
    seed: Seed = 0,
    top: Top = 3,
    fresh_seeds: FreshSeeds = 3,
    storage: Storage = None,
    study: StudyName = None,
    set_: Settings = None,
) -> None:
    """Searches the settings of finetune on validation; what --set gives is fixed. A killed search goes on.

    [dim]recsys-ssl tune-finetune molecule --model build/molecules/encoder --data esol.csv --column smiles
    --target logSolubility --workdir build/tuned-esol --trials 30 --jobs 2[/dim]
    """
    with session(workdir, "tune-finetune", is_alone=True) as (console, lines):
        lines.start("Load TensorFlow")
        from pipelines.manifests import finetuning_code
        from pipelines.stages.tune_finetune import FinetuneTask, make_finetune_objective
        from recsys_ssl import artifacts, kinds, provenance
        from recsys_ssl.encoders import store
        from recsys_ssl.evaluation.prediction import METRICS
        from recsys_ssl.settings import parse, parse_section
        from recsys_ssl.tuning.config import SearchConfig
        from recsys_ssl.tuning.report import Header, write_study
        from recsys_ssl.tuning.workers import Search

        module = kinds.load(kind.value, "predict")
        config = parse_section("finetune", kinds.load(kind.value, "settings").FinetuneConfig, set_ or [])
        fixed = parse(set_ or [], ["finetune"])["finetune"]
        space = {name: of for name, of in kinds.load(kind.value, "space").FINETUNE.items() if name not in fixed}
        search_config = SearchConfig(sampler.value, pruner.value, trials, seed, top, fresh_seeds)
        parts = choose_split(module, split)
        lines.finish()
        lines.start("Read records")
        table = module.read_table(data, column, target, encoder=store.load(model, kind.value))
        chosen_task = task.value if task else guess_task(table.targets)
        PROGRESS.info(f"{len(table.contents):,} records, {len(table.rejections):,} rejected")
        lines.finish()
        encoder, code = store.hash_encoder(str(model)), finetuning_code(kind.value)
        shared = kind.value, column, target, chosen_task, parts, config, encoder, code
        about = hash_facts(*shared, provenance.digest("\n".join(table.texts)), table.targets.tobytes().hex())
        name = study or f"{kind.value} {hash_facts(about, space, seed, sampler, pruner)}"
        scratch = str(workdir / "checkpoints" / "tuning" / hash_facts(name))
        of_data = str(data), column, tuple(target), chosen_task, parts
        work = FinetuneTask(kind.value, str(model), *of_data, config, scratch)
        where = storage or str(workdir / "tuning" / "journal.log")
        larger_is_better = chosen_task == "classification"
        search = Search(where, name, about, space, search_config, larger_is_better, work.most_reports)
        make_objective = functools.partial(make_finetune_objective, work)
        found = run_search(lines, f"tune {kind.value}", search, make_objective, jobs, seconds)
        metric = f"validation {METRICS[chosen_task]}"
        header = Header(data.name, f"finetune {kind.value}", metric, "finetune", tuple(set_ or []))
        with artifacts.whole_directory(workdir / "tuned") as tuned:
            write_study(found, header, space, search_config, tuned)
        shutil.rmtree(scratch, ignore_errors=True)
        show_study(console, workdir / "tuned")
