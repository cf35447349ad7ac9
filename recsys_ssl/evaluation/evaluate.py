"""From the embeddings of two arms to the report: read, rank exactly, compare, decide, and say how it was done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional

import numpy as np
import pyarrow as pa

from recsys_ssl.evaluation.cautions import count_repeats, list_cautions
from recsys_ssl.evaluation.compare import LISTED, compare
from recsys_ssl.evaluation.decision import EvaluationConfig, Row
from recsys_ssl.evaluation.labels import Labels
from recsys_ssl.evaluation.own_counts import count_own
from recsys_ssl.evaluation.queries import (
    RankingTask,
    build_task,
    check_same_queries,
    read_item_embeddings,
    read_query_vectors,
)
from recsys_ssl.evaluation.ranking import TOP_K, Ranked, rank, rank_by_own, rank_by_popularity
from recsys_ssl.evaluation.repeats import has_repeats, read_repeats
from recsys_ssl.evaluation.rows import MIN_DIFFERING, MIN_EFFECTIVE, MOST_SHARE
from recsys_ssl.evaluation.samples import pick_samples
from recsys_ssl.spec import FeatureSpec, Split

Progress = Callable[[str, int, int], None]
"""Called with the step's name, the rankings done and the rankings in all."""


@dataclass(frozen=True)
class Arm:
    """Where the embeddings lie that one training of an arm gave, and what it is."""

    name: str
    """What people read, e.g. `no self-supervision`."""
    item_dir: str
    """Parquet directory of the item embeddings."""
    query_dir: str
    """Parquet directory of the query embeddings of the split."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able facts of the arm (hyper-parameters, commit, checkpoint); the report shows where the arms differ."""
    index_recall: Optional[Mapping[int, float]] = None
    """k -> recall@k of the arm's approximate index against exact search; None when there is no index."""
    cautions: Sequence[str] = ()
    """Of its training, in sentences."""


