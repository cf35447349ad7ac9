"""What a tower that reads two features finds, less what the better of them gives alone: its claim and numbers.

python -m benchmarks.compounds.run --model DIR --arms ecfp grover_pretrained grover_ecfp --seeds 8 --work build/fusion \
    --trials benchmarks/results/compounds/fusion.jsonl
python -m benchmarks.compounds.fusion

DIR is an encoder of any size: arms are compared that share it. `benchmarks.compounds.tables` writes the table.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.claims import RESULTS, ROOT, record
from benchmarks.compounds.summary import Row, summarise
from benchmarks.compounds.trials import read_trials
from recsys_ssl.artifacts import write_text

COMMAND = (
    "python -m benchmarks.compounds.run --model DIR --arms ecfp grover_pretrained grover_ecfp --seeds 8 "
    "--work build/fusion --trials benchmarks/results/compounds/fusion.jsonl && python -m benchmarks.compounds.fusion"
)
BOTH, SINGLE = "grover_ecfp", ("ecfp", "grover_pretrained")
_REFERENCE = "ecfp"
"""What `summarise` compares with; validation must prefer it to the other."""


def main(results: Path = RESULTS, work: Path = ROOT / "build" / "fusion") -> int:
    try:
        tables = summarise(read_trials(results / "compounds" / "fusion.jsonl"), work)
        value, low, high = find_gain(tables)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    write_text(results / "compounds" / "fusion.json", json.dumps(tables, indent=1, allow_nan=False) + "\n")
    labels = tables["labels"]
    what = f"Recall@50 on new compounds: {labels[BOTH]} less the better alone on validation ({labels[_REFERENCE]})"
    facts: Mapping[str, Any] = {
        "command": COMMAND,
        "seconds": tables["seconds"],
        "unit": "points",
        "results": results,
    }
    record("images", id="fused_over_best_single", what=what, value=value, interval=(low, high), **facts)
    bound = f"{what}: lower end of the 95% interval over targets and seeds"
    record("images", id="fused_over_best_single_lower_bound", what=bound, value=low, **facts)
    return 0


def find_gain(tables: Row) -> tuple[float, float, float]:
    """Recall@50 of both features less that of the better single one, and its 95% interval, in points.

    Raises:
        ValueError: an arm has no tests with two seeds, or validation prefers another than what is compared with.
    """
    arms = tables["arms"]
    missing = [arm for arm in (BOTH, *SINGLE) if arm not in arms or arms[arm]["seeds"] < 2]
    if missing:
        raise ValueError(f"each arm must have two tests or more. Received none of {', '.join(missing)}. Run {COMMAND}.")
    better = max(SINGLE, key=lambda arm: arms[arm]["validation"])
    if better != _REFERENCE:
        raise ValueError(f"{_REFERENCE} must be the better alone. Received: {better}. Compare with that.")
    value, low, high = (
        100.0 * bound for bound in tables["comparisons"][BOTH][_REFERENCE]["recall_at_50"]["difference"]
    )
    return value, low, high


if __name__ == "__main__":
    sys.exit(main())
