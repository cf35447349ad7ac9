"""Which settings of fine-tuning are searched."""

from __future__ import annotations

from recsys_ssl.tuning.space import Ladder, LogUniform, Space

FINETUNE: Space = {
    "learning_rate": LogUniform(1e-4, 1e-2),
    "encoder_lr_scale": Ladder((0.0, 0.1, 0.3, 1.0)),
    "batch_size": Ladder((16, 32, 64, 128)),
    "dropout": Ladder((0.0, 0.05, 0.1, 0.2)),
}
"""Named as behind `finetune.`."""
