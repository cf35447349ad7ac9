"""Numbers as cells of a Markdown table, and the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

GAP = "–"
"""Where there is no number."""


def spread(found: Sequence[float | None] | None) -> str:
    """[mean, half of an interval or None] of a share, in %."""
    if found is None:
        return GAP
    mean, half = found
    return percent(mean) + ("" if half is None else f" ± {100 * half:.2f}")


def percent(value: float | None) -> str:
    """A share in %."""
    return GAP if value is None else f"{100 * value:.2f}"


def points(row: Mapping[str, Any]) -> str:
    """The difference of a comparison with its interval, in percentage points."""
    return _interval(row["difference"], lambda value: signed(value, ".2f"))


def relative(row: Mapping[str, Any] | None) -> str:
    """The relative difference of a comparison with its interval, in %."""
    if row is None or row["relative"] is None:
        return GAP
    return _interval(row["relative"], lambda value: f"{signed(value, '.1f')}%")


def _interval(found: Sequence[float | None], form: Callable[[float], str]) -> str:
    value, low, high = found
    return form(value) + (f" ({form(low)} to {form(high)})" if low is not None and high is not None else "")


def signed(value: float, form: str) -> str:
    """A share in %, with its sign."""
    return f"{100 * value:+{form}}".replace("-", "\N{MINUS SIGN}")


def p_holm(row: Mapping[str, Any] | None) -> str:
    """The corrected p of a comparison."""
    return GAP if row is None else p_text(row["holm"])


def p_text(value: float | None) -> str:
    """A p to three digits."""
    if value is None:
        return GAP
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def settings_text(found: Mapping[str, Any] | None) -> str:
    """What an arm was tuned to, and in how many trials."""
    if found is None:
        return GAP
    texts = [", ".join(f"{name} {_setting(value)}" for name, value in of.items()) or "none" for of in found["settings"]]
    return f"{' / '.join(texts)} ({found['tuning_trials']})"


def _setting(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def bold(text: str, wanted: bool) -> str:
    return f"**{text}**" if wanted and text != GAP else text


def grid(header: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A Markdown table whose first `left` columns are aligned to the left, the others to the right."""
    ruler = "|" + "---|" * left + "---:|" * (len(header) - left)
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in (header, *rows)]
    return "\n".join([lines[0], ruler, *lines[1:]])
