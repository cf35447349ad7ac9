"""SiT's self-supervision by the contract of a pretext: images in, views made, contrasted, mended and turned back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np
import tensorflow as tf

from recsys_ssl import seeds
from recsys_ssl.encoders.image import shards
from recsys_ssl.encoders.image.losses import weigh
from recsys_ssl.encoders.image.settings import PretrainConfig
from recsys_ssl.encoders.image.sit import TASKS, SiT, count_right, make_views, task_losses, task_weights, total_loss
from recsys_ssl.encoders.image.views import normalise, to_pixels
from recsys_ssl.seeds import PretrainStream, ShardStream


@dataclass(frozen=True)
class Summary:
    """What became of some images."""

    num_train: int
    num_validation: int
    rejected: dict[str, int]
    """Reason -> number of files that gave no image for it."""


class PretrainData:
    """Prepared images and their batches, [num_images, size, size, channels] uint8."""

    def __init__(self, prepared: Any):
        """Keeps what `shards.prepare` gives; its arrays may be mapped into memory."""
        self.name: str = prepared.name
        self.summary = Summary(len(prepared.train), len(prepared.validation), dict(prepared.rejected))
        self.files: dict[str, str] = {}
        self._train, self._validation = prepared.train, prepared.validation
        self._epoch: tuple[tuple[int, int], np.ndarray] | None = None

    def train_batch(self, config: PretrainConfig, step: int) -> np.ndarray:
        """The batch of a step, counted from 0; epochs are shuffled anew, the last images of each are left out."""
        epoch, place = divmod(step, len(self._train) // config.batch_size)
        if self._epoch is None or self._epoch[0] != (config.seed, epoch):
            order = seeds.generator(ShardStream.ORDER, config.seed, epoch).permutation(len(self._train))
            self._epoch = (config.seed, epoch), order
        return np.array(self._train[self._epoch[1][place * config.batch_size : (place + 1) * config.batch_size]])

    def validation_batches(self, config: PretrainConfig) -> list[np.ndarray]:
        """At most config.validation_size images, drawn once; all in memory."""
        rows = seeds.generator(ShardStream.VALIDATION, config.seed).permutation(len(self._validation))
        rows = rows[: config.validation_size]
        return [
            np.array(self._validation[rows[i : i + config.batch_size]]) for i in range(0, len(rows), config.batch_size)
        ]


class ImagePretext:
    """See `contract.Pretext`."""

    batch_spec = tf.TensorSpec([None, None, None, None], tf.uint8)
    noun = "images"

    def prepare(
        self,
        source: Path,
        directory: Path,
        config: PretrainConfig,
        workers: int = 1,
        tell: Callable[[str, int, int], None] = lambda *_: None,
        column: Optional[str] = None,
    ) -> PretrainData:
        """See `shards.prepare`, which raises; too many images that are rejected are a ValueError too."""
        prepared = shards.prepare(
            source, directory, config.size, config.channels, config.seed, config.validation_share, workers, tell, column
        )
        data = PretrainData(prepared)
        _check_rejected(data.summary, config.max_rejected_share)
        return data

    def make_model(self, config: PretrainConfig, data: PretrainData) -> SiT:
        return SiT(config)

    def losses(self, model: SiT, batch: tf.Tensor, config: PretrainConfig, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        views = make_views(batch, config, seed)
        found = task_losses(model(views, training=True), views, config)
        return {"loss": total_loss(model, found), **found}

    def follow(self, model: SiT, step: tf.Tensor) -> None:
        """Moves the teacher towards the student."""
        model.move_teacher(step)

    def evaluate(self, model: SiT, batch: tf.Tensor) -> dict[str, tf.Tensor]:
        # The same views at every validation.
        seed = seeds.of_step(model.config.seed, PretrainStream.ENCODER, tf.constant(-1, tf.int64))
        views = make_views(batch, model.config, seed)
        outputs = model(views)
        found, weights = task_losses(outputs, views, model.config), task_weights(model.config)
        means = {**found, "loss": weigh([found[name] for name in weights], list(weights.values()))}
        num_images = tf.shape(batch, tf.int64)[0]
        sums = {name: tf.cast(num_images, tf.float64) * tf.cast(mean, tf.float64) for name, mean in means.items()}
        right = {f"{name}_right": count for name, count in count_right(outputs, views).items()}
        return {"images": num_images, "views": num_images * model.config.chosen.num_views, **sums, **right}

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """Means of the task losses and their weighted sum, `loss`, without what an uncertainty has learned.

        `contrast_top1` is the share of views whose other view is the most alike of all, `rotation_top1` of those whose
        rotation is found.
        """
        figures = {name: sums[name] / sums["images"] for name in ("loss", *TASKS) if name in sums}
        right = {f"{name}_top1": sums[f"{name}_right"] / sums["views"] for name in TASKS if f"{name}_right" in sums}
        return figures | right

    def describe(self, validation: Sequence[np.ndarray]) -> dict[str, float]:
        """`mean_image_l1`: the L1 distance of all images to their mean, what a reconstruction must beat."""
        images = normalise(to_pixels(np.concatenate(validation))).numpy()
        return {"mean_image_l1": float(np.abs(images - images.mean(axis=0)).mean())}


def _check_rejected(summary: Summary, max_share: float) -> None:
    num_rejected = sum(summary.rejected.values())
    num_files = summary.num_train + summary.num_validation + num_rejected
    if num_rejected > max_share * num_files or num_rejected == num_files:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary.rejected.items()) or "no file at all"
        raise ValueError(
            f"at most {max_share:.1%} of the images may be rejected, and not all. Received: {reasons} of "
            f"{num_files:,}. Mend the files or raise pretrain.max_rejected_share."
        )


PRETEXT = ImagePretext()
