"""Which settings of fine-tuning are searched.

References:
    Rong et al. 2020, arXiv:2007.02835, whose ranges of learning rate, dropout, heads and disagreement these follow; the
    widths are smaller, as the encoders are.
"""

from __future__ import annotations

from recsys_ssl.tuning.space import Ladder, LogUniform, Space, Steps, Uniform

FINETUNE: Space = {
    "learning_rate": LogUniform(1e-4, 3e-3),
    "encoder_lr_scale": Ladder((0.0, 0.1, 0.3, 1.0)),
    "batch_size": Ladder((16, 32, 64, 128)),
    "dropout": Ladder((0.0, 0.05, 0.1, 0.2)),
    "dist_coff": Uniform(0.05, 0.15),
    "attn_out": Ladder((4, 8)),
    "ffn_hidden": Ladder((64, 128, 256, 512)),
    "ffn_layers": Steps(2, 3),
}
"""Named as behind `finetune.`."""
