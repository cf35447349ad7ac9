"""Which settings of pre-training and of fine-tuning are searched."""

from __future__ import annotations

from recsys_ssl.tuning.space import Ladder, LogUniform, Space, Steps, Uniform

FINETUNE: Space = {
    "learning_rate": LogUniform(1e-4, 1e-2),
    "encoder_lr_scale": Ladder((0.0, 0.1, 0.3, 1.0)),
    "batch_size": Ladder((16, 32, 64, 128)),
    "dropout": Ladder((0.0, 0.05, 0.1, 0.2)),
}
"""Named as behind `finetune.`."""
PRETRAIN: Space = {
    "max_learning_rate": LogUniform(5e-4, 1e-2),
    "final_learning_rate": LogUniform(1e-5, 1e-3),
    "temperature": LogUniform(0.05, 1.0),
    "min_crop": Uniform(0.1, 0.8),
    "batch_size": Ladder((64, 128, 256, 512)),
    "head_layers": Steps(1, 3),
}
"""Of a pre-training by a contrast, named as behind `pretrain.`."""
