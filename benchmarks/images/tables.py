"""Writes the tables of encoders of images in docs/*.md, and the claims of their study.

python -m benchmarks.images.tables           from what is committed; records the claims and writes the tables
python -m benchmarks.images.tables --check   changes nothing and fails when a table is stale

A table stands between `<!-- images:NAME -->` and `<!-- /images:NAME -->`; what is between them is replaced.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import pages
from benchmarks.claims import RESULTS, ROOT, record
from benchmarks.evidence.cells import GAP, bold, grid, points, spread
from benchmarks.images import measured
from benchmarks.images.trials import (
    ARMS,
    BUDGET,
    FINETUNED,
    OBJECTIVES,
    SETTINGS,
    SHARES,
    UNTRAINED,
    Trial,
    label_budget,
    read_trials,
)
from recsys_ssl.evaluation.probes import summarise

TOPIC = "images"
COMMAND = "python -m benchmarks.images.run --data DIR"
_NOT_RUN = f"Not measured yet: `{COMMAND}`."
_PROBES = {"linear": "linear probe", "nearest": "20 nearest", "few_shot": "10 labels a class"}
_CLAIMS = {"linear": "linear_probe_acc", "nearest": "knn_acc", "few_shot": "ten_shot_acc"}
_TRAIN_IMAGES = 60_000


class Cell(NamedTuple):
    """An arm at a budget."""

    arm: str
    budget: float


Tests = Mapping[Cell, Sequence[Trial]]
"""Of each cell its tests, by seed."""


def read_tests(results: Path = RESULTS) -> Tests:
    """The tests of the committed trials, arms in their order, smaller budgets first; empty before anything ran."""
    found: dict[Cell, list[Trial]] = defaultdict(list)
    trials = [trial for trial in read_trials(results / TOPIC / "trials.jsonl") if trial.purpose == "test"]
    order = list(ARMS)
    for trial in sorted(trials, key=lambda trial: (trial.budget, order.index(trial.arm), trial.seed)):
        found[Cell(trial.arm, trial.budget)].append(trial)
    return found


def render_frozen(tests: Tests) -> str:
    """A row per arm whose vectors are judged as they are, and budget."""
    shown = {cell: of for cell, of in tests.items() if cell.arm in (*UNTRAINED, *OBJECTIVES)}
    if not shown:
        return _NOT_RUN
    means = {cell: {name: _mean(of, name) for name in _PROBES} for cell, of in shown.items()}
    best = {name: max(round(found[name], 4) for found in means.values()) for name in _PROBES}
    rows = []
    for cell, of in shown.items():
        cells = [bold(spread(_spread(of, name)), round(means[cell][name], 4) == best[name]) for name in _PROBES]
        epochs = of[0].steps[0] * SETTINGS["batch_size"] / _TRAIN_IMAGES
        trained = [f"{cell.budget:,.0f}", f"{epochs:.1f}"] if cell.budget else [GAP, GAP]
        rows.append([ARMS[cell.arm], *trained, str(len(of)), *cells])
    note = (
        "Accuracy on the test in %, mean ± half of the 95% interval over seeds of training and of the probe, best in "
        "bold. Probes see all 60,000 training images; core-seconds are those of pre-training."
    )
    return "\n\n".join([grid(["Vectors", "Core-seconds", "Epochs", "Seeds", *_PROBES.values()], rows), note])


def render_labels(tests: Tests) -> str:
    """A row per share of the labels and classifier: from scratch, pre-trained, and what the latter gains."""
    rows = []
    for share in SHARES:
        scratch, tuned = (_cells(tests, f"{kind}_{share}") for kind in ("supervised", "finetuned"))
        if not (scratch and tuned):
            continue
        rival = _best(tests, scratch)
        for cell in (*scratch, *tuned):
            of, before = tests[cell], _core_seconds_before(cell)
            gain = points({"difference": compare(of, tests[rival])}) if cell in tuned else GAP
            trained = [f"{before:,.0f}" if before else GAP, f"{cell.budget - before:,.0f}"]
            encoders = {trial.encoder_seed for trial in of}
            seeds = str(len(of)) if cell in scratch else f"{len(of)} ({len(encoders)})"
            rows.append([f"{share}%", *trained, seeds, spread(_spread(of, "accuracy")), gain])
    if not rows:
        return _NOT_RUN
    note = (
        "Core-seconds of training without labels and with them; accuracy on the test in %. Gain: less the best "
        "classifier from scratch with as many labels, in points with its 95% interval, paired by seed, which draws the "
        "labels too."
    )
    header = ["Labels", "Core-seconds before", "With labels", "Seeds (encoders)", "Accuracy", "Gain"]
    return "\n\n".join([grid(header, rows), note])


RENDERERS: Mapping[str, Callable[[Tests], str]] = {"frozen": render_frozen, "labels": render_labels}


def compare(ours: Sequence[Trial], theirs: Sequence[Trial]) -> tuple[float, float | None, float | None]:
    """Accuracy less that of others, mean over seeds that both have, and its 95% interval; None for one seed."""
    differences = np.subtract(*_paired(ours, theirs))
    mean = float(differences.mean())
    if len(differences) < 2:
        return mean, None, None
    half = _half_width(differences)
    return mean, mean - half, mean + half


def record_claims(tests: Tests, results: Path = RESULTS) -> None:
    """Probes of the longest pre-training that was tested, and what pre-training gains at few labels."""
    objectives = [cell for cell in tests if cell.arm in OBJECTIVES]
    if objectives:
        longest = max(cell.budget for cell in objectives)
        rivals = [cell for cell in objectives if cell.budget == longest]
        best = max(rivals, key=lambda cell: _mean(tests[cell], "linear"))
        command = _command(best, tests[best])
        for name, id in _CLAIMS.items():
            found = summarise([trial.metrics[name] for trial in tests[best]])
            interval = None if len(tests[best]) < 2 else (found.low, found.high)
            what = f"Fashion-MNIST, {ARMS[best.arm]}, {longest:,.0f} core-seconds of pre-training: {_PROBES[name]}"
            facts = {"value": found.mean, "interval": interval, "command": command}
            of_cell = sum(trial.seconds for trial in tests[best])
            record(TOPIC, id=id, what=what, seconds=of_cell, results=results, **facts)
    for share in (1, 10):
        scratch, tuned = (_cells(tests, f"{kind}_{share}") for kind in ("supervised", "finetuned"))
        if not (scratch and tuned):
            continue
        ours, rival = tuned[-1], _best(tests, scratch)
        mean, low, high = compare(tests[ours], tests[rival])
        if low is None:
            continue
        what = (
            f"Fashion-MNIST, {share}% of the labels: accuracy after {_core_seconds_before(ours):,.0f} core-seconds of "
            f"pre-training, less the best from scratch ({rival.budget:,.0f} core-seconds)"
        )
        id, bound = f"finetune_gain_{share}pct", f"{what}: lower end of the 95% interval over seeds"
        command = " && ".join(_command(cell, tests[cell]) for cell in (rival, ours))
        of_both = sum(trial.seconds for cell in (ours, rival) for trial in tests[cell])
        note = partial(record, TOPIC, command=command, seconds=of_both, results=results)
        note(id=id, what=what, value=mean, interval=(low, high))
        note(id=f"{id}_lower_bound", what=bound, value=low)


def _command(cell: Cell, tests: Sequence[Trial]) -> str:
    """What runs the tests of a cell."""
    last = max(tests, key=lambda trial: trial.seed)
    given = {
        "budget-core-seconds": None if cell.budget == BUDGET else f"{cell.budget:g}",
        "arms": cell.arm,
        "seeds": last.seed + 1,
        **{name.replace("_", "-"): last.settings.get(name) for name in ("final_share", "encoders")},
    }
    return " ".join([COMMAND, *(f"--{name} {value}" for name, value in given.items() if value is not None)])


def _cells(tests: Tests, arm: str) -> list[Cell]:
    """Of an arm, smaller budgets first."""
    return [cell for cell in tests if cell.arm == arm]


def _best(tests: Tests, cells: Sequence[Cell]) -> Cell:
    return max(cells, key=lambda cell: _mean(tests[cell], "accuracy"))


def _core_seconds_before(cell: Cell) -> float:
    """Of a classifier's budget, what it spends without labels."""
    return cell.budget - label_budget(cell.budget) if cell.arm in FINETUNED else 0.0


