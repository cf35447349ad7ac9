"""Training: examples become the SavedModel of two towers."""

from __future__ import annotations

import os
from pathlib import Path

from pipelines.progress import PROGRESS
from recsys_ssl import artifacts
from recsys_ssl.loop import Outcome
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import TrainInputs, train
from recsys_ssl.training.validation import read_recall


def train_arm(
    spec: FeatureSpec,
    config: TrainConfig,
    inputs: TrainInputs,
    towers_dir: str,
    checkpoint_dir: str,
    log_dir: str,
) -> Outcome:
    """Encoded interactions and catalogue -> SavedModel of both towers, with the settings beside it.

    Whoever embeds with the towers hands the settings on, so that a report shows those that made what it judges. The
    settings of an earlier training are gone before this one begins: towers without settings are of no use.
    """
    settings_path = os.path.join(towers_dir, artifacts.TRAIN_SETTINGS_FILE)
    artifacts.delete_file(settings_path)

    def report(step: int, steps: int, figures: dict[str, float]) -> None:
        name, recall = read_recall(figures)
        PROGRESS.info(
            f"step {step:,}/{steps:,}  loss {figures['loss']:.3f}  {name} {recall:.4f}  "
            f"{figures['examples_per_second']:,.0f} examples/s"
        )

    result = train(spec, config, inputs, towers_dir, checkpoint_dir, log_dir, report)
    artifacts.write_text(settings_path, artifacts.to_json(config))
    artifacts.write_text(Path(log_dir, artifacts.TRAIN_RESULT_FILE), artifacts.to_json(result))
    name, recall = read_recall({result.score: result.best_score})
    PROGRESS.info(
        f"{config.ssl.regularizer}: best {name} {recall:.4f} at step {result.best_step:,} of {result.last_step:,}"
    )
    return result
