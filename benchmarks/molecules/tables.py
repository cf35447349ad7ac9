"""Writes the tables of molecules in README.md and docs/*.md from the trials, and `benchmarks/results/molecules.json`.

python -m benchmarks.molecules.tables            writes the tables and the claims
python -m benchmarks.molecules.tables --check    changes nothing and fails when a table is stale
python -m benchmarks.molecules.tables --print    shows them, whatever pages there are

A table stands between `<!-- molecules:NAME -->` and `<!-- /molecules:NAME -->`, NAME balanced, deterministic or
masking; what is between them is replaced. Numbers of the two splits must not be compared.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from scipy.stats import ttest_rel

from benchmarks import pages
from benchmarks.claims import RESULTS, ROOT, keep_recorded, load
from benchmarks.evidence.cells import grid
from benchmarks.molecules.claims import CONTROL, TREATMENT, make_claims, write_claims
from benchmarks.molecules.datasets import DATASETS, Family
from benchmarks.molecules.trials import ARMS, TRIALS, Trial, read_trials, sizes_of
from recsys_ssl.evaluation.crossed import interval_over_seeds
from recsys_ssl.evaluation.statistics import adjust_holm

MASKING_FILE = "masking.jsonl"
"""Beside the trials: those of two frozen encoders, see docs/molecules.md."""
_GAP = "–"


class Gain(NamedTuple):
    """The treatment over the control on the same seeds; positive is better, for errors too."""

    mean: float
    half: float
    """Half the 95% t-interval over seeds; NaN for one seed."""
    relative: np.ndarray
    """[num_seeds] float64, gain of each seed over the control's metric of that seed."""
    p_value: float
    """Paired t-test; NaN for one seed, or where all seeds gain alike."""
    seeds: tuple[int, ...]


class Table(NamedTuple):
    """One split family."""

    cells: Mapping[tuple[str, str], Mapping[int, float]]
    """(data set, arm) -> seed -> test metric."""
    gains: Mapping[str, Gain]
    """Data set -> pre-trained over scratch, where both have a seed in common."""
    holm: Mapping[str, float]
    """Data set -> p of its gain after Holm's correction for the data sets."""
    overall: tuple[float, float] | None
    """Of the gains, see `_average`; None where no seed is common to all data sets."""


def summarise(trials: Sequence[Trial], family: Family) -> Table:
    """The numbers of one table; of several trials of one arm, data set and seed, the last one counts.

    Raises:
        ValueError: a pre-trained and a scratch trial of one seed have different settings or sizes.
    """
    newest = {(t.dataset, t.arm, t.seed): t for t in trials if t.family == family and t.metrics is not None}
    cells: dict[tuple[str, str], dict[int, float]] = {}
    for (dataset, arm, seed), trial in sorted(newest.items()):
        cells.setdefault((dataset, arm), {})[seed] = trial.metrics["test"]
    gains = {}
    for dataset in DATASETS:
        seeds = sorted(set(cells.get((dataset, CONTROL), {})) & set(cells.get((dataset, TREATMENT), {})))
        for seed in seeds:
            _check_pair(newest[dataset, CONTROL, seed], newest[dataset, TREATMENT, seed])
        if seeds:
            control, treatment = (np.array([cells[dataset, arm][s] for s in seeds]) for arm in (CONTROL, TREATMENT))
            gains[dataset] = _gain(control, treatment, DATASETS[dataset].task, tuple(seeds))
    adjusted = adjust_holm(np.array([gain.p_value for gain in gains.values()]))
    return Table(cells, gains, dict(zip(gains, adjusted)), _average(list(gains.values())))


def _average(gains: Sequence[Gain]) -> tuple[float, float] | None:
    """Mean relative gain over the data sets and half its 95% interval, over the seeds that all of them have."""
    shared = sorted(set.intersection(*(set(gain.seeds) for gain in gains))) if gains else []
    if not shared:
        return None
    relative = [[gain.relative[gain.seeds.index(seed)] for seed in shared] for gain in gains]
    return interval_over_seeds(np.mean(relative, axis=0))


def _check_pair(control: Trial, treatment: Trial) -> None:
    if dict(control.settings) != dict(treatment.settings) or sizes_of(control) != sizes_of(treatment):
        raise ValueError(
            "pre-trained and scratch must have the same settings and sizes. Received different ones for "
            f"{control.dataset}, {control.family}, seed {control.seed}. Run both arms in one command."
        )


def _gain(control: np.ndarray, treatment: np.ndarray, task: str, seeds: tuple[int, ...]) -> Gain:
    gains = treatment - control if task == "classification" else control - treatment
    mean, half = interval_over_seeds(gains)
    varies = len(seeds) > 1 and np.ptp(gains) > 0
    p_value = float(ttest_rel(treatment, control).pvalue) if varies else math.nan
    return Gain(mean, half, gains / control, p_value, seeds)