def evaluate_arms(
    spec: FeatureSpec,
    control: Sequence[Arm],
    treatment: Sequence[Arm],
    config: EvaluationConfig,
    summary: Optional[Mapping[str, Any]] = None,
    titles: Optional[Sequence[str]] = None,
    progress: Optional[Progress] = None,
    chosen_before: Optional[Iterable[tuple[pa.Array, np.ndarray]]] = None,
    item_labels: Optional[Labels] = None,
) -> Row:
    """Evaluates two arms on the same held-out events and returns the whole report.

    One training's vectors are held at a time. Memory: both sides' vectors (4 * dim bytes a row, the items' twice), 12
    bytes for every item of a history where repeats have a score, the task, one 256 MiB block of scores, and of each
    training 8 bytes a held-out pair and 40 bytes a ranking (200 of the first).

    Args:
        control, treatment: `config.seeds` trainings of each arm, which differ in their seeds alone; the examples, the
            index and the settings that are shown are those of the first.
        config: the rule of the decision.
        summary: of the ingestion, as JSON; `cuts_us` (split -> its first microsecond since 1970) is shown and is
            checked against the first held-out event, and the counts of held-out pairs and queries may ask for
            cautions. None: not checked, and the report says so of the cuts.
        titles: [num_items] what people read for an item; the item's id when None.
        progress: called while ranking.
        chosen_before: the events before the split, see `own_counts.count_own`; read only where queries may choose
            again, for the floor of their own counts. None: that floor is left out, and a check says so.
        item_labels: [num_items] values of the feature `evaluation.cluster_by`; None without one.

    Returns:
        JSON-able report, see `compare.compare`, with `title`, `arms`, `cautions`, `config`, `index`, `protocol`,
        `samples` and `caveats` besides; with `item_labels` also `clusters`, see `cluster_arms.compare_clusters`.

    Raises:
        ValueError: the arms are of different events or catalogues, an embedding is not finite, or the trainings are
            not those of `config.seeds` seeds.
    """
    for trainings in (control, treatment):
        _check_seeds(trainings, config)
    first = control[0]
    num_events = check_same_queries(first.query_dir, treatment[0].query_dir)
    item_ids, _, train_counts = read_item_embeddings(first.item_dir)
    task = build_task(first.query_dir, spec, len(item_ids))
    if titles is not None and len(titles) != task.num_items:
        raise ValueError(
            f"titles must have one entry per item. Received {len(titles)} for {task.num_items} items. "
            "Read them from the catalogue in row order."
        )
    popular = rank_by_popularity(task, train_counts, progress=_step(progress, "most-popular"))
    repeats_count = not (spec.evaluation.mask_seen and task.masks_seen)
    own_counts = None
    if repeats_count and chosen_before is not None:
        own, shown = count_own(task, chosen_before), _step(progress, "own counts")
        own_counts = rank_by_own(task, own, train_counts, task.cluster, progress=shown)

    def rank_training(training: Arm, k: int, name: str) -> Ranked:
        if training is not first:
            check_same_queries(first.query_dir, training.query_dir)
        other_ids, vectors, other_counts = read_item_embeddings(training.item_dir)
        if not np.array_equal(item_ids, other_ids) or not np.array_equal(train_counts, other_counts):
            raise ValueError(
                "both arms must embed the same catalogue. Received different item ids or training counts in "
                f"{first.item_dir} and {training.item_dir}. Embed the same catalogue with both models."
            )
        queries = read_query_vectors(training.query_dir, task.event_rows)
        repeats = read_repeats(training.query_dir, training.item_dir, task.event_rows)
        return rank(task, queries, vectors, k, progress=_step(progress, name), repeats=repeats)

    def rank_arm(trainings: Sequence[Arm]) -> list[Ranked]:
        of = f" of {len(trainings)}" if len(trainings) > 1 else ""
        names = [f"{training.name}{f', seed {i}{of}' if of else ''}" for i, training in enumerate(trainings, 1)]
        # The first is what the examples show; of the others the lists are counted only.
        ks = [TOP_K, *[LISTED] * (len(trainings) - 1)]
        return [rank_training(*each) for each in zip(trainings, ks, names, strict=True)]

    ranked_control, ranked_treatment = rank_arm(control), rank_arm(treatment)
    summary = summary or {}
    checks = [
        {
            "name": "Same questions in both arms",
            "passed": True,
            "detail": f"{num_events:,} held-out events and {task.num_items:,} items agree row by row.",
        },
        _check_time(spec, task, summary),
        _check_index(treatment[0], config),
    ]
    if repeats_count and own_counts is None:
        checks.append(dict(_NO_OWN_COUNTS))
    compared = compare(task, ranked_control, ranked_treatment, popular, train_counts, checks, config, own_counts)
    return {
        "title": spec.name,
        "description": spec.description,
        "arms": {
            "control": {"name": control[0].name, "settings": dict(control[0].settings)},
            "treatment": {"name": treatment[0].name, "settings": dict(treatment[0].settings)},
            "differing": _differing(control[0].settings, treatment[0].settings),
        },
        "cautions": [*list_cautions(spec, summary), *_training_cautions(control, treatment)],
        "config": asdict(config),
        **compared,
        "index": _index_rows(control[0], treatment[0]),
        "protocol": _protocol(spec, task, summary, config, [has_repeats(a[0].query_dir) for a in (control, treatment)])
        + [_OWN_COUNTS] * (own_counts is not None),
        "samples": pick_samples(
            task, ranked_control[0], ranked_treatment[0], item_ids if titles is None else titles, config.seed
        ),
        "caveats": _caveats(config),
        **_compare_clusters(spec, control[0], treatment[0], item_labels, progress),
    }


