"""The whole pipeline from Python."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from pipelines.config import parse_overrides
from pipelines.console import quiet
from pipelines.locks import locked
from pipelines.workdir import without_glob
from recsys_ssl import artifacts
from recsys_ssl.spec import FeatureSpec


def run_pipeline(
    spec: FeatureSpec,
    data: str | os.PathLike,
    workdir: str | os.PathLike,
    settings: Sequence[str] = (),
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Runs logs -> report, as `recsys-ssl run` does, with a line a stage on the terminal; a killed run goes on.

    Args:
        spec: of `load_spec`.
        data: directory where the paths of the spec begin.
        workdir: receives everything that the run makes: report, index, recommender, ...
        settings: such as "train.steps=2000", see `recsys-ssl run --set`.
        beam_args: options of any Beam runner.

    Returns:
        The A/B report, what report/report.json holds; `["verdict"]["word"]` is launch, hold or no launch.

    Raises:
        ConfigError: a setting does not exist or cannot have the given value.
        Exception: a stage failed; its own error.

    Examples:
        >>> report = run_pipeline(spec, data_dir, workdir, ["train.steps=10"])
        >>> report["verdict"]["word"] in ("launch", "hold", "no launch")
        True
    """
    config, workdir = parse_overrides(settings), without_glob(workdir)
    with locked(workdir, "run"), quiet(workdir / "logs" / "run.log") as (_, lines):
        lines.start("Load TFX")
        from pipelines.runner import run_pipeline as run  # loads TFX

        lines.finish()
        run(spec, str(data), str(workdir), config, list(beam_args), lines)
    return json.loads(artifacts.read_text(workdir / "report" / artifacts.REPORT_FILE))
