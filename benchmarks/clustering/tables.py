"""The tables of the study in docs, from the committed trials."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.clustering import trials
from benchmarks.clustering.arms import DOMAINS
from benchmarks.clustering.findings import render_findings
from benchmarks.clustering.summary import COMMAND, Facts, find_peak, summarise
from benchmarks.clustering.trials import COMPONENTS, OVERCLUSTER
from benchmarks.evidence.cells import GAP, bold, grid

WORD = "clusters"
"""In the markers of the tables."""
_NOT_RUN = f"Not measured yet: `{COMMAND}`."


def render_encoders(facts: Facts) -> str:
    """A row per arm: probes beside clusters, best of each domain in bold."""
    columns: Mapping[str, Callable[[Mapping[str, Any]], list]] = {
        "Linear": lambda own: own["probes"]["linear"],
        "k-NN": lambda own: own["probes"]["nearest"],
        "10-shot": lambda own: own["probes"]["few_shot"],
        "Clusters": lambda own: own["clusters"]["plain"]["1"]["accuracy"],
        "ARI": lambda own: own["clusters"]["plain"]["1"]["ari"],
        "NMI": lambda own: own["clusters"]["plain"]["1"]["nmi"],
        "Clusters, length 1": lambda own: own["clusters"]["l2"]["1"]["accuracy"],
        "NMI, length 1": lambda own: own["clusters"]["l2"]["1"]["nmi"],
    }
    rows = []
    for domain, arms in facts["arms"].items():
        rows.append([f"*{_describe_domain(domain, arms)}*", *[""] * len(columns)])
        best = {name: max(round(100 * find(own)[0], 1) for own in arms.values()) for name, find in columns.items()}
        for arm, own in arms.items():
            cells = [
                bold(_percent(find(own)), round(100 * find(own)[0], 1) == best[name]) for name, find in columns.items()
            ]
            rows.append([f"{DOMAINS[domain].name(arm)} ({own['seeds']})", *cells])
    note = (
        "In %, of test, mean ± half of the 95% interval over training seeds (their number in brackets), best of a "
        "group in bold. Clusters: Hungarian accuracy, as many clusters as classes, classes given on train; mean of "
        f"{trials.PROTOCOL['kmeans_seeds']} runs of k-means, all principal components."
    )
    return "\n\n".join([grid(["Vectors", *columns], rows), note])


def render_relation(facts: Facts) -> str:
    """A row per domain: how cluster accuracy follows the linear probe."""
    rows = []
    for domain, relation in {**facts["relations"], "": facts["pooled"]}.items():
        label = DOMAINS[domain].label if domain else "All, each group's mean taken out"
        if relation is None:
            rows.append([label, *[GAP] * 5])
            continue
        interval = relation["r_interval"]
        bounds = GAP if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}".replace("-", "\N{MINUS SIGN}")
        outlier = GAP
        if relation["outlier"]:
            residual = f"{100 * relation['residual']:+.1f}".replace("-", "\N{MINUS SIGN}")
            outlier = f"{DOMAINS[domain].name(relation['outlier'])} ({residual} points)"
        slope = f"{relation['slope']:.2f}".replace("-", "\N{MINUS SIGN}")
        rows.append([label, str(relation["points"]), f"{relation['r2']:.2f}", bounds, slope, outlier])
    header = ["Group", "Kinds of vectors", "R²", "95% interval of r", "Slope", "Farthest from the line"]
    note = "Cluster accuracy on linear probe, a point for each row of the next table. In the paper R² is 0.95."
    return "\n\n".join([grid(header, rows), note])


def render_overclustering(facts: Facts) -> str:
    """A row per encoder: accuracy and ARI with more clusters than classes."""
    rows = []
    for domain, arms in facts["arms"].items():
        for arm, own in arms.items():
            if DOMAINS[domain].is_encoder(arm):
                clusters = own["clusters"]["plain"]
                cells = [
                    f"{_bare(clusters[f'{over:g}']['accuracy'])} / {_bare(clusters[f'{over:g}']['ari'])}"
                    for over in OVERCLUSTER
                ]
                rows.append(
                    [f"{DOMAINS[domain].label}: {DOMAINS[domain].name(arm)}", *cells, f"x{find_peak(clusters)}"]
                )
    header = ["Encoder", *(f"x{over:g}" for over in OVERCLUSTER), "ARI highest at"]
    note = "Hungarian accuracy / ARI of test in %, means over training seeds; x: clusters per class. Paper: x1.5."
    return "\n\n".join([grid(header, rows), note])


def render_components(facts: Facts) -> str:
    """A row per encoder: accuracy with fewer principal components."""
    rows = []
    for domain, arms in facts["arms"].items():
        for arm, own in arms.items():
            curve = own["components"]
            kept = [_bare(curve[str(number)]) if str(number) in curve else GAP for number in COMPONENTS]
            rows.append(
                [
                    f"{DOMAINS[domain].label}: {DOMAINS[domain].name(arm)}",
                    *kept,
                    _bare(curve["all"]),
                    f"{own['sizes'][2]:,}",
                ]
            )
    header = ["Vectors", *map(str, COMPONENTS), "all", "Dimensions"]
    note = "Hungarian accuracy of test in %, a cluster per class, by the principal components that are kept."
    return "\n\n".join([grid(header, rows), note])


RENDERERS: Mapping[str, Callable[[Facts], str]] = {
    "findings": render_findings,
    "encoders": render_encoders,
    "relation": render_relation,
    "overclustering": render_overclustering,
    "components": render_components,
}


def fill_pages(root: Path, check: bool) -> list[str]:
    """Fills the pages from the committed trials and returns the stale ones; see `pages.fill_all`."""
    path = root / "benchmarks" / "results" / "clustering" / "trials.jsonl"

    @functools.cache
    def read() -> Facts | None:
        found = trials.read_trials(path)
        return summarise(found) if found else None

    return pages.fill_all(root, WORD, lambda name: _render(name, read()), check)


def _render(name: str, facts: Facts | None) -> str:
    if name not in RENDERERS:
        raise ValueError(f"a table of clusters must be one of {', '.join(RENDERERS)}. Received: {name!r}. Rename it.")
    return _NOT_RUN if facts is None else RENDERERS[name](facts)


def _describe_domain(domain: str, arms: Mapping[str, Any]) -> str:
    train, test, _, classes = next(iter(arms.values()))["sizes"]
    return f"{DOMAINS[domain].label}: {classes} classes, {train:,} rows of train, {test:,} of test"


def _percent(found: list) -> str:
    mean, half = found
    return f"{100 * mean:.1f}" + ("" if half is None else f" ± {100 * half:.1f}")


def _bare(found: list) -> str:
    return f"{100 * found[0]:.1f}"
