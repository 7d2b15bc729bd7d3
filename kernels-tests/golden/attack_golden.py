#!/usr/bin/env python3
"""Make the golden file of the attack tests: what FGSM is in PyTorch, as a lab writes it.

    attack_golden.py --out DIR

For `lenet` with the weights of make_golden.py and 16 made pictures with labels i mod 10, `golden_attack.safetensors`
holds, computed in f32:

    signs.<target> u8 [16, 768]    sign of the gradient of the summed cross-entropy by each pixel, plus 1, four to a byte
                                   (element 4 b + k in bits 2 k and 2 k + 1); target: untargeted, next, least_likely
    least_likely u8 [16]           the class that the last of them means
    pixels f32 [4, 3, 256]         (x + eps * sign).clamp(0, 1) for eps of 1, 2, 4 and 8 / 255, sign of -1, 0 and 1,
                                   and x of k / 255, k = 0 ... 255

An attacked pixel is a function of its byte, the sign and eps, so signs and table together are the attacked pictures.
"""
import argparse
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from make_golden import IMAGE_BYTES, PURPOSE_TEST, SEED, make_model, pixels, words

COUNT = 16
FIRST_ITEM = 3000  # streams of these pictures; below are those of make_golden.py
EPS = (1, 2, 4, 8)


def picture(index):
    """Noise with a contrast that leaves many pixels at 0 and 255, where the clamp shows."""
    levels = words(SEED, PURPOSE_TEST, FIRST_ITEM + index, IMAGE_BYTES).astype(np.int64) >> 24
    return np.clip(levels * 5 // 4 - 32, 0, 255)


def packed(gradient):
    codes = (gradient.sign().to(torch.int64) + 1).numpy().reshape(COUNT, -1, 4)
    return (codes << np.array([0, 2, 4, 6])).sum(2).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the golden file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = make_model("lenet", torch.float32)
    model.eval()
    x = pixels(np.stack([picture(i) for i in range(COUNT)])).requires_grad_(True)
    labels = torch.arange(COUNT) % 10
    logits = model(x)
    aims = {"untargeted": labels, "next": (labels + 1) % 10, "least_likely": logits.argmin(1)}
    tensors = {"least_likely": aims["least_likely"].numpy().astype(np.uint8)}
    for name, aim in aims.items():
        loss = F.cross_entropy(logits, aim, reduction="sum")
        tensors[f"signs.{name}"] = packed(torch.autograd.grad(loss, x, retain_graph=True)[0])
    levels = torch.arange(256).float() / 255
    table = [[(levels + eps / 255 * torch.full_like(levels, sign)).clamp(0, 1) for sign in (-1, 0, 1)] for eps in EPS]
    tensors["pixels"] = torch.stack([torch.stack(row) for row in table]).numpy()
    path = os.path.join(arguments.out, "golden_attack.safetensors")
    save_file(tensors, path, metadata={"about": f"attack_golden.py, PyTorch {torch.__version__}"})
    os.chmod(path, 0o644)
    print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
