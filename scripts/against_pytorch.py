#!/usr/bin/env python3
"""Training speed beside PyTorch's, on the same processor in the same run.

    scripts/against_pytorch.py --shadegrad target/release/shadegrad --model lenet --batch 128

Needs Python with torch and safetensors. The two take turns (ours, PyTorch's, ours, ...), each round trains so many
steps on the built-in `shapes` pictures, and the medians and their ratio are printed. PyTorch runs eagerly in f32 with
its fused Adam, on `--threads` threads; both sides count training only, after one round to warm up.
"""
import os
import sys
import time

import torch
import torch.nn.functional as F

import turns

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kernels-tests", "golden"))
from make_golden import MODELS, is_autoencoder  # noqa: E402


class Peer:
    """The same model in PyTorch, with the same pictures in memory."""

    def __init__(self, options, records):
        self.options = options
        self.model = MODELS[options.model]()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        records = torch.frombuffer(bytearray(records), dtype=torch.uint8).view(-1, turns.RECORD_BYTES)
        self.labels = records[:, 0].long()
        self.bytes = records[:, 1:].contiguous()

    def __call__(self, steps):
        batch = self.options.batch
        begun = time.perf_counter()
        for _ in range(steps):
            rows = torch.randint(len(self.labels), (batch,))
            x = self.bytes[rows].view(-1, 3, 32, 32).float() / 255
            output = self.model(x)
            loss = F.mse_loss(output, x) if is_autoencoder(self.options.model) else F.cross_entropy(output, self.labels[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return steps * batch / (time.perf_counter() - begun)


def main():
    parser = turns.arguments(__doc__, list(MODELS))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"PyTorch {torch.__version__} on {options.threads} threads")
    turns.compare(options, "PyTorch", lambda records: Peer(options, records))


if __name__ == "__main__":
    main()
