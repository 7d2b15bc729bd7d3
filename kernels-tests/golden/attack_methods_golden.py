#!/usr/bin/env python3
"""Make the golden file of the attacks: what torchattacks makes of made pictures and `assets/lenet.safetensors`.

    attack_methods_golden.py --assets DIR --out DIR       (needs torchattacks 3.5)

`golden_attack_methods.safetensors` holds, computed in f32 for 12 smooth pictures (`picture`, integers only, so that
no picture has to travel) whose labels are the model's own predictions:

    label u8 [12]                 those predictions
    <attack>.pixels f32 [12, 96]  elements (k * 1000003) mod 3072 of each attacked picture
    <attack>.l2 f32 [12]          its distance from the clean one
    <attack>.predicted u8 [12]

bim, bim_next, mi_fgsm, mi_fgsm_next (8/255, 10 steps), pgd_l2 (eps 1, from the picture itself) and deepfool are
torchattacks', at its defaults; `_next` is towards (label + 1) mod 10. Written out here, in a few lines each:

    pgd, r_fgsm   their random numbers must be our generator's
    cw, cw_next   as in the paper: torchattacks counts a 0 among the other classes' logits (it multiplies by a mask), and
                  stops a batch when its cost no longer falls. --compare prints how far its pictures are from these.
"""
import argparse
import os

import numpy as np
import torch
import torch.nn.functional as F
import torchattacks
from safetensors.numpy import save_file
from safetensors.torch import load_file

from make_golden import IMAGE_BYTES, MODELS, PURPOSE_TEST, SEED, SPREAD, pixels, words

COUNT, SAMPLES, FIRST_ITEM = 12, 96, 4000
PURPOSE_NOISE, START_SEED = 5, 3
EPS = 8 / 255


def picture(index):
    """A 5 x 5 grid of random colours for each channel, with straight lines between: shades as in a blurred photograph."""
    knots = (words(SEED, PURPOSE_TEST, FIRST_ITEM + index, 75).astype(np.int64) >> 24).reshape(3, 5, 5)
    at = np.arange(32)
    low, part = at // 8, at % 8
    rows = knots[:, low, :] * (8 - part)[None, :, None] + knots[:, low + 1, :] * part[None, :, None]
    both = rows[:, :, low] * (8 - part)[None, None, :] + rows[:, :, low + 1] * part[None, None, :]
    return (both // 64).reshape(-1)


def drawn(index):
    return words(START_SEED, PURPOSE_NOISE, index, IMAGE_BYTES)


def gradient(model, x, labels):
    leaf = x.clone().requires_grad_(True)
    return torch.autograd.grad(F.cross_entropy(model(leaf), labels, reduction="sum"), leaf)[0]


def pgd(model, x, labels, steps=10):
    units = np.stack([(drawn(i) >> np.uint64(8)).astype(np.float32) / np.float32(1 << 24) for i in range(COUNT)])
    at = (x + EPS * (2 * torch.from_numpy(units).reshape(x.shape) - 1)).clamp(0, 1)
    for _ in range(steps):
        at = at + 2.5 * EPS / steps * gradient(model, at, labels).sign()
        at = torch.min(torch.max(at, x - EPS), x + EPS).clamp(0, 1)
    return at


def r_fgsm(model, x, labels):
    signs = np.stack([np.where(drawn(i) >> np.uint64(31) == 1, 1.0, -1.0) for i in range(COUNT)]).astype(np.float32)
    start = (x + EPS / 2 * torch.from_numpy(signs).reshape(x.shape)).clamp(0, 1)
    at = start + EPS / 2 * gradient(model, start, labels).sign()
    return torch.min(torch.max(at, x - EPS), x + EPS).clamp(0, 1)


def cw(model, x, labels, sign, c=1.0, steps=50, rate=0.01):
    w = torch.atanh(0.999999 * (2 * x.double() - 1)).float().requires_grad_(True)
    adam = torch.optim.Adam([w], lr=rate)
    best, nearest = x.clone(), torch.full((len(x),), torch.finfo(torch.float32).max)
    for _ in range(steps):
        at = (torch.tanh(w) + 1) / 2
        squares = (at - x).square().flatten(1).sum(1)
        logits = model(at)
        own = logits.gather(1, labels[:, None])[:, 0]
        others = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
        margin = sign * (own - others)
        adam.zero_grad()
        (squares + c * margin.clamp_min(0)).sum().backward()
        adam.step()
        better = (margin < 0) & (squares < nearest)
        nearest = torch.where(better, squares, nearest).detach()
        best[better] = at.detach()[better]
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", required=True, help="the repository's folder of weights")
    parser.add_argument("--out", required=True, help="folder for the golden file")
    parser.add_argument("--compare", action="store_true", help="print how far torchattacks' C&W is from ours")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = MODELS["lenet"]()
    model.load_state_dict(load_file(os.path.join(arguments.assets, "lenet.safetensors")), strict=True)
    model.eval()
    x = pixels(np.stack([picture(i) for i in range(COUNT)]))
    labels = model(x).argmax(1)
    following = (labels + 1) % 10

    def towards(attack, aim):
        attack.set_mode_targeted_by_label(quiet=True)
        return attack(x, aim)

    found = {
        "bim": torchattacks.BIM(model)(x, labels),
        "bim_next": towards(torchattacks.BIM(model), following),
        "mi_fgsm": torchattacks.MIFGSM(model)(x, labels),
        "mi_fgsm_next": towards(torchattacks.MIFGSM(model), following),
        "pgd": pgd(model, x, labels),
        "pgd_l2": torchattacks.PGDL2(model, random_start=False)(x, labels),
        "r_fgsm": r_fgsm(model, x, labels),
        "deepfool": torchattacks.DeepFool(model)(x, labels),
        "cw": cw(model, x, labels, 1),
        "cw_next": cw(model, x, following, -1),
    }
    if arguments.compare:
        theirs = {"cw": torchattacks.CW(model)(x, labels), "cw_next": towards(torchattacks.CW(model), following)}
        for name, moved in theirs.items():
            far = [(moved - x).flatten(1).norm(dim=1), (found[name] - x).flatten(1).norm(dim=1)]
            print(f"{name}: L2 distances of torchattacks {far[0].tolist()}, here {far[1].tolist()}")
    tensors = {"label": labels.numpy().astype(np.uint8)}
    at = torch.arange(SAMPLES) * SPREAD % IMAGE_BYTES
    for name, moved in found.items():
        tensors[f"{name}.pixels"] = moved.detach().flatten(1)[:, at].contiguous().numpy()
        tensors[f"{name}.l2"] = (moved - x).detach().double().flatten(1).norm(dim=1).float().numpy()
        tensors[f"{name}.predicted"] = model(moved).argmax(1).numpy().astype(np.uint8)
        fooled = int((tensors[f"{name}.predicted"] != tensors["label"]).sum())
        print(f"{name}: {fooled} of {COUNT} are no longer their label; L2 {tensors[f'{name}.l2'].mean():.3f} in the mean")
    path = os.path.join(arguments.out, "golden_attack_methods.safetensors")
    about = f"attack_methods_golden.py, PyTorch {torch.__version__}, torchattacks {torchattacks.__version__}"
    save_file(tensors, path, metadata={"about": about})
    os.chmod(path, 0o644)
    print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
