"""Training: examples become the SavedModel of two towers."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from pipelines.progress import PROGRESS
from recsys_ssl import artifacts
from recsys_ssl.loop import Outcome
from recsys_ssl.spec import Feature, FeatureSpec
from recsys_ssl.training.config import SslConfig, TrainConfig
from recsys_ssl.training.defaults import fit_to_log, measure
from recsys_ssl.training.regularizers import REGULARIZERS
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
    """Encoded interactions and catalogue -> SavedModel of both towers, with the settings and cautions beside it.

    Whoever embeds with the towers hands both on, so that a report shows those that made what it judges. The
    settings of an earlier training are gone before this one begins: towers without settings are of no use.
    """
    asked, (config, by_log) = config, fit_settings(spec, config, inputs.interactions_dir)
    settings_path = os.path.join(towers_dir, artifacts.TRAIN_SETTINGS_FILE)
    artifacts.delete_file(settings_path)

    def report(step: int, steps: int, figures: dict[str, float]) -> None:
        recall = "{} {:.4f}  ".format(*read_recall(figures)) if spec.split.has_validation else ""
        PROGRESS.info(
            f"step {step:,}/{steps:,}  loss {figures['loss']:.3f}  {recall}"
            f"{figures['examples_per_second']:,.0f} examples/s"
        )

    result = train(spec, config, inputs, towers_dir, checkpoint_dir, log_dir, report, PROGRESS.info)
    cautions = list_cautions(asked, config, result)
    artifacts.write_text(Path(towers_dir, artifacts.TRAIN_CAUTIONS_FILE), artifacts.to_json(cautions))
    artifacts.write_text(settings_path, artifacts.to_json(config))
    artifacts.write_text(Path(log_dir, artifacts.TRAIN_RESULT_FILE), artifacts.to_json(result))
    best = "no validation, the last weights"
    if result.score is not None and result.best_score is not None:
        best = "best {} {:.4f}".format(*read_recall({result.score: result.best_score}))
    settings = ", ".join(f"{name}={value}" for name, value in by_log.items())
    PROGRESS.info(
        f"{config.ssl.regularizer}: {best} at step {result.best_step:,} of {result.last_step:,}"
        + (f"; by the log: {settings}" if settings else "")
    )
    for caution in cautions:
        PROGRESS.warning(caution)
    return result


def fit_settings(spec: FeatureSpec, config: TrainConfig, interactions_dir: str) -> tuple[TrainConfig, dict[str, Any]]:
    """The settings with what nobody chose fitted to the items and to the log; and which of them the log chose.

    Args:
        interactions_dir: encoded interactions, of which the train split is counted where the log may choose.
    """
    config = fit_regularizer(spec, config)
    if REGULARIZERS[config.ssl.regularizer].loss is None:  # it reads none of its settings
        config = dataclasses.replace(config, by_log=tuple(n for n in config.by_log if not n.startswith("ssl.")))
    if not config.by_log:
        return config, {}
    facts = measure(interactions_dir)
    PROGRESS.info(f"settings for a log of {facts}")
    return fit_to_log(config, facts, spec.item_id_feature is not None)


def fit_regularizer(spec: FeatureSpec, config: TrainConfig) -> TrainConfig:
    """The settings with a regularizer that the items have features for.

    The default hides whole features, of which there must be two. Of a single one `dropout_only` hides parts, where it
    has any. Where nothing can be hidden, two views are equal, and spreading out is what is left of them. Any other
    regularizer is somebody's choice and stays.
    """
    if config.ssl.regularizer != SslConfig.regularizer or len(spec.item_features) > 1:
        return config
    hides = any(_can_hide_parts(feature, config) for feature in spec.item_features)
    return dataclasses.replace(
        config, ssl=dataclasses.replace(config.ssl, regularizer="dropout_only" if hides else "spread_out")
    )


def _can_hide_parts(feature: Feature, config: TrainConfig) -> bool:
    """Whether a view can be without some atoms and bonds of a molecule, or some of several values or words."""
    if feature.is_content:  # what a frozen encoder makes of it is the same in all views
        return config.ssl.mask_rate > 0.0 and config.encoder_config(feature.kind).learning_rate > 0.0
    return config.ssl.value_dropout > 0.0 and feature.is_coded and (feature.is_list or feature.kind == "text")


def list_cautions(asked: TrainConfig, config: TrainConfig, result: Outcome) -> list[str]:
    """What somebody must know who reads figures of a trained arm; nothing for most.

    Args:
        asked: the settings as given.
        config: those that were trained with.
    """
    cautions = []
    if config.ssl.regularizer != asked.ssl.regularizer:
        cautions.append(
            f"items have one feature, and {asked.ssl.regularizer} hides whole ones: {config.ssl.regularizer}, which "
            f"hides {'parts of it' if config.ssl.regularizer == 'dropout_only' else 'nothing'}, took its place. Add "
            "item features to the spec, or choose a regularizer with --set train.ssl.regularizer=NAME."
        )
    if result.examples_per_step < config.batch_size:
        cautions.append(
            f"each batch holds all {result.examples_per_step:,} examples of the train split, which are fewer than "
            f"train.batch_size={config.batch_size}."
        )
    if result.still_improves and result.score is not None and result.best_score is not None and result.best_score < 1.0:
        cautions.append(
            f"{read_recall({result.score: result.best_score})[0]} still rises at the last of {result.last_step:,} "
            f"steps. More may give a better model: --set train.steps={2 * result.last_step}."
        )
    return cautions
