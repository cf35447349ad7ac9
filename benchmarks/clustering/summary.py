"""The numbers of the tables, figures and claims, from trials."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import pearsonr

from benchmarks.claims import Claim, Topic, describe_commit, describe_hardware, keep_recorded, load
from benchmarks.clustering.arms import DOMAINS
from benchmarks.clustering.trials import NORMS, OVERCLUSTER, Trial
from recsys_ssl.artifacts import write_text
from recsys_ssl.evaluation.crossed import interval_over_seeds

COMMAND = "python -m benchmarks.clustering study --vectors DIR"
TOPIC = "clustering"
Found = list[Any]
"""[mean over seeds, half of the 95% interval or None]."""
Facts = Mapping[str, Any]


def summarise(trials: Sequence[Trial]) -> Facts:
    """Every number that is shown.

    Returns:
        `arms`: domain -> arm -> `seeds`, `sizes`, `probes`, `clusters` (norm -> factor -> score) and `components`, each
        number as [mean, half]; `relations`: domain -> see `relate`; `pooled`: the same of all domains, each domain's
        mean taken out; `best`: domain -> see `choose_best`.

    Raises:
        ValueError: there are no trials.
    """
    if not trials:
        raise ValueError(f"tables must have trials. Received none. Run {COMMAND}.")
    grouped: dict[str, dict[str, list[Trial]]] = defaultdict(lambda: defaultdict(list))
    for trial in trials:
        grouped[trial.domain][trial.arm].append(trial)
    arms = {
        domain: {arm: _describe(grouped[domain][arm]) for arm in sorted(grouped[domain], key=facts.place)}
        for domain, facts in DOMAINS.items()
        if domain in grouped
    }
    points = {domain: _points(of_domain) for domain, of_domain in arms.items()}
    centred = [np.array(of)[:, 1:] - np.array(of)[:, 1:].mean(axis=0) for of in _values(points) if len(of) > 1]
    return {
        "arms": arms,
        "relations": {domain: relate(of) for domain, of in points.items()},
        "pooled": relate([("", *row) for row in np.concatenate(centred).tolist()]) if centred else None,
        "best": {domain: best for domain, of in arms.items() if (best := choose_best(domain, of))},
    }


def _values(points: Mapping[str, list[tuple[str, float, float]]]) -> list[list[tuple[float, float, float]]]:
    return [[(0.0, linear, clusters) for _, linear, clusters in of] for of in points.values()]


def _describe(trials: Sequence[Trial]) -> dict[str, Any]:
    ordered = sorted(trials, key=lambda trial: trial.seed)
    return {
        "seeds": len(ordered),
        "sizes": list(ordered[-1].sizes),
        "probes": _average([trial.probes for trial in ordered]),
        "clusters": {
            norm: {
                f"{over:g}": _average([trial.clusters[norm][f"{over:g}"] for trial in ordered]) for over in OVERCLUSTER
            }
            for norm in NORMS
        },
        "components": _average([trial.components for trial in ordered]),
    }


def _average(numbers: Sequence[Mapping[str, float]]) -> dict[str, Found]:
    return {name: _over_seeds([of[name] for of in numbers]) for name in numbers[0]}


def _over_seeds(values: Sequence[float]) -> Found:
    mean, half = interval_over_seeds(np.array(values))
    return [mean, None if math.isnan(half) else half]


# --- Linear probe against clusters ---------------------------------------------------------------------


def _points(arms: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Arm, accuracy of its linear probe and of its clusters, one a class, plain as the paper has it."""
    return [
        (arm, facts["probes"]["linear"][0], facts["clusters"]["plain"]["1"]["accuracy"][0])
        for arm, facts in arms.items()
    ]


def relate(points: Sequence[tuple[str, float, float]]) -> dict[str, Any] | None:
    """How the second number follows the first: R^2 and slope of a straight line, and what lies farthest from it.

    The interval of the correlation r is Fisher's, tanh(atanh r -+ 1.96 / sqrt(n - 3)).

    Returns:
        `points`, `r2`, `slope`, `intercept`, `r`, `r_interval` (None below four points), `outlier` and `residual`; None
        below three points, or where all are alike in a number.
    """
    if len(points) < 3:
        return None
    linear, clusters = np.array([of[1:] for of in points]).T
    if np.ptp(linear) == 0.0 or np.ptp(clusters) == 0.0:
        return None
    slope, intercept = np.polyfit(linear, clusters, 1)
    correlation = pearsonr(linear, clusters)
    r = float(correlation.statistic)
    residuals = clusters - (slope * linear + intercept)
    farthest = int(np.abs(residuals).argmax())
    return {
        "points": len(points),
        "r2": r**2,
        "slope": float(slope),
        "intercept": float(intercept),
        "r": r,
        "r_interval": [float(bound) for bound in correlation.confidence_interval()] if len(points) > 3 else None,
        "outlier": points[farthest][0],
        "residual": float(residuals[farthest]),
    }


