#!/usr/bin/env python3
"""Load weights that shadegrad saved into the same model in PyTorch, and test them there.

    torch_roundtrip.py --model lab --weights lab.safetensors --data CIFAR_DIR

The names and shapes must match exactly (load_state_dict(strict=True)). Prints the accuracy on
test_batch.bin of a folder in the CIFAR-10 binary layout; for an autoencoder, the mean squared error.
With --expect, the exit status is 1 if the figure differs from it by more than --tolerance.
"""
import argparse
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from make_golden import MODELS, RECORD_BYTES, is_autoencoder, pixels


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=MODELS)
    parser.add_argument("--weights", required=True, metavar="FILE", help="a safetensors file written by shadegrad")
    parser.add_argument("--data", required=True, metavar="DIR", help="folder with test_batch.bin")
    parser.add_argument("--limit", type=int, default=-1, help="use only the first so many images")
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--expect", type=float, help="the figure that shadegrad printed")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="for --expect, absolute (default %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    model = MODELS[arguments.model]()
    model.load_state_dict(load_file(arguments.weights), strict=True)
    model.eval()
    raw = np.fromfile(os.path.join(arguments.data, "test_batch.bin"), dtype=np.uint8).reshape(-1, RECORD_BYTES)
    if arguments.limit >= 0:
        raw = raw[: arguments.limit]
    if not len(raw):
        parser.error("no images to test on")

    total = 0.0
    with torch.no_grad():
        for first in range(0, len(raw), arguments.batch):
            records = raw[first : first + arguments.batch]
            x, labels = pixels(records[:, 1:]), torch.from_numpy(records[:, 0].astype(np.int64))
            output = model(x)
            if is_autoencoder(arguments.model):
                total += F.mse_loss(output, x).item() * len(records)
            else:
                total += (output.argmax(1) == labels).sum().item()
    figure, what = total / len(raw), "mse" if is_autoencoder(arguments.model) else "accuracy"
    print(f"{arguments.model}: {what} {figure:.6f} on {len(raw)} images")
    if arguments.expect is not None and not abs(figure - arguments.expect) <= arguments.tolerance:
        sys.exit(f"expected {arguments.expect} within {arguments.tolerance}")


if __name__ == "__main__":
    main()