def fill_pages(root: Path, check: bool) -> list[str]:
    """Fills the pages from the committed trials and returns the stale ones; see `pages.fill_all`."""
    results = root / "benchmarks" / "results"
    tests = read_tests(results)
    return pages.fill_all(root, TOPIC, lambda name: _render(name, tests, results / TOPIC), check)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    results = root / "benchmarks" / "results"
    return pages.run(
        __doc__.splitlines()[0], arguments, root, lambda: record_claims(read_tests(results), results), fill_pages
    )


def _render(name: str, tests: Tests, directory: Path) -> str:
    if name in RENDERERS:
        return RENDERERS[name](tests)
    if name in measured.RENDERERS:
        return measured.render(name, directory)
    known = ", ".join([*RENDERERS, *measured.RENDERERS])
    raise ValueError(f"a table of images must be one of {known}. Received: {name!r}. Rename it.")


def _mean(tests: Sequence[Trial], name: str) -> float:
    return float(np.mean([trial.metrics[name] for trial in tests]))


def _spread(tests: Sequence[Trial], name: str) -> tuple[float, float | None]:
    values = np.array([trial.metrics[name] for trial in tests])
    # Pixels are the same for every seed.
    return float(values.mean()), None if len(values) < 2 or not np.ptp(values) else _half_width(values)


def _half_width(values: np.ndarray) -> float:
    found = summarise(values.tolist())
    return found.high - found.mean if found.high < 1 else found.mean - found.low


def _paired(ours: Sequence[Trial], theirs: Sequence[Trial]) -> tuple[list[float], list[float]]:
    by_seed = [{trial.seed: trial.metrics["accuracy"] for trial in tests} for tests in (ours, theirs)]
    both = sorted(set(by_seed[0]) & set(by_seed[1]))
    return [by_seed[0][seed] for seed in both], [by_seed[1][seed] for seed in both]


if __name__ == "__main__":
    sys.exit(main())