def _compare_clusters(
    spec: FeatureSpec, control: Arm, treatment: Arm, labels: Optional[Labels], progress: Optional[Progress]
) -> Row:
    """The row `clusters`, of the first training of each arm."""
    if labels is None or spec.evaluation.cluster_by is None:
        return {}
    from recsys_ssl.evaluation.cluster_arms import compare_clusters  # whose library only this needs

    if progress is not None:
        progress("clusters", 0, 2)
    item_dirs = {"control": control.item_dir, "treatment": treatment.item_dir}
    return {"clusters": compare_clusters(spec.evaluation.cluster_by, labels, item_dirs)}


_OWN_COUNTS = {
    "topic": "Own counts",
    "statement": "All items by how often the query chose them before the split, then by training events: the floor "
    "where queries may choose again.",
}
_NO_OWN_COUNTS = {
    "name": "Floor of own counts",
    "passed": None,
    "detail": "Queries may choose again, but what they chose before the split was not given.",
}


def _caveats(config: EvaluationConfig) -> list[str]:
    seeds = (
        "The intervals hold the sampling of queries only. Another training seed gives another model: train both arms "
        "several times, by evaluation.seeds, before a claim about the method."
        if config.seeds == 1
        else "The intervals hold the sampling of queries and the chance of training. The split and the settings of "
        "both arms are taken as given."
    )
    return [
        "The log shows what people did with what they were shown. An item that was never shown cannot be a hit, so "
        "these figures favour models that resemble the one that made the log; they are no causal effect of a launch.",
        seeds,
        "An interval that holds zero is no proof that the arms are equal; the minimum detectable effect says how large "
        "a difference this split could have found.",
    ]


def _step(progress: Optional[Progress], name: str):
    return None if progress is None else lambda done, total: progress(name, done, total)


def _check_seeds(trainings: Sequence[Arm], config: EvaluationConfig) -> None:
    """Raises ValueError where the trainings of an arm are not `config.seeds` ones that differ in the seed alone."""
    if len(trainings) != config.seeds:
        raise ValueError(
            f"evaluation.seeds={config.seeds} asks for as many trainings of each arm. Received: {len(trainings)}. "
            "Train the arm once with each seed."
        )
    if config.seeds == 1:
        return
    settings = [{**training.settings, "seed": None} for training in trainings]
    seeds = [training.settings.get("seed") for training in trainings]
    if any(other != settings[0] for other in settings) or len(set(seeds)) < len(seeds):
        raise ValueError(
            f"the trainings of one arm must differ in their seeds, and in nothing else. Received: seeds {seeds} of "
            f"{trainings[0].name}{'' if len(set(seeds)) < len(seeds) else ', with other settings besides'}. Train "
            "those again that are of other settings."
        )


# --- Validity ----------------------------------------------------------------------------------------


def _check_time(spec: FeatureSpec, task: RankingTask, summary: Mapping[str, Any]) -> Row:
    name, cuts = "Training before testing", summary.get("cuts_us")
    if task.min_timestamp_us is None:
        return {"name": name, "passed": None, "detail": "The log has no time: a leak of the future cannot be excluded."}
    if spec.split.kind == "given":
        times = summary.get("split_times_us") or {}
        if "train" not in times:
            return {"name": name, "passed": None, "detail": "The times of the given splits were not given."}
        last, in_order = times["train"]["last"], task.min_timestamp_us >= times["train"]["last"]
        told = "" if in_order else " They overlap: the models may have learnt from the future of what they are asked."
        return {
            "name": name,
            "passed": in_order or None,
            "detail": f"The split was given. Training ends at {_date(last)}; first held-out event "
            f"{_date(task.min_timestamp_us)}.{told}",
        }
    if not cuts:
        return {"name": name, "passed": None, "detail": "The cut times of the split were not given."}
    train_end = min(cuts.values())
    return {
        "name": name,
        "passed": task.min_timestamp_us >= train_end,
        "detail": f"Training ends before {_date(train_end)}; first held-out event {_date(task.min_timestamp_us)}.",
    }


