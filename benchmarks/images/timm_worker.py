"""Trains timm's vision transformer; `speed.py` starts this under the interpreter that has it.

    python timm_worker.py INPUTS.npz

IN `images`, [batch_size, channels, size, size] float32, `labels`, [batch_size] int64, and `sizes`, JSON of size,
channels, patch, dim, depth and num_heads. Prints the number of parameters, then, for each number of steps that it
reads, their CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer

_NUM_CLASSES = 10


class Classifier(torch.nn.Module):
    """The transformer, the vector of its class token and the mean of its patches, and a linear layer."""

    def __init__(self, sizes: dict[str, int]):
        super().__init__()
        self.encoder = VisionTransformer(
            img_size=sizes["size"],
            patch_size=sizes["patch"],
            in_chans=sizes["channels"],
            embed_dim=sizes["dim"],
            depth=sizes["depth"],
            num_heads=sizes["num_heads"],
            num_classes=0,
        )
        self.head = torch.nn.Linear(2 * sizes["dim"], _NUM_CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.encoder.forward_features(images)
        return self.head(torch.cat([tokens[:, 0], tokens[:, 1:].mean(dim=1)], dim=1))


def main(inputs_path: str) -> None:
    torch.set_num_threads(1)  # seconds that compare with the other arm's
    torch.manual_seed(0)
    with np.load(inputs_path) as stored:
        images, labels = torch.from_numpy(stored["images"]), torch.from_numpy(stored["labels"])
        model = Classifier(json.loads(str(stored["sizes"])))
    # Of the library's own, the form that is the fastest on a CPU.
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    model.train()

    def take(steps: int) -> float:
        started = time.process_time()
        for _ in range(steps):
            loss = torch.nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return time.process_time() - started

    take(2)
    print(sum(weights.numel() for weights in model.parameters()), flush=True)
    for line in sys.stdin:
        print(take(int(line)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