def render(table: Table) -> str:
    """A row per data set: each arm, then the gain of pre-training."""
    if not table.cells:
        return "No trial was run."
    rows = []
    for name, dataset in DATASETS.items():
        found = {arm: table.cells[name, arm] for arm in ARMS if (name, arm) in table.cells}
        if not found:
            continue
        metric = "ROC-AUC ↑" if dataset.task == "classification" else "RMSE ↓"
        means = {arm: round(float(np.mean(list(values.values()))), 3) for arm, values in found.items()}
        best = (max if dataset.task == "classification" else min)(means.values())
        shown = []
        for arm in ARMS:
            text = _spread(*interval_over_seeds(list(found[arm].values()))) if arm in found else _GAP
            shown.append(f"**{text}**" if means.get(arm) == best else text)
        seeds = sorted({len(values) for values in found.values()})
        count = "–".join(str(number) for number in dict.fromkeys([seeds[0], seeds[-1]]))
        gain, p = table.gains.get(name), table.holm.get(name)
        rows.append([dataset.label, metric, count, *shown, *_describe(gain, p)])
    header = ["Data set", "Metric", "Seeds", *ARMS.values(), "gain of pre-training", "p (Holm)"]
    blocks = [grid(header, rows, left=2)]
    if table.overall is not None:
        blocks.append(
            f"Pre-training over scratch, mean relative gain over the data sets: {_describe_average(table.overall)}."
        )
    blocks.append(
        "Test metric, mean ± half of the 95% interval over seeds; best in bold. Gain: paired by seed, positive is "
        "better, with its 95% interval; p of a paired t-test after Holm's correction for the data sets."
    )
    return "\n\n".join(blocks)


def render_masking(trials: Sequence[Trial]) -> str:
    """A row per data set: frozen encoders whose pre-training saw, or did not see, the inputs of what it predicted."""
    newest = {(t.dataset, t.encoder["mask_inputs"], t.seed): t for t in trials}
    rows, gains = [], []
    for name, dataset in DATASETS.items():
        seeds = sorted(seed for known, hidden, seed in newest if known == name and hidden)
        seeds = [seed for seed in seeds if (name, False, seed) in newest]
        if not seeds:
            continue
        for seed in seeds:
            _check_pair(newest[name, False, seed], newest[name, True, seed])
        seen, hidden = (np.array([newest[name, how, s].metrics["test"] for s in seeds]) for how in (False, True))
        gain = _gain(seen, hidden, dataset.task, tuple(seeds))
        gains.append(gain)
        metric = "ROC-AUC ↑" if dataset.task == "classification" else "RMSE ↓"
        spreads = [_spread(*interval_over_seeds(list(values))) for values in (seen, hidden)]
        rows.append([dataset.label, metric, str(len(seeds)), *spreads, _describe(gain, None)[0]])
    if not rows:
        return "No pair was run."
    header = ["Data set", "Metric", "Seeds", "inputs seen (released code)", "inputs hidden (paper)", "gain of hiding"]
    blocks = [grid(header, rows, left=2)]
    average = _average(gains)
    if average is not None:
        blocks.append(f"Hidden over seen, mean relative gain over the data sets: {_describe_average(average)}.")
    blocks.append(
        "Test metric on balanced splits, mean ± half of the 95% interval over seeds; gain: paired by seed, positive is "
        "better, with its 95% interval."
    )
    return "\n\n".join(blocks)


def _describe(gain: Gain | None, p_value: float | None) -> tuple[str, str]:
    if gain is None:
        return _GAP, _GAP
    interval = "" if math.isnan(gain.half) else (
        f" ({_signed(gain.mean - gain.half)} to {_signed(gain.mean + gain.half)})"
    )  # fmt: skip
    p = _GAP if p_value is None or math.isnan(p_value) else "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"
    return _signed(gain.mean) + interval, p


def _describe_average(average: tuple[float, float]) -> str:
    mean, half = average
    value, low, high = (f"{_signed(100 * part, 1)}%" for part in (mean, mean - half, mean + half))
    return value if math.isnan(half) else f"{value} ({low} to {high})"


def _spread(mean: float, half: float) -> str:
    return f"{mean:.3f}" + ("" if math.isnan(half) else f" ± {half:.3f}")


def _signed(value: float, digits: int = 3) -> str:
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _render(name: str, trials: Sequence[Trial], masking: Sequence[Trial]) -> str:
    if name == "masking":
        return render_masking(masking)
    if name not in get_args(Family):
        known = ", ".join((*get_args(Family), "masking"))
        raise ValueError(f"a table must be one of {known}. Received: {name!r}. Rename it.")
    return render(summarise(trials, name))


def fill_pages(root: Path, check: bool, trials_file: Path | None = None) -> list[str]:
    """Fills the pages and `results/molecules.json` from trials and returns those that were stale.

    Args:
        check: leaves the files as they are.
        trials_file: the committed trials when None; those of the masking stand beside it.
    """
    results = root / RESULTS.relative_to(ROOT)
    trials_file = trials_file or results / TRIALS.relative_to(RESULTS)
    trials, masking = read_trials(trials_file), read_trials(trials_file.with_name(MASKING_FILE))
    stale, recorded = [], results / "molecules.json"
    claims = keep_recorded(make_claims(trials, results / "molecules"), recorded)
    if claims and not (recorded.exists() and claims == load(recorded)):
        stale.append(str(recorded.relative_to(root)))
        if not check:
            write_claims(claims, recorded)
    return stale + pages.fill_all(root, "molecules", lambda name: _render(name, trials, masking), check)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Writes the tables of molecules in README.md and docs.")
    parser.add_argument("--trials", type=Path, default=TRIALS)
    parser.add_argument("--check", action="store_true", help="only say whether a table is stale")
    parser.add_argument("--print", action="store_true", help="show the tables instead")
    options: Any = parser.parse_args(arguments)
    try:
        if options.print:
            trials, masking = read_trials(options.trials), read_trials(options.trials.with_name(MASKING_FILE))
            names = (*get_args(Family), "masking")
            print("\n\n".join(f"{name}:\n\n{_render(name, trials, masking)}" for name in names))
            return 0
        stale = fill_pages(root, options.check, options.trials)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return pages.report(stale, options.check)


if __name__ == "__main__":
    sys.exit(main())
