#!/usr/bin/env python3
"""How much of what DeepFool leaves right is a matter of rounding.

    shadegrad attack --weights w.safetensors --data DIR --method deepfool --count 500
    torch_deepfool.py --model lenet --weights w.safetensors --data DIR --count 500

Runs DeepFool (Moosavi-Dezfooli et al. 2016; 50 steps, overshoot 0.02, clipped to [0, 1]) on the first test pictures of DIR, a
folder in CIFAR-10's layout, in f32 and f64, from the pictures and from pictures with normal noise of 1e-6 and 1e-5. Prints how many
pictures are still taken for their labels.
"""
import argparse
import os

import numpy as np
import torch
from safetensors.torch import load_file

from make_golden import MODELS, RECORD_BYTES, pixels

CLASSES, STEPS, OVERSHOOT = 10, 50, 0.02


def deepfool(model, pictures, labels):
    at, active = pictures.clone(), torch.arange(len(labels))
    for _ in range(STEPS):
        x = at[active].requires_grad_(True)
        logits = model(x)
        right = logits.argmax(1) == labels[active]
        slopes = torch.stack([torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)[0] for k in range(CLASSES)], 1)
        rows = torch.arange(len(active))
        mine = labels[active]
        gaps = (logits - logits[rows, mine][:, None]).abs().detach()
        ways = slopes - slopes[rows, mine][:, None]
        norms = ways.flatten(2).norm(dim=2)
        distances = gaps / norms
        distances[rows, mine] = torch.inf
        to = distances.argmin(1)
        lengths = (1 + OVERSHOOT) * gaps[rows, to] / norms[rows, to] ** 2
        moved = (x.detach() + lengths[:, None, None, None] * ways[rows, to]).clamp(0, 1)
        active = active[right]
        at[active] = moved[right]
        if len(active) == 0:
            break
    with torch.no_grad():
        return int((model(at).argmax(1) == labels).sum())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lenet", choices=["lenet", "lab"])
    parser.add_argument("--weights", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--count", type=int, default=500)
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = np.fromfile(os.path.join(options.data, "test_batch.bin"), dtype=np.uint8).reshape(-1, RECORD_BYTES)
    records = records[:options.count]
    labels = torch.tensor(records[:, 0].astype(np.int64))
    model = MODELS[options.model]()
    model.load_state_dict(load_file(options.weights))
    model.eval()
    for noise in (0.0, 1e-6, 1e-5):
        for dtype in (torch.float32, torch.float64):
            pictures = pixels(records[:, 1:]).to(dtype)
            drawn = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
            left = deepfool(model.to(dtype), (pictures + noise * drawn).clamp(0, 1), labels)
            print(f"{str(dtype)[6:]}, noise {noise:g}: {left} of {len(labels)} ({100 * left / len(labels):.1f} %)", flush=True)


if __name__ == "__main__":
    main()
