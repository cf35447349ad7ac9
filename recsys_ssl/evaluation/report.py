"""Writes the report of `evaluate.evaluate_arms` as one HTML page without outside parts, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

import jinja2

from recsys_ssl import pages
from recsys_ssl.artifacts import REPORT_FILE, REPORT_PAGE, write_text
from recsys_ssl.evaluation import plots
from recsys_ssl.evaluation.metrics import label_of
from recsys_ssl.pages import data_uri

_MINUS = "\N{MINUS SIGN}"


def write_report(report: Mapping[str, Any], directory: str | Path) -> tuple[Path, Path]:
    """Writes report.html and report.json and returns their paths.

    Both come from the one `report`; the page rounds for the eye, the JSON has every digit.

    Raises:
        ValueError: the report holds NaN or infinity, which JSON cannot.
    """
    directory = Path(directory)
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    page = render_report(report)
    paths = directory / REPORT_PAGE, directory / REPORT_FILE
    for path, content in zip(paths, (page, text)):
        write_text(path, content)
    return paths


def render_report(report: Mapping[str, Any]) -> str:
    """Returns the page as HTML."""
    in_slices = report.get("slice_metrics", ["recall_at_10", "recall_at_50"])  # reports of earlier versions
    shown = dict.fromkeys([*in_slices, report["verdict"]["primary"]])
    own_floor = report.get("own_floor", [])  # earlier versions had none
    floors = [("most-popular", "popularity", report["floor"]), ("own counts", "own_counts", own_floor)]
    return (
        make_environment()
        .get_template("report.html.jinja")
        .render(
            report=report,
            own_floor=own_floor,
            floors=[floor for floor in floors if floor[2]],
            slice_groups=_group_slices(report["slices"], shown),
            refusals=_group_refusals(report["metrics"]),
            figures={
                "forest": data_uri(plots.draw_forest(report)),
                "recall_curve": data_uri(plots.draw_recall_curve(report)),
                "exposure": data_uri(plots.draw_exposure(report)),
            },
            power_label=label_of(report["power"]["metric"]),
            forest_label=label_of(plots.forest_metric(report)),
        )
    )


def make_environment() -> jinja2.Environment:
    """What renders the pages of this package: their numbers, and texts that a browser does not obey."""
    return pages.make_environment(
        Path(__file__).parent,
        value=_value,
        signed=_signed,
        percent=_percent,
        lift=_lift,
        p=_p_value,
        interval=_interval,
        setting=_setting,
        count=_count,
    )


def _group_slices(rows: list, shown: Mapping[str, None]) -> dict[str, dict[str, list]]:
    """dimension -> slice -> its rows of the metrics that the page shows; the JSON has the others."""
    groups: dict[str, dict[str, list]] = {}
    for row in rows:
        if row["metric"] in shown:
            groups.setdefault(row["dimension"], {}).setdefault(row["slice"], []).append(row)
    return groups


def _group_refusals(rows: list) -> dict[str, list[str]]:
    """Why metrics have no interval -> their labels."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        if refusal := row.get("no_interval"):  # reports of earlier versions say nothing of it
            groups.setdefault(refusal, []).append(row["label"])
    return groups


# --- Numbers for the eye; an undefined number is a dash ----------------------------------------------------


def _count(number: Optional[float]) -> str:
    return "–" if number is None else f"{number:,.0f}"


def _value(number: Optional[float]) -> str:
    return "–" if number is None else f"{number:.4f}"


def _signed(number: Optional[float]) -> str:
    return "–" if number is None else f"{number:+.4f}".replace("-", _MINUS)


def _percent(number: Optional[float]) -> str:
    return "–" if number is None else f"{number:.1%}"


def _lift(number: Optional[float]) -> str:
    return "–" if number is None else f"{number:+.1%}".replace("-", _MINUS)


def _p_value(number: Optional[float]) -> str:
    if number is None:
        return "–"
    return "<\N{THIN SPACE}0.001" if number < 0.001 else f"{number:.3f}"


def _interval(bounds: Optional[list], form: str = "signed") -> str:
    if bounds is None:
        return "–"
    write = {"signed": _signed, "lift": _lift, "value": _value}[form]
    return f"{write(bounds[0])} to {write(bounds[1])}"


def _setting(value: Any) -> str:
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
