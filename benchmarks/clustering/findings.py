"""What the study says of the paper's findings, in sentences that its numbers decide.

References:
    Zheltonozhskii et al. 2020, arXiv:2008.10312.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks.clustering.arms import DOMAINS
from benchmarks.clustering.summary import Facts, find_peak
from benchmarks.clustering.trials import NORMS

_MINUS = "\N{MINUS SIGN}"
_NEAR = 0.01
"""Accuracy that is no loss."""


def render_findings(facts: Facts) -> str:
    """A list, a point for each finding."""
    return "\n".join(f"- {line}" for line in (*_tell_relation(facts), *_tell_factors(facts), *_tell_components(facts),
                                              *_tell_best(facts)))  # fmt: skip


def _tell_relation(facts: Facts) -> Iterator[str]:
    told = [
        f"{DOMAINS[domain].label} {_judge_sign(relation['r_interval'])}: R² {relation['r2']:.2f} over "
        f"{relation['points']} kinds of vectors, farthest from the line {DOMAINS[domain].name(relation['outlier'])} "
        f"({_signed(100 * relation['residual'])} points)"
        for domain, relation in facts["relations"].items()
        if relation is not None
    ]
    if told:
        yield f"**Clusters follow the linear probe, with outliers** (paper: R² 0.95 without two). {'; '.join(told)}."


def _judge_sign(interval: list[float] | None) -> str:
    if interval is None or interval[0] <= 0.0 <= interval[1]:
        return "does not tell"
    return "bears it out" if interval[0] > 0.0 else "says the opposite"


def _tell_factors(facts: Facts) -> Iterator[str]:
    encoders = _list_encoders(facts)
    if not encoders:
        return
    clusters = [own["clusters"]["plain"] for own in encoders]
    gains = [of["5"]["accuracy"][0] - of["1"]["accuracy"][0] for of in clusters]
    peaks = [find_peak(of) for of in clusters]
    grown = sum(gain > 0.0 for gain in gains)
    counted = ", ".join(f"x{over} of {peaks.count(over)}" for over in clusters[0] if over in peaks)
    near = sum(1.25 <= float(peak) <= 2.0 for peak in peaks)
    verdict = "bears it out" if near > len(peaks) / 2 else "does not bear it out"
    yield (
        f"**Accuracy grows with the number of clusters whatever the encoder.** It does for {grown} of {len(gains)} "
        f"encoders, by {_signed(100 * float(np.mean(gains)))} points from x1 to x5 on average (paper: +14.5)."
    )
    yield (
        f"**ARI is highest near x1.5.** Our study {verdict}: highest at {counted}, that is between x1.25 and x2 for "
        f"{near} of {len(peaks)}."
    )


def _tell_components(facts: Facts) -> Iterator[str]:
    losses, fewest = [], []
    for own in _list_encoders(facts):
        curve, rank = own["components"], min(own["sizes"][2], own["sizes"][0])
        kept = {int(name): found[0] for name, found in curve.items() if name != "all"}
        half = [number for number in kept if number <= rank / 2]
        if half:
            losses.append(curve["all"][0] - kept[max(half)])
            enough = [number for number, value in kept.items() if value >= curve["all"][0] - _NEAR]
            fewest.append(min(enough, default=rank) / rank)
    if losses:
        verdict = "bears it out" if float(np.mean(losses)) > _NEAR else "does not bear it out"
        yield (
            f"**Fewer than half of the components cost accuracy.** Our study {verdict}: half of them or a little less "
            f"change it by {_signed(-100 * float(np.mean(losses)))} points on average, and the fewest within a point "
            f"of all are {100 * float(np.median(fewest)):.0f}% of them in the median of {len(losses)} encoders."
        )


def _tell_best(facts: Facts) -> Iterator[str]:
    for domain, best in facts["best"].items():
        arm, norm = best["arm"], best["norm"]
        arms = facts["arms"][domain]
        clusters = arms[arm]["clusters"][norm]
        floors = {
            (floor, of): arms[floor]["clusters"][of]["1"]["accuracy"][0]
            for floor in arms
            if DOMAINS[domain].is_floor(floor)
            for of in NORMS
        }
        against = ""
        if floors:
            floor, of = max(floors, key=floors.__getitem__)
            own = arms[floor]["clusters"][of]["1"]
            against = (
                f"; the best floor, {DOMAINS[domain].name(floor)}{_name_norm(of)}, has {_percent(own['accuracy'])}, "
                f"NMI {_percent(own['nmi'])}"
            )
        yield (
            f"{DOMAINS[domain].label}, the self-supervised encoder that is best on train, {DOMAINS[domain].name(arm)}"
            f"{_name_norm(norm)}: accuracy {_percent(clusters['1']['accuracy'])}, NMI {_percent(clusters['1']['nmi'])}"
            f", ARI {_percent(clusters['1']['ari'])}; with x1.5 clusters {_percent(clusters['1.5']['accuracy'])}, ARI "
            f"{_percent(clusters['1.5']['ari'])}{against}."
        )


def _list_encoders(facts: Facts) -> list[Mapping[str, Any]]:
    return [
        own for domain, arms in facts["arms"].items() for arm, own in arms.items() if DOMAINS[domain].is_encoder(arm)
    ]


def _name_norm(norm: str) -> str:
    return " (length 1)" if NORMS[norm] else ""


def _percent(found: list) -> str:
    mean, half = found
    return f"{100 * mean:.1f}%" + ("" if half is None else f" ± {100 * half:.1f}")


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", _MINUS)
