"""The evidence tables as Markdown, each from the numbers of `benchmarks.evidence.summary`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.evidence.cells import GAP, bold, grid, p_holm, percent, points, relative, settings_text, spread

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
_METRICS = {
    "recall_at_50": "Recall@50",
    "recall_at_10": "Recall@10",
    "map_at_10": "MAP@10",
    "user_recall_at_20": "Recall@20 per query",
    "ndcg_at_20": "NDCG@20 per query",
    "item_recall_at_50": "Recall@50 per item",
}
_SLICES = ("head", "torso", "tail", "cold")
_TOWERS = ("item", "both")


# --- Tables -----------------------------------------------------------------------------------------


def render_main(tables: Tables, shares: Sequence[str] = tuple(_SHARES)) -> str:
    """Recall@50 of the plain towers, of the best regulariser and of the best model without towers, by validation."""
    labels, rows = tables["labels"], []
    for share, dataset in itertools.product(shares, tables["datasets"]):
        cells, best = tables["cells"][share][dataset], tables["best"][share][dataset]
        towers, picked, peer = best["towers"], best["regularizer"], best["peer"]
        # What validation picks may have too few tests yet to be compared.
        if best["gain"] is None or best["lead"] is None:
            continue
        ahead = _mean(cells[towers]) > _mean(cells[peer])
        gain = tables["gains"][share][dataset][picked]["recall_at_50"]
        rows.append(
            [
                DATASET_LABELS[dataset],
                "100%" if share == "full" else "10%",
                bold(percent(_mean(cells["none"])), ahead and towers == "none"),
                f"{bold(percent(_mean(cells[picked])), ahead and towers == picked)} ({labels[picked]})",
                f"{relative(gain)}, p {p_holm(gain)}",
                f"{bold(percent(_mean(cells[peer])), not ahead)} ({labels[peer]})",
                points(best["lead"]),
            ]
        )
    if not rows:
        return "Not measured yet."
    header = ["Log", "Trained on", "plain towers", "best regulariser", "gain over plain", "best without towers"]
    note = (
        "Recall@50 in % on the test, means over training seeds. Validation picked the regulariser, the model without "
        "towers, and the towers that lead over it: the plain ones or the regularised. Gain: relative, with its 95% "
        "interval over users and seeds, p after Holm's correction for all regularisers of the log. Lead: points, same "
        "interval. In bold what is ahead."
    )
    return "\n\n".join([grid([*header, "towers' lead"], rows), note])


def render_towers(tables: Tables) -> str:
    """Which tower the views go through, on logs of links: validation Recall@50 by regulariser."""
    blocks = []
    for share, name in _SHARES.items():
        found = {dataset: of for dataset, of in tables["towers"][share].items() if of}
        arms = [arm for arm in tables["labels"] if any(arm in of for of in found.values())]
        if arms:
            header = [f"With {name}", *(f"{DATASET_LABELS[of]}, {towers}" for of in found for towers in _TOWERS)]
            rows = []
            for arm in arms:
                values = [(of.get(arm) or {}).get(towers) for of in found.values() for towers in _TOWERS]
                rows.append([tables["labels"][arm], *map(percent, values)])
            blocks.append(grid(header, rows))
    if not blocks:
        return "Not measured yet."
    note = (
        "Recall@50 in % on validation, one seed, each at the weight and temperature of the log: the first step of each "
        "search. item: both views through the item tower, as in the paper; both: one through the query tower."
    )
    return "\n\n".join([*blocks, note])


def render_share(tables: Tables, share: str) -> str:
    """Every arm and baseline on all data sets: a table per metric."""
    arms = [*tables["groups"]["towers"], *tables["groups"]["baselines"]]
    blocks = [_values(tables, share, arms, metric) for metric in _METRICS]
    note = "Mean ± half of the 95% interval over training seeds; no ± where nothing is random. Best in bold."
    return "\n\n".join([*blocks, note, *_missing(tables, (share,), arms)])


def render_slices(tables: Tables) -> str:
    """Recall@50 by popularity of the held-out item: every arm of the towers, less none."""
    labels, blocks = tables["labels"], []
    for share, name in _SHARES.items():
        of_share = tables["gains"][share]
        arms = [arm for arm in tables["groups"]["towers"] if any(arm in of_share[log] for log in tables["datasets"])]
        rows = []
        for dataset in tables["datasets"]:
            plain = tables["cells"][share][dataset].get("none")
            for part in _SLICES if plain else ():
                found = [(of_share[dataset].get(arm) or {}).get(part) for arm in arms]
                counts = f"{plain['slices'][part]['pairs']:,.0f}", percent(_values_of(plain, part))
                shown = [GAP if row is None else points(row) for row in found]
                rows.append([DATASET_LABELS[dataset], part, *counts, *shown])
        if rows:
            header = ["Log", "Items", "Pairs", labels["none"], *(f"{labels[arm]}, less it" for arm in arms)]
            blocks += [f"Recall@50 in %, with {name}:", grid(header, rows, left=2)]
    note = (
        f"Differences in points, with 95% intervals over users and seeds; {GAP} where there is no pair or the arm was "
        "not run. Pairs: mean over seeds, since with 10% each seed has its own training counts."
    )
    return "\n\n".join([*blocks, note])


def render_comparisons(tables: Tables) -> str:
    """Every regulariser against none: difference, interval and p corrected within a log."""
    blocks, arms = [], tables["groups"]["towers"]
    for share, name in _SHARES.items():
        of_share, rows = tables["gains"][share], []
        for arm in arms:
            found = [(of_share[dataset].get(arm) or {}).get("recall_at_50") for dataset in tables["datasets"]]
            if any(found):
                rows.append([tables["labels"][arm], *map(_difference, found)])
        if rows:
            blocks += [f"With {name}:", grid(["Less plain towers", *_names(tables)], rows)]
    note = (
        "Difference in Recall@50 in percentage points (95% interval over users and seeds), p after Holm's correction "
        "for the regularisers of its column. Bold: p < 0.05."
    )
    return "\n\n".join([*blocks, note, *_missing(tables, tuple(_SHARES), arms)])


def render_baselines(tables: Tables) -> str:
    """The towers that validation picks against every model without towers."""
    blocks, arms = [], tables["groups"]["baselines"]
    for share, name in _SHARES.items():
        best, rows = [tables["best"][share][dataset] for dataset in tables["datasets"]], []
        for arm in arms:
            found = [of["against"].get(arm) for of in best]
            if any(found):
                rows.append([tables["labels"][arm], *map(_difference, found)])
        if rows:
            labels = [tables["labels"].get(of["towers"], GAP) for of in best]
            header = [f"{log}: {towers}" for log, towers in zip(_names(tables), labels)]
            blocks += [f"With {name}:", grid(["Less", *header], rows)]
    note = (
        "The towers that validation picks on a log, less a model without towers: difference in Recall@50 in percentage "
        "points (95% interval over users and seeds), p after Holm's correction for its column. Bold: p < 0.05."
    )
    return "\n\n".join([*blocks, note, *_missing(tables, tuple(_SHARES), arms)])


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
        if rows:
            header = ["Data set", "Items", "exact logQ", *(labels[arm] for arm in arms)]
            blocks += [f"Recall@50 in %, with {name}:", grid(header, rows, left=2)]
    note = "After the comma: the difference from exact logQ in percentage points (95% interval over users and seeds)."
    return "\n\n".join([*blocks, note, *_missing(tables, tuple(_SHARES), ["none", *arms])])


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


RENDERERS: Mapping[str, Callable[[Tables], str]] = {
    "headline": lambda tables: render_main(tables, ["full"]),
    "main": render_main,
    "full": lambda tables: render_share(tables, "full"),
    "sparse": lambda tables: render_share(tables, "sparse"),
    "slices": render_slices,
    "comparisons": render_comparisons,
    "baselines": render_baselines,
    "towers": render_towers,
    "proposals": render_proposals,
    "tuned": render_tuned,
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


def _difference(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return GAP
    return bold(f"{points(row)}, p {p_holm(row)}", row["holm"] is not None and row["holm"] < 0.05)


def _names(tables: Tables) -> list[str]:
    return [DATASET_LABELS[dataset] for dataset in tables["datasets"]]


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
