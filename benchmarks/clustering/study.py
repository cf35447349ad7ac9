"""The study: judges the vectors that there are, and writes claims, figures and tables of all trials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks import records
from benchmarks.claims import RESULTS, ROOT
from benchmarks.clustering import plots, summary, tables, trials, vector_files
from benchmarks.clustering.arms import DOMAINS
from benchmarks.processes import run_all

WORK = ROOT / "build" / "clustering"


def judge_all(images: Path | None, workers: int, results: Path = RESULTS) -> None:
    """Judges what is not judged yet; each trial is recorded as soon as it is done.

    Args:
        images: directory of the vectors of images; None: none of them. Those of the other domains are in WORK, each in
            a directory of its name.

    Raises:
        ValueError: a directory has no vectors, or others than it should.
    """
    path = results / trials.TRIALS.relative_to(RESULTS)
    known = {trial.key for trial in trials.read_trials(path)}
    planned = [pair for domain, directory in _list_directories(images) for pair in _plan(domain, directory)]
    pending = [pair for pair in planned if pair[0].key not in known]
    print(f"{len(planned) - len(pending)} of {len(planned)} files are judged", flush=True)
    if pending:
        path.parent.mkdir(parents=True, exist_ok=True)
        records.end_last_line(path)
        run_all(pending, trials.run_trial, path, workers, trials.use_one_thread)


def report(results: Path = RESULTS, root: Path = ROOT) -> None:
    """Writes the claims, the figures and the tables from the trials alone.

    Raises:
        ValueError: there are no trials.
    """
    found = trials.read_trials(results / trials.TRIALS.relative_to(RESULTS))
    facts = summary.summarise(found)
    summary.write_claims(facts, found, results)
    for picture in plots.draw_all(facts, root / "docs" / "images"):
        print(f"{picture.name} {picture.stat().st_size / 1000:.0f} kB")
    for page in tables.fill_pages(root, check=False):
        print(f"tables written: {page}")


def _list_directories(images: Path | None) -> Iterator[tuple[str, Path]]:
    for domain in DOMAINS:
        if domain == "images":
            if images is not None:
                yield domain, images
        elif (WORK / domain).is_dir():
            yield domain, WORK / domain
        else:
            print(f"{domain}: no vectors yet, run `python -m benchmarks.clustering {domain}`", flush=True)


def _plan(domain: str, directory: Path) -> list[tuple[trials.Trial, Path]]:
    return trials.plan(domain, vector_files.list_files(directory, DOMAINS[domain]))
