"""The rule, fixed before the run, that turns a comparison into a verdict, and the facts to look at besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys_ssl.evaluation import metrics, slices

_COVERAGE_LOSS = 0.1
_HEAD_GAIN = 0.05
_OWN_COUNTS = "the queries' own counts"

MOST_SEEDS = 20
"""Far above what a claim needs."""

Row = dict[str, Any]
"""JSON-able: str, int, float, bool, None, and lists and dicts of them."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How the arms are compared and when the treatment is blessed; fixed before the run.

    The treatment is blessed if and only if the interval of the primary metric's relative difference lies above
    -non_inferiority_margin, the treatment's interval over most-popular lies above zero, where queries may choose again
    that over their own counts too, and no validity check fails.
    """

    primary: str = "recall_at_50"
    """A recall only where its k is a small share of the items ranked, else a check fails; see `metrics.MOST_K_SHARE`.
    It is not chosen by the catalogue: the rule is the same for all runs that keep it."""
    bootstrap_samples: int = 1000
    confidence: float = 0.95
    seed: int = 0
    non_inferiority_margin: float = 0.0
    """Relative: 0.01 blesses a treatment that is shown to lose less than 1%."""
    min_index_recall: float = 0.9
    """Least recall of the treatment's approximate index against exact search."""
    seeds: int = 1
    """How often each arm is trained, with its `seed` and those after it. One says which of two models is better; with
    two or more the intervals hold the chance of training too, and what is said is said of the methods."""

    def __post_init__(self):
        if self.primary not in metrics.METRICS:
            raise ValueError(
                f"primary must be an overall metric. Received: {self.primary!r}. Use one of {list(metrics.METRICS)}."
            )
        if self.bootstrap_samples < 100:
            raise ValueError(
                "bootstrap_samples must be at least 100, or the interval's ends are noise. "
                f"Received: {self.bootstrap_samples}. Use 1000 or more."
            )
        if self.bootstrap_samples > 1_000_000:
            raise ValueError(f"bootstrap_samples must be at most 1,000,000. Received: {self.bootstrap_samples}.")
        if not 1 <= self.seeds <= MOST_SEEDS:
            raise ValueError(f"seeds must be 1 to {MOST_SEEDS}. Received: {self.seeds}. Use 3 to 5.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative. Received: {self.seed}.")
        if not 0.5 <= self.confidence < 1.0:
            raise ValueError(f"confidence must lie in [0.5, 1). Received: {self.confidence}. Use 0.95.")
        if not 0.0 <= self.non_inferiority_margin < 1.0:
            raise ValueError(
                f"non_inferiority_margin must lie in [0, 1). Received: {self.non_inferiority_margin}. Use 0-0.05."
            )
        if not 0.0 <= self.min_index_recall <= 1.0:
            raise ValueError(f"min_index_recall must lie in [0, 1]. Received: {self.min_index_recall}. Use 0.9.")


def decide(
    metric_rows: list[Row],
    floor: list[Row],
    checks: Sequence[Row],
    config: EvaluationConfig,
    own_floor: Sequence[Row] = (),
) -> Row:
    """Returns the verdict: `word`, `blessed`, `reasons`, `primary` and `rule`.

    Args:
        metric_rows, floor, own_floor: of `compare.compare`.
        checks: with `passed` False when failed; None (not applicable) does not fail. A `cure` says what to do.
    """
    primary, label = row_of(metric_rows, config.primary), metrics.label_of(config.primary)
    margin, level = config.non_inferiority_margin, f"{config.confidence:.0%}"
    failed = [check["name"] for check in checks if check["passed"] is False]
    cures = [check["cure"] for check in checks if check["passed"] is False and "cure" in check]
    beaten = _beaten({"most-popular": floor, _OWN_COUNTS: own_floor}, config)
    beats_floor = all(beaten.values())
    # Over a control of 0 there is no relative difference; its sign is that of the absolute one.
    bounds, shown, form = primary["relative_interval"], "relative difference", _percent
    if bounds is None:
        bounds, shown, form, margin = primary["interval"], "difference", "{:+.4f}".format, 0.0
    zero = _percent(-margin) if margin else "zero"
    not_inferior = bounds is not None and bounds[0] > -margin
    worse = bounds is not None and bounds[1] < 0.0

    blessed = not_inferior and beats_floor and not failed
    if blessed:
        word = "launch"
    elif failed or not beats_floor or worse:
        word = "no launch"
    else:
        word = "hold"

    reasons = []
    if bounds is None:
        reasons.append(f"{label} has no interval: {primary['no_interval'] or 'it is undefined'}.")
    else:
        interval = f"the {level} interval of its {shown} is {form(bounds[0])} to {form(bounds[1])}"
        relation = "above" if not_inferior else "not above"
        reasons.append(
            f"{label} is {primary['treatment']:.4f} in treatment and {primary['control']:.4f} in control; {interval}, "
            f"{relation} {zero}."
        )
        if not not_inferior and not worse:
            reasons.append("The interval holds zero: this run does not show which arm is better.")
        if worse:
            excuse = ", but by less than the margin" if not_inferior else ""
            reasons.append(f"The treatment is significantly worse than the control{excuse}.")
    reasons += [
        f"The treatment beats {name} on {label} with an interval above zero."
        if above
        else f"The treatment is not shown to beat {name} on {label}."
        for name, above in beaten.items()
    ]
    reasons.append(_describe_seeds(primary, config))
    if failed:
        count = f"{len(failed)} validity check" + "s" * (len(failed) > 1)
        reasons[:0] = [f"{count} failed: {', '.join(failed)}.", *cures]
    else:
        unknown = [check["name"] for check in checks if check["passed"] is None]
        reasons.append("No validity check failed" + f"; not checked: {', '.join(unknown)}" * bool(unknown) + ".")
    return {
        "word": word,
        "blessed": blessed,
        "reasons": reasons,
        "primary": config.primary,
        "rule": describe_rule(config, bool(own_floor)),
    }


