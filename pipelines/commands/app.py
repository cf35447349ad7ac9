"""The command `recsys-ssl`: the whole pipeline, or its stages one by one, and encoders of content."""

from __future__ import annotations

from typing import Any

import typer
import typer.core

from pipelines.commands import (
    clean,
    clusters,
    data,
    diffraction,
    encoders,
    live,
    new_spec,
    predictors,
    probing,
    results,
    run,
    serve,
    stages,
    tune,
    tune_finetune,
)
from pipelines.commands.session import tells_its_end


class _Commands(typer.core.TyperGroup):
    """Commands of one word, and of two, such as `index add` beside `index`."""

    def resolve_command(self, ctx: Any, args: list[str]):
        pair = " ".join(args[:2])
        return (pair, self.commands[pair], args[2:]) if pair in self.commands else super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Feedback logs in; self-supervised two-tower retrieval, ScaNN index and A/B report out.",
)
_FAMILIES = {
    "The whole pipeline": (run.run, clean.clean),
    "Before it": (data.data, new_spec.new_spec, data.validate_spec, data.spec_schema),
    "Its stages one by one": (
        *(stages.ingest, stages.transform, stages.correlate),
        *(stages.train, stages.index, stages.evaluate),
    ),
    "Search of settings": (tune.tune, tune_finetune.tune_finetune),
    "Results": (results.report, results.recommend, serve.serve),
    "The live catalogue": (live.add, live.change, live.remove),
    "Photon patterns": (diffraction.prepare_patterns, diffraction.reconstruct),
    "Encoders of content": (encoders.pretrain, encoders.embed, predictors.finetune, predictors.predict),
    "What vectors know": (clusters.cluster, probing.probe),
}
_NAMES = {live.add: "index add", live.change: "index change", live.remove: "index remove"}
for _family, _commands in _FAMILIES.items():
    for _command in _commands:
        app.command(_NAMES.get(_command), rich_help_panel=_family)(tells_its_end(_command))


def main() -> None:
    app()


if __name__ == "__main__":
    main()
