#!/usr/bin/env python3
"""Make the golden file of adversarial training: six steps of each defence in PyTorch, as the papers' programs write them.

    defences_golden.py --out DIR

`lenet` with the weights of make_golden.py learns from 24 pictures (`picture` of attack_methods_golden.py) with labels
i mod 10, in batches of 16 and 8, three epochs of plain descent (rate 0.1) at eps 32/255, all in f64; TRADES with a beta
of 600, since an untrained model's predictions are all alike and a divergence is no more than 0.001. Orders and random
starts are our generator's. `golden_defences.safetensors` holds for each of fast, free, pgd and trades, as f32:

    <defence>.losses [3]          mean loss of each epoch
    <defence>.<param> [<= 64]     elements (k * 1000003) mod numel of the parameter after the last step
"""
import argparse
import os

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

from make_golden import IMAGE, IMAGE_BYTES, PURPOSE_TEST, SEED, SPREAD, make_model, pixels, words
from torch_training import permutation

COUNT, BATCH, EPOCHS, RATE, EPS = 24, 16, 3, 0.1, 32 / 255
FIRST_ITEM, PURPOSE_DEFENCE = 4000, 14
REPLAYS, PGD_STEPS, TRADES_STEPS, BETA = 4, 7, 10, 600.0


def picture(index):
    """As in attack_methods_golden.py, which wants torchattacks."""
    knots = (words(SEED, PURPOSE_TEST, FIRST_ITEM + index, 75).astype(np.int64) >> 24).reshape(3, 5, 5)
    at = np.arange(32)
    low, part = at // 8, at % 8
    rows = knots[:, low, :] * (8 - part)[None, :, None] + knots[:, low + 1, :] * part[None, :, None]
    both = rows[:, :, low] * (8 - part)[None, None, :] + rows[:, :, low + 1] * part[None, None, :]
    return (both // 64).reshape(-1)


def drawn(step, count):
    return np.stack([words(SEED, PURPOSE_DEFENCE, step * BATCH + i, IMAGE_BYTES) for i in range(count)])


def uniform(step, count):
    units = (drawn(step, count) >> np.uint32(8)).astype(np.float64) / (1 << 24)
    return torch.from_numpy(2 * units - 1).reshape(-1, *IMAGE)


def normal(step, count):
    found = drawn(step, count)
    tails = np.maximum(found & np.uint32(0x7FFFFFFF), 1).astype(np.float64) / 2.0**32
    upper = -torch.special.ndtri(torch.from_numpy(tails))
    return torch.where(torch.from_numpy(found >> np.uint32(31) == 1), -upper, upper).reshape(-1, *IMAGE)


def climb(x, at, steps, step_size, loss):
    for _ in range(steps):
        at = at.detach().requires_grad_(True)
        slope = torch.autograd.grad(loss(at), at)[0]
        at = at + step_size * slope.sign()
        at = torch.min(torch.max(at, x - EPS), x + EPS).clamp(0, 1)
    return at.detach()


def ascent(model, x, labels, step, steps, step_size):
    start = (x + EPS * uniform(step, len(x))).clamp(0, 1)
    return climb(x, start, steps, step_size, lambda at: F.cross_entropy(model(at), labels))


def fast(model, x, labels, step):
    return F.cross_entropy(model(ascent(model, x, labels, step, 1, 1.25 * EPS)), labels)


def pgd(model, x, labels, step):
    return F.cross_entropy(model(ascent(model, x, labels, step, PGD_STEPS, 2.5 * EPS / PGD_STEPS)), labels)


def divergence(clean, attacked):
    return F.kl_div(F.log_softmax(attacked, 1), F.softmax(clean, 1), reduction="batchmean")


def trades(model, x, labels, step):
    start = x + 0.001 * normal(step, len(x))
    clean = model(x).detach()
    attacked = climb(x, start, TRADES_STEPS, 0.007 / 0.031 * EPS, lambda at: divergence(clean, model(at)))
    logits = model(x)
    return F.cross_entropy(logits, labels) + BETA * divergence(logits, model(attacked))


def batches(replays):
    """The rows of each step: every batch so many times, one pass after the other."""
    pass_number = 0
    while True:
        pass_number += 1
        for rows in permutation(SEED, pass_number, COUNT).split(BATCH):
            for _ in range(replays):
                yield rows


def train(model, x, labels, loss_of, replays):
    d, losses = torch.zeros(BATCH, *IMAGE, dtype=torch.float64), []
    order = batches(replays)
    for epoch in range(EPOCHS):
        total, images = 0.0, 0
        for index in range(-(-COUNT // BATCH)):
            rows = next(order)
            model.zero_grad()
            if loss_of is None:
                at = (x[rows] + d[: len(rows)]).clamp(0, 1).requires_grad_(True)
                loss = F.cross_entropy(model(at), labels[rows])
            else:
                at, loss = None, loss_of(model, x[rows], labels[rows], 2 * epoch + index)
            loss.backward()
            if at is not None:
                d[: len(rows)] = (d[: len(rows)] + EPS * at.grad.sign()).clamp(-EPS, EPS)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= RATE * parameter.grad
            total, images = total + loss.item() * len(rows), images + len(rows)
        losses.append(total / images)
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the golden file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x = pixels(np.stack([picture(i) for i in range(COUNT)])).double()
    labels, tensors = torch.arange(COUNT) % 10, {}
    for name, loss_of in {"fast": fast, "free": None, "pgd": pgd, "trades": trades}.items():
        model = make_model("lenet", torch.float64)
        losses = train(model, x, labels, loss_of, REPLAYS if loss_of is None else 1)
        print(f"{name}: {losses}")
        tensors[f"{name}.losses"] = np.array(losses, dtype=np.float32)
        for key, value in model.state_dict().items():
            at = torch.arange(min(64, value.numel())) * SPREAD % value.numel()
            tensors[f"{name}.{key}"] = value.flatten()[at].float().numpy()
    path = os.path.join(arguments.out, "golden_defences.safetensors")
    save_file(tensors, path, metadata={"about": f"defences_golden.py, PyTorch {torch.__version__}"})
    os.chmod(path, 0o644)
    print(f"{path}: {os.path.getsize(path)} bytes")


if __name__ == "__main__":
    main()