def _describe_seeds(primary: Row, config: EvaluationConfig) -> str:
    """What the verdict is of: one model of each arm, or what training makes of it again and again."""
    if config.seeds == 1:
        return "Each arm was trained once: this compares two models, not two methods; evaluation.seeds trains more."
    said = f"Each arm was trained {config.seeds} times, and the interval holds the chance of training"
    if primary["seed_differences"] is None:
        return f"{said}."
    differences = ", ".join(f"{value:+.4f}".replace("-", "\N{MINUS SIGN}") for value in primary["seed_differences"])
    share = "" if primary["seed_share"] is None else f", {primary['seed_share']:.0%} of its variance"
    return f"{said}{share}; by seed the difference is {differences}."


def _beaten(floors: Mapping[str, Sequence[Row]], config: EvaluationConfig) -> dict[str, bool]:
    """Whether the treatment's interval over each floor lies above zero; a floor without rows is left out."""
    intervals = {name: row_of(rows, config.primary)["interval"] for name, rows in floors.items() if rows}
    return {name: interval is not None and interval[0] > 0.0 for name, interval in intervals.items()}


def describe_rule(config: EvaluationConfig, own_counts: bool = False) -> str:
    """The rule of `decide` in words; fixed before the run, so it follows from the settings and the spec alone.

    Args:
        own_counts: whether the queries' own counts are a floor, too.
    """
    margin, interval = config.non_inferiority_margin, f"the {config.confidence:.0%} interval"
    least, of_zero, worse = "zero", "", ""
    if margin:
        least = _percent(-margin)
        of_zero = " above zero"
        worse = f" and not shown to lose less than {margin:.2%}"
    floors, beat = "interval over most-popular lies", "most-popular"
    if own_counts:
        floors = f"intervals over most-popular and over {_OWN_COUNTS} lie"
        beat = f"both most-popular and {_OWN_COUNTS}"
    return (
        f"Launch if and only if {interval} of the relative difference in {metrics.label_of(config.primary)} lies above "
        f"{least} (over a control of 0, that of the difference{of_zero}), the treatment's {floors} above zero, "
        f"and no validity check fails. No launch if the treatment is significantly worse{worse}, is not shown to beat "
        f"{beat}, or a check fails. Else hold."
    )


def list_guardrails(
    metric_rows: list[Row], slice_rows: list[Row], covered: Row, exposure: Row, config: EvaluationConfig
) -> list[Row]:
    """Facts to look at before a launch; they do not change the verdict."""
    losing = [row["label"] for row in metric_rows if _is_loss(row, config)]
    hurt = [f"{row['label']} of {row['dimension']}: {row['slice']}" for row in slice_rows if _is_loss(row, config)]
    head = slices.ITEM_SLICES.index("head")
    head_control, head_treatment = exposure["control"][head], exposure["treatment"][head]
    return [
        {
            "name": "No metric loses",
            "ok": not losing,
            "detail": f"Significantly worse: {', '.join(losing)}." if losing else "None is significantly worse.",
        },
        {
            "name": "No slice loses",
            "ok": not hurt,
            "detail": f"Significantly worse: {'; '.join(hurt)}." if hurt else "None is significantly worse.",
        },
        {
            "name": "Coverage@10",
            "ok": covered["treatment"] >= (1.0 - _COVERAGE_LOSS) * covered["control"],
            "detail": f"{covered['control']:.1%} of the catalogue in control, {covered['treatment']:.1%} in treatment; "
            f"a loss of more than {_COVERAGE_LOSS:.0%} is flagged.",
        },
        {
            "name": "Popularity bias",
            "ok": head_treatment <= head_control + _HEAD_GAIN,
            "detail": f"Head items fill {head_control:.1%} of the first 10 in control, {head_treatment:.1%} in "
            f"treatment; a gain of more than {_HEAD_GAIN * 100:.0f} points is flagged.",
        },
    ]


def _is_loss(row: Row, config: EvaluationConfig) -> bool:
    return row["adjusted_p"] is not None and row["adjusted_p"] < 1.0 - config.confidence and row["difference"] < 0.0


def row_of(rows: Sequence[Row], metric: str) -> Row:
    return next(row for row in rows if row["metric"] == metric)


def _percent(value: float) -> str:
    return f"{value:+.2%}".replace("-", "\N{MINUS SIGN}")
