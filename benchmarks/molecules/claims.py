"""The numbers of molecules that README and docs state, from trials, throughput and the record of a pre-training."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks.claims import Claim, Topic, describe_commit, describe_hardware, load
from benchmarks.molecules.datasets import DATASETS, Family
from benchmarks.molecules.trials import Trial
from recsys_ssl.artifacts import write_text
from recsys_ssl.evaluation.crossed import interval_over_seeds

CONTROL, TREATMENT = "scratch", "pretrained"
THROUGHPUT_FILE, PRETRAIN_FILE = "throughput.json", "pretrain.json"
_RUN = "python -m benchmarks.molecules.run --data DIR --model WORKDIR/encoder"
_RATES = {
    "featurise_rate_vs_rdkit": ("featurise", "molecules/s of `featurise` over plain RDKit reading the same, one core"),
    "train_rate_vs_chemprop": ("train", "molecules/s of training, our encoder over chemprop, equal size, one core"),
    "inference_rate_vs_chemprop": ("graphs", "molecules/s of inference, our encoder over chemprop, equal size"),
}


def make_claims(trials: Sequence[Trial], results: Path) -> list[Claim]:
    """All claims whose data are there; the others are left out.

    Args:
        results: directory of `throughput.json` and `pretrain.json`, beside `compounds.json`.
    """
    throughput, pretraining = (_read(results / name) for name in (THROUGHPUT_FILE, PRETRAIN_FILE))
    claims = []
    if throughput is not None:
        made_by = {name: throughput[name] for name in ("command", "seconds", "hardware", "commit")}
        rows = {row["what"]: row for row in throughput["rows"]}
        claims += [
            Claim(id=id, what=what, value=rows[row]["ratio"], interval=rows[row]["interval"], unit="x", **made_by)
            for id, (row, what) in _RATES.items()
        ]
    if pretraining is not None:
        what = f"pre-training of a {pretraining['size']} encoder on {pretraining['molecules']:,} molecules"
        made_by = {name: pretraining[name] for name in ("command", "hardware", "commit")}
        minutes = pretraining["minutes"]
        claims.append(
            Claim(id="pretraining_minutes", what=what, value=minutes, interval=None, unit="min", seconds=60 * minutes,
                  **made_by)
        )  # fmt: skip
    compounds = results.parent / "compounds.json"
    if compounds.exists():
        # Of the study in `benchmarks/compounds`; the bar of molecules is stated with the others.
        claims += [claim for claim in load(compounds) if claim.id == "cold_compound_gain_lower_bound"]
    return claims + _gain_claims(trials)


def error(trial: Trial) -> float:
    """What a perfect predictor would not have, so that data sets share a scale: 1 - ROC-AUC, or the RMSE."""
    value = trial.metrics["test"]
    return 1.0 - value if DATASETS[trial.dataset].task == "classification" else value


def relative_gains(trials: Sequence[Trial]) -> dict[str, dict[int, float]]:
    """Data set -> seed -> relative reduction of the test error by pre-training: 1 - error / error from scratch.

    Both arms share split, seed and settings. A seed counts where it was run in all split families of the data set;
    its gain is their mean. 0.1 is a tenth less of 1 - ROC-AUC, or of the RMSE; below 0 is worse. An error of 0 from
    scratch leaves nothing to gain, and its seed out.
    """
    newest = {(t.dataset, t.family, t.seed, t.arm): t for t in trials if t.metrics is not None}
    families = get_args(Family)
    gains: dict[str, dict[int, float]] = {}
    for dataset, seed in sorted({(t.dataset, t.seed) for t in newest.values()}):
        pairs = [[newest.get((dataset, family, seed, arm)) for arm in (CONTROL, TREATMENT)] for family in families]
        if all(None not in pair for pair in pairs) and all(error(control) > 0 for control, _ in pairs):
            found = np.mean([1.0 - error(treatment) / error(control) for control, treatment in pairs])
            gains.setdefault(dataset, {})[seed] = float(found)
    return gains


def _gain_claims(trials: Sequence[Trial]) -> list[Claim]:
    """The gain of each data set and, once all have three seeds in common, of their mean, and its lower bound."""
    gains = relative_gains(trials)
    seconds = sum(trial.seconds for trial in trials if trial.arm in (CONTROL, TREATMENT))
    made_by = {"unit": "", "command": _RUN, "hardware": describe_hardware(), "commit": describe_commit()}
    what = "relative reduction of the test error (1 - ROC-AUC or RMSE) by pre-training, both splits"
    claims = []
    for dataset, of_seeds in gains.items():
        mean, half = interval_over_seeds(list(of_seeds.values()))
        interval = None if math.isnan(half) else (mean - half, mean + half)
        label = f"{what}, {DATASETS[dataset].label}, {len(of_seeds)} seeds"
        of_both = sum(t.seconds for t in trials if t.dataset == dataset and t.arm in (CONTROL, TREATMENT))
        claims.append(
            Claim(
                id=f"pretrained_gain_{dataset}", what=label, value=mean, interval=interval, seconds=of_both, **made_by
            )
        )
    shared = set.intersection(*(set(gains.get(dataset, {})) for dataset in DATASETS))
    if len(shared) >= 3:
        # Data sets are fixed: only the seeds vary.
        means = [np.mean([gains[dataset][seed] for dataset in DATASETS]) for seed in sorted(shared)]
        mean, half = interval_over_seeds(means)
        label = f"{what}, mean of {len(DATASETS)} data sets, {len(shared)} seeds"
        bounds = (mean - half, mean + half)
        made_by["seconds"] = seconds
        claims.append(Claim(id="pretrained_gain", what=label, value=mean, interval=bounds, **made_by))
        low = f"lower end of the 95% interval: {label}"
        claims.append(Claim(id="pretrained_gain_lower_bound", what=low, value=bounds[0], interval=None, **made_by))
    return claims


def write_claims(claims: Sequence[Claim], path: Path) -> None:
    """Writes a results file as a whole: a claim whose data are gone goes too."""
    write_text(path, Topic(claims=list(claims)).model_dump_json(indent=2) + "\n")


def _read(path: Path) -> Mapping[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
