"""GROVER's self-supervision by the contract of a pretext: SMILES in, hidden contexts and motifs predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Optional

import numpy as np
import tensorflow as tf

from recsys_ssl.encoders.molecule import shards
from recsys_ssl.encoders.molecule.encoder import MoleculeEncoder
from recsys_ssl.encoders.molecule.graph import NUM_MOTIFS
from recsys_ssl.encoders.molecule.grover import MOLECULES_SPEC, draw_hops
from recsys_ssl.encoders.molecule.grover_pretrain import (
    LOSS_WEIGHTS,
    NO_TARGET,
    TASK_LOSSES,
    GroverPretrainer,
    PretrainBatch,
    count_correct,
    pretrain_losses,
    summarise_counts,
    total_loss,
)
from recsys_ssl.encoders.molecule.settings import PretrainConfig


class MoleculePretext:
    """See `contract.Pretext`."""

    batch_spec = PretrainBatch(
        molecules=MOLECULES_SPEC,
        atom_classes=tf.TensorSpec([None], tf.int32),
        bond_classes=tf.TensorSpec([None], tf.int32),
        motifs=tf.TensorSpec([None, NUM_MOTIFS], tf.uint8),
    )
    noun = "molecules"

    def prepare(
        self,
        source: Path,
        directory: Path,
        config: PretrainConfig,
        workers: int = 1,
        tell: Callable[[str, int, int], None] = lambda *_: None,
        column: Optional[str] = None,
    ) -> shards.PretrainData:
        """See `shards.prepare`, which raises; `tell` hears of the phases "count contexts" and "write shards"."""
        return shards.prepare(
            source,
            directory,
            config,
            workers,
            lambda done, most: tell("count contexts", done, most),
            lambda done, most: tell("write shards", done, most),
            column,
        )

    def make_model(self, config: PretrainConfig, data: shards.PretrainData) -> GroverPretrainer:
        sizes = data.atom_vocabulary.size, data.bond_vocabulary.size
        return GroverPretrainer(MoleculeEncoder(config.grover), *sizes, mask_inputs=config.mask_inputs)

    def losses(
        self, model: GroverPretrainer, batch: PretrainBatch, config: PretrainConfig, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        hops = draw_hops(config.depth, seed)
        losses = pretrain_losses(model(batch, training=True, hops=hops), batch)
        return {"loss": total_loss(losses), **losses}

    def follow(self, model: GroverPretrainer, step: tf.Tensor) -> None:
        """Nothing: all weights are trained."""

    def evaluate(self, model: GroverPretrainer, batch: PretrainBatch) -> dict[str, tf.Tensor]:
        predictions = model(batch, training=False)
        num_molecules = tf.cast(batch.molecules.num_molecules, tf.float64)
        losses = pretrain_losses(predictions, batch).items()
        sums = {name: num_molecules * tf.cast(mean, tf.float64) for name, mean in losses}
        return {"molecules": num_molecules, **sums, **count_correct(predictions, batch)}

    def summarise(self, sums: dict[str, float]) -> dict[str, float]:
        """Losses, means over molecules, and the rates of `summarise_counts`; `loss` is the sum of the task losses."""
        figures = {name: sums[name] / sums["molecules"] for name in LOSS_WEIGHTS}
        return {"loss": sum(figures[name] for name in TASK_LOSSES)} | figures | summarise_counts(sums)

    def describe(self, validation: Sequence[PretrainBatch]) -> dict[str, float]:
        """Top-1 of always guessing the class that most validation targets have: what a top-1 must beat."""
        figures = {}
        for name in ("atom", "bond"):
            classes = np.concatenate([getattr(batch, f"{name}_classes") for batch in validation])
            classes = classes[classes != NO_TARGET]
            figures[f"{name}_majority"] = float(np.bincount(classes).max() / len(classes)) if len(classes) else 0.0
        return figures


PRETEXT = MoleculePretext()
