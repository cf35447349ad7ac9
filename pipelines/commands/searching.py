"""What searches of settings have in common: their options, a line that tells how far they are, and the winner."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer
from rich.console import Console

from pipelines.console import StageLines, plain, show_table
from pipelines.progress import PROGRESS

if TYPE_CHECKING:
    from recsys_ssl.tuning.config import Objective
    from recsys_ssl.tuning.results import Found
    from recsys_ssl.tuning.workers import Search


class SamplerName(str, Enum):
    """Who proposes the next trial."""

    random = "random"
    tpe = "tpe"
    multivariate = "tpe-multivariate"
    cmaes = "cmaes"


class PrunerName(str, Enum):
    """Who ends trials early."""

    none = "none"
    median = "median"
    hyperband = "hyperband"


Sampler = Annotated[SamplerName, typer.Option("--sampler", help="Who proposes the next trial.")]
Pruner = Annotated[PrunerName, typer.Option("--pruner", help="Who ends trials early that do badly.")]
Trials = Annotated[int, typer.Option("--trials", help="That the study has in the end.", min=1)]
Seconds = Annotated[
    Optional[float], typer.Option("--seconds", help="After so many no trial is begun, whatever --trials.", min=0)
]
Jobs = Annotated[int, typer.Option("--jobs", help="Processes that train.", min=1)]
Seed = Annotated[int, typer.Option("--seed", help="Of the search; that of the training is a setting.", min=0)]
Top = Annotated[int, typer.Option("--top", help="The best so many are trained anew, with fresh seeds.", min=1)]
FreshSeeds = Annotated[int, typer.Option("--fresh-seeds", help="So many; 0: the best trial wins.", min=0)]
Storage = Annotated[
    Optional[str],
    typer.Option(
        "--storage",
        help="A journal file or a database URL that several machines share; by default a journal file in --workdir.",
    ),
]
StudyName = Annotated[
    Optional[str],
    typer.Option("--study", help="Its name in the storage; by default made of what is searched, and of which data."),
]


def hash_facts(*facts: Any) -> str:
    """16 hexadecimal digits of what names a study."""
    from recsys_ssl.provenance import digest

    return digest(json.dumps([str(fact) for fact in facts]))


def run_search(
    lines: StageLines,
    title: str,
    search: Search,
    make_objective: Callable[[int], Objective],
    jobs: int,
    seconds: float | None,
) -> Found:
    """Runs a search under a line on the terminal; arguments and what is raised are those of `workers.run`."""
    from recsys_ssl.tuning import workers

    lines.start(title)
    tell = _Teller(search.config.trials, seconds, search.config.top * search.config.fresh_seeds, jobs)
    found = workers.run(search, make_objective, jobs, seconds, tell)
    lost = sum(trial.state == "failed" for trial in found.trials)
    PROGRESS.info(f"{len(found.ended)} trials" + (f", {lost} failed" if lost else ""))
    lines.finish()
    return found


class _Teller:
    """Turns the state of a study into a line, and asks how fast trials end since it was made."""

    def __init__(self, trials: int | None, seconds: float | None, fresh: int, jobs: int):
        self._trials, self._seconds, self._fresh, self._jobs = trials, seconds, fresh, jobs
        self._begun: tuple[float, int] | None = None

    def __call__(self, phase: str, found: Found) -> None:
        if phase == "search":
            PROGRESS.info(self.describe(found, time.monotonic()))
        else:
            done = sum(len(candidate.scores) for candidate in found.candidates)
            PROGRESS.info(f"the best with fresh seeds: {done} of {self._fresh} trainings")

    def describe(self, found: Found, now: float) -> str:
        """`12/50 trials  best 0.2345 in trial 7  130 trials/h, 17 min left`."""
        trained = sum(trial.repeats is None for trial in found.ended)
        if self._begun is None:
            self._begun = now, trained
        since, before = self._begun
        of = f"{len(found.ended)}/{self._trials}" if self._trials else f"{len(found.ended)}"
        parts = [f"{of} trials"]
        best = found.best_so_far()[-1] if found.trials else None
        if best is not None:
            slot = next(trial.slot for trial in found.trials if trial.score == best)
            parts.append(f"best {best:.4f} in trial {slot}")
        if trained > before and now > since:
            an_hour = 3600.0 * (trained - before) / (now - since)
            left = [3600.0 * (self._trials - len(found.ended)) / an_hour] if self._trials else []
            left += [max(0.0, self._seconds - (now - since))] if self._seconds is not None else []
            parts.append(f"{an_hour:,.0f} trials/h" + (f", {_minutes(min(left))} left" if left else ""))
        return "  ".join(parts)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:,.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def show_study(console: Console, directory: Path) -> None:
    """The candidates, the winner's lines, and where the files are."""
    study = json.loads((directory / "study.json").read_text(encoding="utf-8"))
    fresh = study["search"]["fresh_seeds"]
    names = [name.split(".", 1)[1] for name in study["space"]]
    rows = []
    for row in study["candidates"]:
        values = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row["settings"].values()]
        mean = ["–" if row["mean"] is None else f"{row['mean']:.4f}"] if fresh else []
        rows.append([str(row["slot"]), *values, f"{row['score']:.4f}", *mean])
    columns = ["trial", *names, "in the search", *(["fresh seeds"] if fresh else [])]
    console.print()
    counts = ", ".join(f"{count} {name}" for name, count in study["counts"].items() if count)
    show_table(console, f"{study['metric']}; {counts}", columns, rows, compact=True)
    console.print(f"[bold]best[/bold]: trial {study['best']['slot']}", highlight=False)
    for line in study["best"]["lines"]:
        console.print(f"  {plain(line)}", highlight=False, soft_wrap=True)
    console.print()
    for name in ("best.txt", "report.html", "study.json"):
        console.print(f"{name:<24} {plain(str(directory / name))}", highlight=False, soft_wrap=True)
    console.print(
        f"to train with it: --set {plain('@' + str(directory / 'best.txt'))}", highlight=False, soft_wrap=True
    )
