#!/usr/bin/env python3
"""Repeat a saved FGSM attack of ours in PyTorch, pixel by pixel.

    shadegrad attack --weights best.safetensors --data DIR --method fgsm --eps 8/255 --save adv.safetensors
    torch_attack.py --model lenet --weights best.safetensors --attack adv.safetensors --eps 8 [--target next|least-likely|K]

Prints the share of pixels that differ in any bit from PyTorch's `(x + eps * grad.sign()).clamp(0, 1)`, how large
PyTorch's gradient is where they do, and both accuracies after the attack. The exit status is 1 if more than
--allow of the pixels differ. Single pixels differ where the gradient is nearly zero; a patch of them, where a rounding
decides which pixel wins a max-pool, or whether a ReLU is open (of 10,000 CIFAR-10 pictures, in four).
"""
import argparse
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from make_golden import MODELS


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, choices=["lenet", "lab"])
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--attack", required=True, metavar="FILE", help="what --save left")
    parser.add_argument("--eps", required=True, type=float, help="in units of 1/255")
    parser.add_argument("--target", help="next, least-likely or a class number; without it, untargeted")
    parser.add_argument("--allow", type=float, default=1e-3, help="share of pixels that may differ (default %(default)s)")
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    model = MODELS[arguments.model]()
    model.load_state_dict(load_file(arguments.weights), strict=True)
    model.eval()
    saved = load_file(arguments.attack)
    eps = arguments.eps / 255
    different, pixels, worst, right, agreed = 0, 0, 0.0, [0, 0], 0
    for first in range(0, len(saved["label"]), arguments.batch):
        part = slice(first, first + arguments.batch)
        x, label, ours = (saved[name][part] for name in ("clean", "label", "adversarial"))
        leaf = x.clone().requires_grad_(True)
        logits = model(leaf)
        if arguments.target is None:
            aim, step = label, eps
        else:
            step = -eps
            if arguments.target == "next":
                aim = (label + 1) % logits.shape[1]
            elif arguments.target == "least-likely":
                aim = logits.argmin(1)
            else:
                aim = torch.full_like(label, int(arguments.target))
        gradient = torch.autograd.grad(F.cross_entropy(logits, aim, reduction="sum"), leaf)[0]
        theirs = (x + step * gradient.sign()).clamp(0, 1)
        unlike = theirs != ours
        different += int(unlike.sum())
        pixels += unlike.numel()
        # How large the gradient is where signs part, against the largest of its picture.
        scale = gradient.abs().flatten(1).max(1).values.clamp_min(1e-38).reshape(-1, 1, 1, 1)
        if unlike.any():
            worst = max(worst, float((gradient.abs() / scale)[unlike].max()))
        with torch.no_grad():
            after = model(theirs).argmax(1)
        right[0] += int((saved["predicted_adversarial"][part] == label).sum())
        right[1] += int((after == label).sum())
        agreed += int((after == saved["predicted_adversarial"][part]).sum())
    count = len(saved["label"])
    print(f"{different} of {pixels} pixels differ ({different / pixels:.2e}); there PyTorch's gradient is at most {worst:.1e} of its picture's largest")
    print(f"accuracy under attack: ours {right[0] / count:.4f}, PyTorch's {right[1] / count:.4f}; predictions agree on {agreed} of {count}")
    if different > arguments.allow * pixels:
        sys.exit(f"more than {arguments.allow} of the pixels differ")


if __name__ == "__main__":
    main()