def choose_best(domain: str, arms: Mapping[str, Any]) -> dict[str, Any] | None:
    """The self-supervised arm and the norm with the best clusters on train, whatever they are on test.

    Returns:
        `arm` and `norm`; None where there is no such arm.
    """
    known = [arm for arm in arms if DOMAINS[domain].is_self_supervised(arm)]
    choices = [(arms[arm]["clusters"][norm]["1"]["train_accuracy"][0], arm, norm) for arm in known for norm in NORMS]
    if not choices:
        return None
    _, arm, norm = max(choices, key=lambda choice: choice[0])
    return {"arm": arm, "norm": norm}


def find_peak(clusters: Mapping[str, Mapping[str, Found]], score: str = "ari") -> str:
    """The clusters per class with the highest mean of a score, the fewest of equals."""
    return max(clusters, key=lambda over: clusters[over][score][0])


# --- Claims ------------------------------------------------------------------------------------------


def make_claims(facts: Facts, trials: Sequence[Trial]) -> list[Claim]:
    """The claims whose data are there."""
    made_by = {"command": COMMAND, "hardware": describe_hardware(), "commit": describe_commit()}
    claims = []

    def claim(id: str, what: str, found: Found, chosen: Callable[[Trial], bool]) -> None:
        mean, half = found
        interval = None if half is None else (mean - half, mean + half)
        seconds = round(sum(trial.core_seconds for trial in trials if chosen(trial)), 1)
        claims.append(Claim(id=id, what=what, value=mean, interval=interval, unit="", seconds=seconds, **made_by))

    if "images" in facts["best"]:
        arm, norm = facts["best"]["images"].values()
        own, label = facts["arms"]["images"][arm], DOMAINS["images"].name(arm)
        scaled = "vectors of length 1" if NORMS[norm] else "vectors as they are"
        what = f"Fashion-MNIST, {label}, {scaled} (both chosen on train), {own['seeds']} seeds:"
        scores = own["clusters"][norm]
        for id, over, score, said in (
            ("fashion_kmeans_acc", "1", "accuracy", "accuracy of 10 clusters, Hungarian on train, scored on test"),
            ("fashion_kmeans_nmi", "1", "nmi", "NMI of 10 clusters on test"),
            ("fashion_kmeans_acc_x1.5", "1.5", "accuracy", "accuracy of 15 clusters, Hungarian on train, on test"),
            ("fashion_kmeans_ari_x1.5", "1.5", "ari", "ARI of 15 clusters on test"),
        ):
            claim(id, f"{what} {said}", scores[over][score], lambda trial: (trial.domain, trial.arm) == ("images", arm))
        if "pixels" in facts["arms"]["images"]:
            floor = facts["arms"]["images"]["pixels"]["clusters"]["l2"]["1"]["nmi"]
            what = "Fashion-MNIST, pixels of length 1: NMI of 10 clusters on test"
            claim("fashion_pixels_nmi", what, floor, lambda trial: (trial.domain, trial.arm) == ("images", "pixels"))
    for domain, relation in facts["relations"].items():
        if relation is not None:
            what = f"{DOMAINS[domain].label}: R² of cluster accuracy on linear probe, {relation['points']} kinds"
            claim(
                f"linear_clusters_r2_{domain}",
                what,
                [relation["r2"], None],
                lambda trial, of=domain: trial.domain == of,
            )
    encoders = [
        (domain, arm) for domain, arms in facts["arms"].items() for arm in arms if DOMAINS[domain].is_encoder(arm)
    ]
    what = "Encoders that were compared by linear probe and clusters, floors without weights not counted"
    claim("encoders_compared", what, [float(len(encoders)), None], lambda trial: (trial.domain, trial.arm) in encoders)
    return claims


def write_claims(facts: Facts, trials: Sequence[Trial], results: Path) -> None:
    """Writes the claims beside those of other commands; numbers that come out again keep who measured them."""
    path = results / f"{TOPIC}.json"
    claims = keep_recorded(make_claims(facts, trials), path)
    others = [claim for claim in (load(path) if path.exists() else []) if claim.command.find(" study ") < 0]
    write_text(path, Topic(claims=[*others, *claims]).model_dump_json(indent=2) + "\n")