def _check_index(treatment: Arm, config: EvaluationConfig) -> Row:
    name = "Index against exact search"
    if not treatment.index_recall:
        return {"name": name, "passed": None, "detail": "No approximate index was given; ranking here is exact."}
    k, least = min(treatment.index_recall.items(), key=lambda pair: pair[1])
    return {
        "name": name,
        "passed": least >= config.min_index_recall,
        "detail": f"The treatment's index finds {least:.1%} of the exact first {k}; at least "
        f"{config.min_index_recall:.1%} is asked for.",
    }


# --- What the reader needs to know ---------------------------------------------------------------------


def _index_rows(control: Arm, treatment: Arm) -> list[Row]:
    both = {"control": control.index_recall or {}, "treatment": treatment.index_recall or {}}
    ks = sorted({k for recalls in both.values() for k in recalls})
    return [{"k": k, **{arm: recalls.get(k) for arm, recalls in both.items()}} for k in ks]


def _differing(control: Mapping[str, Any], treatment: Mapping[str, Any]) -> list[Row]:
    """The settings that the arms do not share; those of a section by their dotted names."""
    left, right = _flatten(control), _flatten(treatment)
    return [
        {"setting": key, "control": left.get(key), "treatment": right.get(key)}
        for key in sorted({*left, *right})
        if left.get(key) != right.get(key)
    ]


def _training_cautions(control: Sequence[Arm], treatment: Sequence[Arm]) -> list[str]:
    """The cautions of both arms, each with its arm, and once whatever the seeds that gave it."""
    of_arm = [list(dict.fromkeys(c for training in arm for c in training.cautions)) for arm in (control, treatment)]
    shared = [caution for caution in of_arm[0] if caution in of_arm[1]]
    found = [f"Training of both arms: {caution}" for caution in shared]
    for arm, cautions in zip((control, treatment), of_arm):
        found += [f"Training of the {arm[0].name}: {caution}" for caution in cautions if caution not in shared]
    return found


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat


def _say_repeats(control: bool, treatment: bool) -> str:
    if not (control or treatment):
        return ""
    where = "" if control and treatment else f" in the {'control' if control else 'treatment'}"
    return f"; of an item that the query has chosen before also a learned chance that it comes again{where}"


