"""The evidence tables as Markdown, each from the numbers of `benchmarks.evidence.summary`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.evidence.cells import GAP, bold, grid, p_holm, p_text, percent, points, relative, settings_text, spread

Tables = Mapping[str, Any]

DATASET_LABELS = {
    "wikispeedia": "Wikispeedia",
    "debian": "Debian",
    "complete-journey": "Complete Journey",
    "frappe": "Frappe",
    "movielens-small": "MovieLens small",
    "chembl-targets": "ChEMBL targets",
}
_SHARES = {"full": "all training data", "sparse": "10% of the training data"}
_METRICS = {"recall_at_50": "Recall@50", "recall_at_10": "Recall@10", "map_at_10": "MAP@10"}
_SLICES = ("head", "torso", "tail", "cold")
_HEADLINE = (
    ("chembl-targets", "full"),
    ("chembl-targets", "sparse"),
    ("complete-journey", "full"),
    ("movielens-small", "full"),
    ("frappe", "full"),
)
"""Rows of the README: where self-supervision wins, then where a model without towers does."""
_VIEWS = {
    "item_masks": "random features hidden (item masks)",
    "dropout_only": "single values dropped (value dropout)",
    "whole": "nothing hidden",
}


# --- Tables -----------------------------------------------------------------------------------------


def render_main(tables: Tables) -> str:
    """Recall@50 on every data set, at both shares: controls, both treatments, gain."""
    recommended, labels = tables["recommended"], tables["labels"]
    others = [arm for arm in tables["groups"]["controls"] if arm != "none"]
    header = ["Data set", "Trained on", labels["none"], "best other regulariser"]
    header += [*(labels[arm] for arm in tables["groups"]["treatments"]), "gain over none", "p (Holm)"]
    rows = []
    for dataset in tables["datasets"]:
        for share in _SHARES:
            cells = tables["cells"][share][dataset]
            best = max((arm for arm in others if arm in cells), key=lambda arm: _mean(cells[arm]), default=None)
            against = _comparison(tables, share, dataset, recommended, "none")
            rows.append(
                [
                    DATASET_LABELS[dataset],
                    "100%" if share == "full" else "10%",
                    _cell(cells, "none"),
                    GAP if best is None else f"{_cell(cells, best)} ({labels[best]})",
                    *(_cell(cells, arm) for arm in tables["groups"]["treatments"]),
                    relative(against),
                    p_holm(against),
                ]
            )
    note = (
        f"Recall@50 in %, mean ± half of the 95% interval over training seeds. Gain: {labels[recommended]} over "
        f"{labels['none']}, relative, with the 95% interval over users and seeds; p of the difference, after Holm's "
        f"correction for the {len(tables['groups']['controls'])} comparisons with "
        f"{', '.join(labels[arm] for arm in tables['groups']['controls'])}. The best other one was picked on test."
    )
    arms = [*tables["groups"]["controls"], *tables["groups"]["treatments"]]
    return "\n\n".join([grid(header, rows), note, *_missing(tables, tuple(_SHARES), arms)])


def render_headline(tables: Tables) -> str:
    """A few rows for the README: the gain over the plain model, and the best model without towers beside it."""
    recommended, labels = tables["recommended"], tables["labels"]
    rows = []
    for dataset, share in _HEADLINE:
        cells = tables["cells"][share].get(dataset, {})
        rivals = [arm for arm in tables["groups"]["baselines"] if arm in cells]
        if not rivals or recommended not in cells or "none" not in cells:
            continue
        best = max(rivals, key=lambda arm: _mean(cells[arm]))
        ahead = _mean(cells[recommended]) > _mean(cells[best])
        against = _comparison(tables, share, dataset, recommended, best)
        rows.append(
            [
                DATASET_LABELS[dataset],
                "100%" if share == "full" else "10%",
                percent(_mean(cells["none"])),
                bold(percent(_mean(cells[recommended])), ahead),
                relative(_comparison(tables, share, dataset, recommended, "none")),
                f"{bold(percent(_mean(cells[best])), not ahead)} ({labels[best]})",
                points(against) if against else GAP,
            ]
        )
    if not rows:
        return "Not measured yet."
    header = ["Log", "Trained on", "plain towers", "self-supervised", "gain", "best without towers", "lead over it"]
    note = (
        f"Recall@50 in %, means over training seeds; self-supervised: {labels[recommended]}. Gain over the plain "
        "towers, and lead in points, with 95% intervals over users and seeds, not corrected for the number of rows. "
        "The model without towers was picked on test. Best in bold."
    )
    return "\n\n".join([grid(header, rows), note])


def render_towers(tables: Tables) -> str:
    """Which tower the views go through: validation Recall@50 of each regulariser, from the claims of `towers.json`."""
    values = {claim["id"]: claim["value"] for claim in tables.get("towers") or []}
    if not values:
        return "Not measured yet."
    rows = [["plain towers (no auxiliary loss)", percent(values["none"]), ""]]
    for arm, label in _VIEWS.items():
        rows.append([label, *(percent(values.get(f"{arm}_{towers}")) for towers in ("item", "both"))])
    header = ["Views of the auxiliary loss", "both through the item tower", "one through the query tower"]
    note = (
        "Recall@50 in % on the validation split of Wikispeedia, all training data, mean of two training seeds. "
        "Each has the weight of the other tables, chosen with one of the two columns only; no interval, no test."
    )
    return "\n\n".join([grid(header, rows), note])


def render_share(tables: Tables, share: str) -> str:
    """Every arm and baseline on all data sets: a table per metric."""
    groups = tables["groups"]
    arms = [*groups["controls"], *groups["treatments"], *groups["baselines"]]
    blocks = [_values(tables, share, arms, metric) for metric in _METRICS]
    note = "Mean ± half of the 95% interval over training seeds; no ± where nothing is random. Best in bold."
    return "\n\n".join([*blocks, note, *_missing(tables, (share,), arms)])


def render_ablation(tables: Tables) -> str:
    """What each part of the augmentation adds, at both shares."""
    groups = tables["groups"]
    arms = ["none", "dropout_only", *groups["variants"], *groups["treatments"]]
    blocks = []
    for share, name in _SHARES.items():
        blocks.append(f"With {name}:")
        blocks += [_values(tables, share, arms, metric) for metric in _METRICS]
    return "\n\n".join([*blocks, *_missing(tables, tuple(_SHARES), arms)])


def render_slices(tables: Tables) -> str:
    """Recall@50 by popularity of the held-out item, with the gain of the recommended arm over none."""
    groups, labels = tables["groups"], tables["labels"]
    arms = [*groups["controls"], *groups["treatments"]]
    blocks = []
    for share, name in _SHARES.items():
        rows = []
        for dataset in tables["datasets"]:
            cells = tables["cells"][share][dataset]
            gains = tables["gains"][share][dataset].get(tables["recommended"]) or {}
            for part in _SLICES:
                pairs = next((of["slices"][part]["pairs"] for arm in arms if (of := cells.get(arm))), None)
                values = {arm: cells[arm]["slices"][part]["recall_at_50"] for arm in arms if arm in cells}
                best = _best({arm: value[0] for arm, value in values.items() if value})
                shown = [bold(percent((values.get(arm) or [None])[0]), arm in best) for arm in arms]
                count = GAP if pairs is None else f"{pairs:,.0f}"
                rows.append([DATASET_LABELS[dataset], part, count, *shown, relative(gains.get(part))])
        header = ["Data set", "Items", "Pairs", *(labels[arm] for arm in arms), "gain over none"]
        blocks += [f"Recall@50 in %, with {name}:", grid(header, rows, left=2)]
    note = (
        f"Gain: {labels[tables['recommended']]} over {labels['none']}, relative, with the 95% interval over users and "
        f"seeds; {GAP} where there is no pair or an arm finds nothing. Pairs: mean over seeds, since with 10% each "
        "seed has its own training counts."
    )
    return "\n\n".join([*blocks, note, *_missing(tables, tuple(_SHARES), arms)])


def render_comparisons(tables: Tables) -> str:
    """Both treatments against the controls: difference, interval and p corrected within the family."""
    blocks = []
    for share, name in _SHARES.items():
        for treatment in tables["groups"]["treatments"]:
            arms = tables["groups"]["controls"]
            blocks += [f"{tables['labels'][treatment]} with {name}, less:", _against(tables, share, treatment, arms)]
    note = (
        "Difference in Recall@50 in percentage points (95% interval over users and seeds), p after Holm's correction "
        "for the comparisons of its column. Bold: p < 0.05."
    )
    arms = [*tables["groups"]["controls"], *tables["groups"]["treatments"]]
    return "\n\n".join([*blocks, note, *_missing(tables, tuple(_SHARES), arms)])


def render_baselines(tables: Tables) -> str:
    """The recommended arm against models without towers."""
    recommended, arms = tables["recommended"], tables["groups"]["baselines"]
    blocks = []
    for share, name in _SHARES.items():
        blocks += [f"{tables['labels'][recommended]} with {name}, less:", _against(tables, share, recommended, arms)]
    note = (
        "Difference in Recall@50 in percentage points (95% interval over users and seeds), p after Holm's correction "
        "for all arms besides the regularisers of the main table. Bold: p < 0.05."
    )
    return "\n\n".join([*blocks, note, *_missing(tables, tuple(_SHARES), [*arms, recommended])])


def render_proposals(tables: Tables) -> str:
    """How negatives are drawn and corrected: Recall@50 by slice, and the difference from exact logQ.

    Data sets on which no proposal was run are left out.
    """
    labels, arms = tables["labels"], tables["groups"]["proposals"]
    blocks = []
    for share, name in _SHARES.items():
        rows = []
        for dataset in tables["datasets"]:
            cells, found = tables["cells"][share][dataset], tables["proposals"][share][dataset]
            if not found:
                continue
            for part in ("all", *_SLICES):
                value = _values_of(cells.get("none"), part)
                shown = []
                for arm in arms:
                    row = (found.get(arm) or {}).get("recall_at_50" if part == "all" else part)
                    own = _values_of(cells.get(arm), part)
                    shown.append(percent(own) + (f", {points(row)}" if row else ""))
                rows.append([DATASET_LABELS[dataset], part, percent(value), *shown])
        header = ["Data set", "Items", "exact logQ", *(labels[arm] for arm in arms)]
        blocks += [f"Recall@50 in %, with {name}:", grid(header, rows, left=2)]
    note = "After the comma: the difference from exact logQ in percentage points (95% interval over users and seeds)."
    return "\n\n".join([*blocks, note, *_missing(tables, tuple(_SHARES), ["none", *arms])])


def render_curves(tables: Tables) -> str:
    """Validation Recall@50 over a setting, with all else as tuned."""
    blocks = []
    for setting in dict.fromkeys(curve["setting"] for curve in tables["curves"]):
        curves = [curve for curve in tables["curves"] if curve["setting"] == setting]
        xs = sorted({point["x"] for curve in curves for point in curve["points"]})
        rows = []
        for curve in curves:
            points = {point["x"]: point for point in curve["points"]}
            shown = [bold(spread(points[x]["value"]), x == curve["tuned"]) if x in points else GAP for x in xs]
            seeds = sorted({point["seeds"] for point in curve["points"]})
            share = "100%" if curve["share"] == 1.0 else f"{100 * curve['share']:g}%"
            arm = tables["labels"][curve["arm"]]
            count = "–".join(str(n) for n in dict.fromkeys([seeds[0], seeds[-1]]))
            rows.append([DATASET_LABELS[curve["dataset"]], share, arm, count, spread(curve["none"]), *shown])
        header = ["Data set", "Trained on", "Arm", "Seeds", tables["labels"]["none"], *(f"{x:g}" for x in xs)]
        blocks += [f"Over `{setting}`:", grid(header, rows, left=3)]
    if not blocks:
        return "No curve was run."
    note = (
        "Recall@50 on the validation split in %, mean ± half of the 95% interval over seeds; the tuned setting in "
        f"bold. {GAP}: not run."
    )
    return "\n\n".join([*blocks, note])


def render_splits(tables: Tables) -> str:
    """The recommended arm over none on other random splits of one data set."""
    splits, labels = tables["splits"], tables["labels"]
    rows = [
        [seed, percent(row["values"][1]), percent(row["values"][0]), points(row), relative(row), p_text(row["p"])]
        for seed, row in splits["rows"].items()
    ]
    if not rows:
        return "No other split was run."
    header = ["Split seed", labels["none"], labels[tables["recommended"]], "difference", "relative", "p"]
    note = f"Recall@50 in % on {DATASET_LABELS[splits['dataset']]}, 95% intervals over users and seeds."
    return "\n\n".join([grid(header, rows), note])


def render_tuned(tables: Tables) -> str:
    """The settings of the tests, and how many tuning trials chose them."""
    blocks = []
    for share, name in _SHARES.items():
        tuned = tables["tuned"][share]
        rows = []
        for arm, label in tables["labels"].items():
            if arm in tables["groups"]["proposals"]:
                continue
            found = [tuned[dataset].get(arm) for dataset in tables["datasets"]]
            run = [of for of in found if of is not None]
            if run:
                minutes = sum(of["tuning_seconds"] for of in run) / 60
                rows.append(
                    [
                        label,
                        *(settings_text(of) for of in found),
                        str(sum(of["tuning_trials"] for of in run)),
                        f"{minutes:.1f}" if minutes < 10 else f"{minutes:.0f}",
                    ]
                )
        header = ["Arm", *(DATASET_LABELS[dataset] for dataset in tables["datasets"]), "trials", "minutes"]
        blocks += [f"With {name}:", grid(header, rows)]
    note = (
        "What differs from the data set's own settings, chosen on validation Recall@50; in brackets, the number of "
        "tuning trials; at the end, the tuning trials of all data sets and the minutes that they took on one core. "
        f"Ways to draw and correct negatives take the settings of: {tables['labels']['none']}."
    )
    return "\n\n".join([*blocks, note])


def render_missing(tables: Tables) -> str:
    return "\n\n".join(_missing(tables, tuple(_SHARES), list(tables["labels"]))) or "No trial is missing."


RENDERERS: Mapping[str, Callable[[Tables], str]] = {
    "main": render_main,
    "full": lambda tables: render_share(tables, "full"),
    "sparse": lambda tables: render_share(tables, "sparse"),
    "slices": render_slices,
    "ablation": render_ablation,
    "comparisons": render_comparisons,
    "baselines": render_baselines,
    "proposals": render_proposals,
    "curves": render_curves,
    "splits": render_splits,
    "tuned": render_tuned,
    "missing": render_missing,
    "headline": render_headline,
    "towers": render_towers,
}


# --- Parts of tables --------------------------------------------------------------------------------


def _values(tables: Tables, share: str, arms: Sequence[str], metric: str) -> str:
    """One metric: a row per arm that was run, a column per data set, the best of each column in bold."""
    arms = [arm for arm in arms if any(arm in tables["cells"][share][dataset] for dataset in tables["datasets"])]
    columns = []
    for dataset in tables["datasets"]:
        cells = tables["cells"][share][dataset]
        best = _best({arm: cells[arm][metric][0] for arm in arms if arm in cells})
        columns.append([bold(_cell(cells, arm, metric), arm in best) for arm in arms])
    rows = [[tables["labels"][arm], *cells] for arm, *cells in zip(arms, *columns)]
    return grid([f"{_METRICS[metric]}, %", *(DATASET_LABELS[name] for name in tables["datasets"])], rows)


def _against(tables: Tables, share: str, treatment: str, arms: Sequence[str]) -> str:
    rows = []
    for arm in arms:
        cells = []
        for dataset in tables["datasets"]:
            row = _comparison(tables, share, dataset, treatment, arm)
            text = f"{points(row)}, p {p_holm(row)}" if row else GAP
            cells.append(bold(text, bool(row) and row["holm"] is not None and row["holm"] < 0.05))
        if any(cell != GAP for cell in cells):
            rows.append([tables["labels"][arm], *cells])
    return grid(["Recall@50", *(DATASET_LABELS[dataset] for dataset in tables["datasets"])], rows)


def _missing(tables: Tables, shares: Sequence[str], arms: Sequence[str]) -> list[str]:
    """A paragraph on the cells that lack seeds (marked †) and a word on those never run (–), or nothing."""
    of_tables = [row for row in tables["missing"] if row["share"] in shares and row["arm"] in arms]
    lines = [f"{GAP}: not run."] if any(row["seeds"] == 0 for row in of_tables) else []
    for share in shares:
        rows = [row for row in of_tables if row["share"] == share and row["seeds"]]
        named = []
        for arm in dict.fromkeys(row["arm"] for row in rows):
            own = [row for row in rows if row["arm"] == arm]
            counts = ", ".join(f"{DATASET_LABELS[row['dataset']]} {row['seeds']} of {row['expected']}" for row in own)
            named.append(f"{tables['labels'][arm]}: {counts}")
        if named:
            lines.append(f"Seeds that lack (†), with {_SHARES[share]}: {'; '.join(named)}.")
    return lines


def _comparison(tables: Tables, share: str, dataset: str, treatment: str, against: str) -> Mapping[str, Any] | None:
    rows = tables["comparisons"][share][dataset]
    return next((row for row in rows if (row["treatment"], row["against"]) == (treatment, against)), None)


def _mean(cell: Mapping[str, Any]) -> float:
    return cell["recall_at_50"][0]


def _values_of(cell: Mapping[str, Any] | None, part: str) -> float | None:
    if cell is None:
        return None
    found = cell["recall_at_50"] if part == "all" else cell["slices"][part]["recall_at_50"]
    return None if found is None else found[0]


def _best(values: Mapping[str, float]) -> set[str]:
    """The arms whose value reads as the greatest; none where all are 0."""
    rounded = {arm: round(100 * value, 2) for arm, value in values.items()}
    top = max(rounded.values(), default=0.0)
    return {arm for arm, value in rounded.items() if value == top} if top else set()


# --- Cells ------------------------------------------------------------------------------------------


def _cell(cells: Mapping[str, Any], arm: str, metric: str = "recall_at_50") -> str:
    if arm not in cells:
        return GAP
    return spread(cells[arm][metric]) + ("†" if cells[arm]["seeds"] < cells[arm]["expected"] else "")
