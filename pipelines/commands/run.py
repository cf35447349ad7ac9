"""The whole pipeline."""

from __future__ import annotations

from pipelines.commands.results import show_recommended, show_report
from pipelines.commands.session import BeamArgs, DataDir, Settings, SpecPath, WorkDir, require_dir, session
from recsys_ssl.spec_files import load_spec


def run(spec: SpecPath, data: DataDir, workdir: WorkDir, set_: Settings = None, beam: BeamArgs = None) -> None:
    """Runs the whole TFX pipeline and shows the result.

    [dim]recsys-ssl run feature_specs/movielens-100k.yaml --data build/data/movielens-100k --workdir build/demo[/dim]
    """
    with session(workdir, "run", is_alone=True) as (console, lines):
        feature_spec = load_spec(spec)
        require_dir(data)
        lines.start("Load TFX")
        from pipelines.config import parse_overrides
        from pipelines.runner import run_pipeline
        from recsys_ssl.serving.queries import Places, recommend_to_query

        config = parse_overrides(set_ or [])
        lines.finish()
        run_pipeline(feature_spec, str(data), str(workdir), config, beam or [], lines)
        show_report(console, workdir)
        show_recommended(console, recommend_to_query(feature_spec, Places.read(str(workdir)), None, 10))
