"""Writes what a search found: the best settings as lines for `--set`, the study as JSON, and a page with figures."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from recsys_ssl.artifacts import to_json, write_text
from recsys_ssl.pages import data_uri, make_environment
from recsys_ssl.tuning import plots
from recsys_ssl.tuning.config import SearchConfig
from recsys_ssl.tuning.results import Candidate, Found
from recsys_ssl.tuning.space import Space, describe, write_lines, write_value

BEST_FILE, STUDY_FILE, REPORT_PAGE = "best.txt", "study.json", "report.html"


@dataclasses.dataclass(frozen=True)
class Header:
    """What a report says of the search besides what was found.

    Attributes:
        title: of the page, e.g. the name of the data set.
        subject: what was trained.
        metric: what decided, for people.
        section: of the settings, the first word of their names.
        given: lines of the settings that all trials shared, as they were given; `best.txt` begins with them.
    """

    title: str
    subject: str
    metric: str
    section: str
    given: tuple[str, ...] = ()


def write_study(found: Found, header: Header, space: Space, config: SearchConfig, directory: str | Path) -> dict:
    """Writes best.txt, study.json and report.html, and returns what the JSON holds.

    Raises:
        ValueError: there is no best point.
    """
    if found.best is None:
        raise ValueError("a study must have a best point to be written. Received: none. Let it go on.")
    study = summarise(found, header, space, config)
    page = _render(study, found, space, header.metric)
    written = {BEST_FILE: "".join(line + "\n" for line in study["best"]["lines"]), STUDY_FILE: to_json(study)}
    for name, text in {**written, REPORT_PAGE: page}.items():
        write_text(Path(directory, name), text)
    return study


def summarise(found: Found, header: Header, space: Space, config: SearchConfig) -> dict[str, Any]:
    """What `study.json` holds."""
    best = found.best
    states = Counter("repeats" if trial.repeats is not None else trial.state for trial in found.trials)
    return {
        **dataclasses.asdict(header),
        "larger_is_better": found.larger_is_better,
        "search": dataclasses.asdict(config),
        "space": {f"{header.section}.{name}": describe(dimension) for name, dimension in space.items()},
        "counts": {name: states[name] for name in ("complete", "pruned", "failed", "repeats", "running")},
        "best": None if best is None else {**_describe(best), "lines": _lines(best, header)},
        "candidates": [_describe(candidate) for candidate in found.candidates],
        "importance": {f"{header.section}.{name}": share for name, share in found.importance.items()},
        "best_so_far": found.best_so_far(),
        "trials": [dataclasses.asdict(trial) for trial in found.trials],
    }


def _lines(best: Candidate, header: Header) -> list[str]:
    return [*header.given, *write_lines(header.section, best.settings)]


def _describe(candidate: Candidate) -> dict[str, Any]:
    return {**dataclasses.asdict(candidate), "mean": candidate.mean, "deviation": candidate.deviation}


def _render(study: Mapping[str, Any], found: Found, space: Space, metric: str) -> str:
    environment = make_environment(Path(__file__).parent, figure=_figure, setting=_setting)
    importance = plots.draw_importance(found.importance) if found.importance else None
    return environment.get_template("report.html.jinja").render(
        study=study,
        figures={
            "history": data_uri(plots.draw_history(found, metric)),
            "importance": importance and data_uri(importance),
            "parallel": data_uri(plots.draw_parallel(found, space)),
            "slices": data_uri(plots.draw_slices(found, space, metric)),
        },
    )


def _figure(number: Optional[float]) -> str:
    return "–" if number is None else f"{number:.4f}"


def _setting(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else write_value(value)