def _protocol(
    spec: FeatureSpec,
    task: RankingTask,
    summary: Mapping[str, Any],
    config: EvaluationConfig,
    reads_repeats: Sequence[bool],
) -> list[Row]:
    """How it was done; `reads_repeats` says of both arms whether scores know what was chosen before."""
    cuts = "; ".join(f"{split} from {_date(cut)}" for split, cut in (summary.get("cuts_us") or {}).items())
    at = f" Cuts: {cuts}." if cuts else ""
    split = {
        "time": f"One global time line: training, then validation ({spec.split.validation:.0%}), then test "
        f"({spec.split.test:.0%}) of the positive events.{at}",
        "random": f"Random (the log has no time): validation {spec.split.validation:.0%}, test {spec.split.test:.0%}.",
        "item_group": f"By groups of items, the values of {spec.split.column} (the log has no time): validation "
        f"{spec.split.validation:.0%}, test {spec.split.test:.0%} of the groups. Every test item is new.",
        "given": f"Given by files: training {_join(spec.events.paths)}; validation {_describe_validation(spec.split)}; "
        f"test {_join(spec.split.test_paths)}.",
    }[spec.split.kind]
    group = {
        "query": "One ranking per query, at its first held-out event; all its held-out items are positives, each once.",
        "event": "One ranking per held-out event; its item is the only positive, and later ones of the same query "
        "stay in the ranking as other items.",
    }[spec.evaluation.group_by]
    before = "the event" if spec.events.timestamp else "the split"
    if spec.events.timestamp and spec.split.kind == "given":
        before = "the split, and in it before the event,"
    repeats, disliked, pairs = count_repeats(summary)
    if task.masks_seen:
        repeats, pairs = task.num_repeats, task.num_repeats + task.num_pairs
        left_out = ["the query's positives"] * spec.evaluation.mask_seen
        left_out += ["items that the query rated low"] * spec.evaluation.mask_disliked
        masked = f"{' and '.join(left_out).capitalize()} before {before} are left out of its ranking, held out or not"
    else:
        repeats += disliked
        masked = "Nothing is left out: " + (
            "no held-out item is new to its query" if spec.evaluation.masks else "repeat consumption counts"
        )
    if pairs:
        masked += f". Of {pairs:,} held-out pairs {repeats:,} ({repeats / pairs:.1%}) are such repeats"
        if spec.evaluation.mask_disliked:
            masked = masked.removesuffix("such repeats") + f"of such items, {disliked:,} of them for a low rating alone"
    own = " The query's own row is always left out." if spec.queries.same_as_items else ""
    statements = {
        "Split": split,
        "Size": f"{task.num_clusters:,} queries, {task.num_rankings:,} rankings, {task.num_pairs:,} held-out pairs.",
        "Rankings": group,
        "Corpus": f"All {task.num_items:,} items of the catalogue, those never trained on included; ranked exactly, no "
        f"sampled negatives. Score: dot product of the embeddings{_say_repeats(*reads_repeats)}.",
        "Filter": f"{masked}.{own}",
        "Ties": "Rank = 1 + items scored higher + half of the other items scored equal; tied held-out items of one "
        "ranking take their expected places in random order.",
        "Denominators": "Recall@k: all held-out pairs, pooled (micro). Recall@20 per query: the ranking's held-out "
        "items, mean over the rankings of a query, then over queries (macro). MAP@k: min(k, held-out items), mean over "
        "rankings. NDCG@k: ideal over min(k, held-out items), mean over rankings. MRR: best held-out item, no cut-off. "
        "Coverage@10: items of the catalogue in any first ten.",
        "Item slices": "By training events. Head: most frequent 10% of trained items; torso: the next that hold 80% of "
        "the remaining events; tail: other trained items; cold: no training event.",
        "Intervals": f"{_describe_intervals(config)} None where the queries weigh as much as fewer than "
        f"{MIN_EFFECTIVE} equal ones, (sum of weights)^2 / sum of squared weights, where one holds more than "
        f"{MOST_SHARE:.0%} of the weight, or where the arms differ in as much as fewer than {MIN_DIFFERING} queries.",
        "p-values": "Two-sided: the least level at which the interval of the difference leaves out zero; none without "
        "an interval. Overall metrics corrected by Holm, slices by Benjamini-Hochberg.",
        "Most-popular": "All items by training events, the same filter: the floor that a model has to beat.",
    }
    return [{"topic": topic, "statement": statement} for topic, statement in statements.items()]


def _describe_validation(split: Split) -> str:
    if split.validation_paths:
        return _join(split.validation_paths)
    if not split.validation:
        return "none, so that the last step of the training is kept"
    return f"{split.validation:.0%} of the training pairs, by a hash"


def _join(paths: Optional[Sequence[str]]) -> str:
    return ", ".join(paths or [])


def _describe_intervals(config: EvaluationConfig) -> str:
    if config.seeds > 1:
        return (
            f"{config.confidence:.0%} t-intervals over queries and {config.seeds} training seeds, which are crossed: "
            "the variances of both are added, and Student's quantiles weighted by them (Cochran)."
        )
    return (
        f"{config.confidence:.0%} percentile intervals, paired Poisson bootstrap over queries, "
        f"{config.bootstrap_samples:,} draws, seed {config.seed}, widened to Student's quantiles by the effective "
        "number of queries."
    )


def _date(timestamp_us: int) -> str:
    return datetime.fromtimestamp(timestamp_us / 1e6, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
