#!/usr/bin/env python3
"""Training speed beside PyTorch's, on the same processor in the same run.

    scripts/against_pytorch.py --shadegrad target/release/shadegrad --model lenet --batch 128

Needs Python with torch and safetensors. The two take turns (ours, PyTorch's, ours, ...), each round trains so many
steps on the built-in `shapes` pictures, and the medians and their ratio are printed. PyTorch runs eagerly in f32 with
its fused Adam, on `--threads` threads; both sides count training only, after one round to warm up.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "kernels-tests", "golden"))
from make_golden import MODELS, RECORD_BYTES, is_autoencoder  # noqa: E402


def ours(options, folder):
    command = [options.shadegrad, "train", "--model", options.model, "--data", "shapes", "--batch", str(options.batch),
               "--epochs", "1", "--steps", str(options.steps), "--out", os.path.join(folder, "run"), "--json"]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    return result["images_per_second"], result["adapter"]


class Peer:
    """The same model in PyTorch, with the same pictures in memory."""

    def __init__(self, options, folder):
        self.options = options
        self.model = MODELS[options.model]()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)
        with open(os.path.join(folder, "data", "data_batch_1.bin"), "rb") as file:
            records = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).view(-1, RECORD_BYTES)
        self.labels = records[:, 0].long()
        self.bytes = records[:, 1:].contiguous()

    def round(self):
        steps, batch = self.options.steps, self.options.batch
        begun = time.perf_counter()
        for step in range(steps):
            rows = torch.randint(len(self.labels), (batch,))
            x = self.bytes[rows].view(-1, 3, 32, 32).float() / 255
            output = self.model(x)
            loss = F.mse_loss(output, x) if is_autoencoder(self.options.model) else F.cross_entropy(output, self.labels[rows])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return steps * batch / (time.perf_counter() - begun)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shadegrad", default="target/release/shadegrad", help="our program (default %(default)s)")
    parser.add_argument("--model", default="lenet", choices=list(MODELS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=100, help="steps a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([options.shadegrad, "data", "--out", os.path.join(folder, "data")], check=True, stdout=subprocess.DEVNULL)
        peer = Peer(options, folder)
        found = {"shadegrad": [], "PyTorch": []}
        for number in range(options.rounds + 1):
            speed, adapter = ours(options, folder)
            beside = peer.round()
            if number > 0:
                found["shadegrad"].append(speed)
                found["PyTorch"].append(beside)
    print(f"{options.model}, batch {options.batch}, {options.rounds} rounds of {options.steps} steps, taking turns")
    print(f"shadegrad on {adapter['name']} ({adapter['driver']}); PyTorch {torch.__version__} on {options.threads} threads")
    for name, speeds in found.items():
        print(f"{name:<10} {statistics.median(speeds):8.0f} images/s (from {min(speeds):.0f} to {max(speeds):.0f})")
    ratios = [a / b for a, b in zip(found["shadegrad"], found["PyTorch"])]
    print(f"ratio      {statistics.median(ratios):8.3f} (from {min(ratios):.3f} to {max(ratios):.3f})")


if __name__ == "__main__":
    main()
