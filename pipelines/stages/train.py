"""Training: examples become the SavedModel of two towers."""

from __future__ import annotations

from pathlib import Path

from pipelines.progress import PROGRESS
from recsys_ssl import artifacts
from recsys_ssl.loop import Outcome
from recsys_ssl.spec import FeatureSpec
from recsys_ssl.training.config import TrainConfig
from recsys_ssl.training.train import RECALL, TrainInputs, train


def train_arm(
    spec: FeatureSpec,
    config: TrainConfig,
    inputs: TrainInputs,
    towers_dir: str,
    checkpoint_dir: str,
    log_dir: str,
) -> Outcome:
    """Encoded interactions and catalogue -> SavedModel of both towers."""

    def report(step: int, steps: int, figures: dict[str, float]) -> None:
        PROGRESS.info(
            f"step {step:,}/{steps:,}  loss {figures['loss']:.3f}  validation recall@50 "
            f"{figures[RECALL]:.4f}  {figures['examples_per_second']:,.0f} examples/s"
        )

    result = train(spec, config, inputs, towers_dir, checkpoint_dir, log_dir, report)
    artifacts.write_text(Path(log_dir, artifacts.TRAIN_RESULT_FILE), artifacts.to_json(result))
    PROGRESS.info(
        f"{config.ssl.regularizer}: best validation recall@50 {result.best_score:.4f} at step {result.best_step:,} "
        f"of {result.last_step:,}"
    )
    return result
